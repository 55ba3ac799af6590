"""What a kernel will refuse modules for besides themselves: enforced signatures, lockdown, module_blacklist=."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostward.host import Host, HostError

_EFIVARS = "/sys/firmware/efi/efivars/"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
_NON_VOLATILE = 1


@dataclass(frozen=True)
class Enforcement:
    """`sig_enforced` is what is_module_sig_enforced() will say, `lockdown` whether the kernel will be locked down
    (to integrity or further); None for what can't be told. `blacklist` are the names of module_blacklist=."""

    sig_enforced: bool | None
    lockdown: bool | None
    blacklist: frozenset[str]


def secure_boot(host: Host) -> bool | None:
    """Whether the firmware verifies what it boots, as efi_get_secureboot() takes it; None for a tree.

    Shim can switch it off for the kernel (MokSBStateRT, 5.11 and later).
    """
    if not host.live and not host.is_dir(_EFIVARS):
        return None
    if _variable(host, f"SecureBoot-{_GLOBAL}")[4:5] != b"\1" or _variable(host, f"SetupMode-{_GLOBAL}")[4:5] == b"\1":
        return False
    shim = _variable(host, f"MokSBStateRT-{_SHIM}")
    return not (shim[4:5] == b"\1" and not shim[0] & _NON_VOLATILE)


def _variable(host: Host, name: str) -> bytes:
    """An EFI variable as efivarfs shows it: four bytes of attributes, then its value; b"" where there is none."""
    try:
        return host.read(_EFIVARS + name, 4096)
    except HostError:
        return b""


def enforcement(
    host: Host,
    version: tuple[int, int, int],
    config: Mapping[str, str] | None,
    words: tuple[str, ...],
    running: bool,
) -> Enforcement:
    """For the kernel of that version and configuration, started with these words; the running one says it itself."""
    blacklist = frozenset(name for name in (_values(words, "module_blacklist") or [""])[-1].split(",") if name)
    sig, locked = _sig_enforced(host, version, config, words), _locked(host, version, config, words)
    if running and host.live:
        try:
            sig = host.text("/sys/module/module/parameters/sig_enforce").strip() == "Y"
        except HostError:
            sig = False if config and config.get("CONFIG_MODULE_SIG") != "y" else sig
        try:
            locked = "[none]" not in host.text("/sys/kernel/security/lockdown")
        except HostError:
            pass
    return Enforcement(sig, locked, blacklist)


def _sig_enforced(
    host: Host, version: tuple[int, int, int], config: Mapping[str, str] | None, words: tuple[str, ...]
) -> bool | None:
    """kernel/module/signing.c; arch_get_ima_policy() of security/integrity/ima/ima_efi.c (5.0 and later)."""
    if not config:
        return None
    if config.get("CONFIG_MODULE_SIG") != "y":
        return False
    if config.get("CONFIG_MODULE_SIG_FORCE") == "y":
        return True
    # bool_enable_only: what asks for 0 changes nothing.
    if any(
        value[:1] in ("", "y", "Y", "1", "t", "T") or value == "on" for value in _values(words, "module.sig_enforce")
    ):
        return True
    if version >= (5, 0, 0) and config.get("CONFIG_IMA_ARCH_POLICY") == "y":
        return bool(secure_boot(host))
    return False


def _locked(
    host: Host, version: tuple[int, int, int], config: Mapping[str, str] | None, words: tuple[str, ...]
) -> bool | None:
    """security/lockdown/lockdown.c (5.4 and later) and the distributions' patch that locks down under Secure Boot."""
    if not config:
        return None if version >= (5, 4, 0) else False
    if config.get("CONFIG_SECURITY_LOCKDOWN_LSM") != "y":
        return False
    if config.get("CONFIG_SECURITY_LOCKDOWN_LSM_EARLY") != "y":
        order = (_values(words, "lsm") or [config.get("CONFIG_LSM", "").strip('"')])[-1]
        if "lockdown" not in order.split(","):
            return False
    if "y" in (
        config.get("CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY"),
        config.get("CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"),
    ):
        return True
    if {"integrity", "confidentiality"} & set(_values(words, "lockdown")):
        return True
    return config.get("CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT") == "y" and bool(secure_boot(host))


def _values(words: tuple[str, ...], name: str) -> list[str]:
    """The values given to a parameter, in order; `-` and `_` are alike in its name (parameq)."""
    wanted = name.replace("-", "_")
    found = (word.partition("=") for word in words)
    return [value for key, _, value in found if key.replace("-", "_") == wanted]
