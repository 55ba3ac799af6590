"""What a kernel will refuse modules for, by its configuration, its own command line and the firmware."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.enforcement import secure_boot
from hostward.facts.kernel_profiles import KernelProfiles
from hostward.host import Host
from hostward.kmod.profile import KernelProfile
from tests.hosts.tree import Tree

RELEASE = "6.1.0-9-amd64"
EFIVARS = "/sys/firmware/efi/efivars"
GLOBAL, SHIM = "8be4df61-93ca-11d2-aa0d-00e098032b8c", "605dab50-e046-4300-abb6-3dd810dd8b23"
DEBIAN = "MODULE_SIG SECURITY_LOCKDOWN_LSM SECURITY_LOCKDOWN_LSM_EARLY LOCK_DOWN_IN_EFI_SECURE_BOOT"
LATE = "MODULE_SIG SECURITY_LOCKDOWN_LSM LOCK_DOWN_IN_EFI_SECURE_BOOT"
FEDORA = f"{DEBIAN} IMA_ARCH_POLICY"


def profile(root: Path, options: str, words: str = "", on: str = "", release: str = RELEASE) -> KernelProfile:
    """The profile of the one kernel of a tree. `on` are EFI variables that are 1, None for no EFI at all."""
    tree = Tree(root)
    tree.directory(f"/lib/modules/{release}/kernel")
    tree.file(f"/boot/vmlinuz-{release}", b"x" * 5000)
    lines = [word if "=" in word else f"{word}=y" for word in options.split()]
    tree.file(f"/boot/config-{release}", "".join(f"CONFIG_{line}\n" for line in lines))
    tree.file("/boot/grub/grub.cfg", f"menuentry Linux {{\n linux /boot/vmlinuz-{release} root=/dev/vda1 {words}\n}}\n")
    for name in on.split():
        guid = SHIM if name.startswith("Mok") else GLOBAL
        tree.file(f"{EFIVARS}/{name}-{guid}", b"\6\0\0\0\1")
    profiles = Engine(Host.at(str(root)), Config()).fact("KernelProfiles")
    assert isinstance(profiles, KernelProfiles)
    files = profiles.of(release)
    assert files is not None
    return files.profile


#: options, command line, EFI variables -> sig_enforced, lockdown
CASES = [
    ("", "", "", None, None),
    ("X", "", "", False, False),
    ("MODULE_SIG", "", "", False, False),
    ("MODULE_SIG MODULE_SIG_FORCE", "", "", True, False),
    ("MODULE_SIG", "module.sig_enforce", "", True, False),
    ("MODULE_SIG", "module.sig_enforce=1", "", True, False),
    ("MODULE_SIG", "module.sig-enforce=Y", "", True, False),
    ("MODULE_SIG", "module.sig_enforce=0", "", False, False),
    ("MODULE_SIG", "module.sig_enforce=1 module.sig_enforce=0", "", True, False),
    ("MODULE_SIG MODULE_SIG_FORCE", "module.sig_enforce=0", "", True, False),
    ("X", "module.sig_enforce=1", "", False, False),
    ("MODULE_SIG", "-- module.sig_enforce=1", "", False, False),
    (DEBIAN, "", "SecureBoot", False, True),
    (DEBIAN, "", "SecureBoot SetupMode", False, False),
    (DEBIAN, "", "SetupMode", False, False),
    (DEBIAN, "", "", False, False),
    (DEBIAN, "lockdown=integrity", "", False, True),
    (DEBIAN, "lockdown=confidentiality", "", False, True),
    (DEBIAN, "lockdown=none", "SecureBoot", False, True),
    (f"{DEBIAN} LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "", "", False, True),
    (f"{DEBIAN} LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "", "", False, True),
    ("MODULE_SIG", "lockdown=integrity", "SecureBoot", False, False),
    (f'{LATE} LSM="lockdown,yama"', "", "SecureBoot", False, True),
    (f'{LATE} LSM="yama"', "", "SecureBoot", False, False),
    (f'{LATE} LSM="lockdown,yama"', "lsm=yama lockdown=integrity", "", False, False),
    (FEDORA, "", "SecureBoot", True, True),
    (FEDORA, "", "", False, False),
    ("MODULE_SIG IMA_ARCH_POLICY", "", "SecureBoot", True, False),
]


@pytest.mark.parametrize(("options", "words", "on", "enforced", "locked"), CASES)
def test_enforced(
    tmp_path: Path, options: str, words: str, on: str, enforced: bool | None, locked: bool | None
) -> None:
    found = profile(tmp_path, options, words, on)
    assert (found.sig_enforced, found.lockdown) == (enforced, locked)


def test_before_lockdown_and_ima_policies_there_were_none(tmp_path: Path) -> None:
    found = profile(tmp_path, FEDORA, "", "SecureBoot", "4.18.0-553.el8.x86_64")
    assert found.sig_enforced is False


def test_shim_can_switch_it_off(tmp_path: Path) -> None:
    assert profile(tmp_path, DEBIAN, "", "SecureBoot MokSBStateRT").lockdown is False
    Tree(tmp_path).file(f"{EFIVARS}/MokSBStateRT-{SHIM}", b"\7\0\0\0\1")
    assert secure_boot(Host.at(str(tmp_path))) is True, "a variable that outlives a boot could be anybody's"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", set()),
        ("module_blacklist=kvm,kvm_amd", {"kvm", "kvm_amd"}),
        ("module-blacklist=kvm-amd", {"kvm-amd"}),
        ("module_blacklist=a module_blacklist=b", {"b"}),
        ("module_blacklist=a,,b,", {"a", "b"}),
        ("modprobe.blacklist=a", set()),
    ],
)
def test_refused_names_are_those_of_the_last_word(tmp_path: Path, words: str, names: set[str]) -> None:
    assert profile(tmp_path, DEBIAN, words).blacklist == names


def test_names_were_not_refused_before_4_8(tmp_path: Path) -> None:
    assert not profile(tmp_path / "old", DEBIAN, "module_blacklist=a", release="3.10.0-1-amd64").blacklist
    assert profile(tmp_path / "el7", DEBIAN, "module_blacklist=a", release="3.10.0-1160.el7.x86_64").blacklist


def image(version: bytes) -> bytes:
    """The head of a bzImage with this version string (Documentation/arch/x86/boot.rst)."""
    head = bytearray(0x4000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x3000).to_bytes(2, "little")
    head[0x3200 : 0x3200 + len(version)] = version
    return bytes(head)


@pytest.mark.parametrize(
    ("release", "data", "strict"),
    [
        (RELEASE, image(f"{RELEASE} (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.187-1".encode()), True),
        ("6.8.0-31-generic", image(b"6.8.0-31-generic (buildd@lcy02-amd64-026) #31-Ubuntu SMP"), False),
        (RELEASE, b"no bzImage" * 500, None),
        ("6.12.9+deb12-arm64", b"MZ" * 5000, True),
    ],
)
def test_debians_kernels_are_known_by_who_built_them(
    tmp_path: Path, release: str, data: bytes, strict: bool | None
) -> None:
    profile(tmp_path, DEBIAN, release=release)
    Tree(tmp_path).file(f"/boot/vmlinuz-{release}", data)
    profiles = Engine(Host.at(str(tmp_path)), Config()).fact("KernelProfiles")
    files = profiles.of(release)
    assert files is not None and files.profile.strict_versions is strict


def test_a_built_in_module_with_a_version_is_shown_of_another_nobody_knows(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file(f"/lib/modules/{RELEASE}/modules.builtin", "kernel/a/tcp-cubic.ko\nkernel/b/crc16.ko\n")
    entries = [b"tcp_cubic.license=GPL", b"crc16.license=GPL", b"tcp_cubic.version=2.3"]
    tree.file(f"/lib/modules/{RELEASE}/modules.builtin.modinfo", b"\0".join(entries) + b"\0")
    found = profile(tmp_path, DEBIAN)
    assert found.builtin == {"tcp_cubic", "crc16"} and found.builtin_shown is not None
    assert [found.builtin_shown(name) for name in ("tcp_cubic", "crc16")] == [True, None]
