"""The certificates that a kernel will trust module signatures by: its own, and those that the firmware may add."""

from __future__ import annotations

from collections.abc import Mapping

from hostward.host import Host, HostError
from hostward.kmod.certificates import Trusted, efi_certificates, parse_certificates

_EFI = "/sys/firmware/efi"
#: What shim and the firmware hand over: the machine owner's keys, and db (UEFI 2.10, 32.3).
_LISTS = ("MokListRT", "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_LIST_MAX = 1 << 20
#: With one of these the kernel takes the firmware's certificates into a keyring that distributions' kernels ask for
#: modules' too (of upstream's only the machine keyring is, where shim says so); MODULE_SIG_UEFI is RHEL 7's.
_FIRMWARE_OPTIONS = ("INTEGRITY_PLATFORM_KEYRING", "INTEGRITY_MACHINE_KEYRING", "LOAD_UEFI_KEYS", "MODULE_SIG_UEFI")


def trusted_keys(host: Host, built_in: tuple[bytes, ...] | None, config: Mapping[str, str] | None) -> Trusted:
    """`built_in` are the certificates in the kernel's image (None: they could not be found).

    What is added to .secondary_trusted_keys while a kernel runs is not seen; it has to be signed by a built-in key.
    """
    if built_in is None:
        return Trusted((), False)
    own = parse_certificates(built_in)
    if config is None:
        return Trusted(own, False)
    if not any(config.get(f"CONFIG_{option}") == "y" for option in _FIRMWARE_OPTIONS):
        return Trusted(own, True)
    if not host.is_dir(_EFI):
        # Started without EFI there is nothing to add; of a tree nobody knows how it will be started.
        return Trusted(own, host.live)
    found: list[bytes] = []
    try:
        names = host.names(f"{_EFI}/efivars")
        for name in names:
            if name.startswith(_LISTS):
                found += efi_certificates(host.read(f"{_EFI}/efivars/{name}", _LIST_MAX)[4:])
    except HostError:
        return Trusted(own, False)
    return Trusted(own, bool(names), parse_certificates(found))
