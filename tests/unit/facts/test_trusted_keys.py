"""Which keys a kernel will trust, and what the verdicts make of altered modules and strangers' ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.trusted_keys import trusted_keys
from hostward.facts.verdicts import ModuleVerdicts
from hostward.host import Host
from hostward.kmod.image import read_image
from tests.lab import debs, initramfs, signed

PLATFORM = {"CONFIG_INTEGRITY_PLATFORM_KEYRING": "y"}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@needs_openssl
def test_what_the_firmware_may_add_keeps_it_open(tmp_path: Path) -> None:
    own = read_image(debs.kernel("C").image.read_bytes(), "vmlinuz").certificates
    tree = Host.at(str(tmp_path))
    assert not trusted_keys(tree, None, {}).complete
    assert not trusted_keys(tree, own, None).complete
    assert not trusted_keys(tree, own, PLATFORM).complete  # nobody knows how it will be started
    found = trusted_keys(tree, own, {})
    assert found.complete and len(found.certificates) == 1

    variables = tmp_path / "sys" / "firmware" / "efi" / "efivars"
    variables.mkdir(parents=True)
    assert not trusted_keys(tree, own, PLATFORM).complete  # efivarfs is not mounted
    entry = bytes(16) + signed.certificate("p384")
    size = (28 + len(entry)).to_bytes(4, "little")
    each = len(entry).to_bytes(4, "little")
    value = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072") + size + bytes(4) + each + entry
    (variables / "MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23").write_bytes(b"\6\0\0\0" + value)
    found = trusted_keys(tree, own, PLATFORM)
    assert found.complete and len(found.perhaps) == 1


@needs_openssl
@pytest.mark.parametrize(("words", "stranger"), [("", "loads"), ("module.sig_enforce=1", "unknown")])
def test_altered_modules_fail_and_intact_ones_load(words: str, stranger: str, tmp_path: Path) -> None:
    kernel = debs.kernel("C")
    root = tmp_path / "host"
    initramfs.kernel_tree(kernel, root, {})
    (root / "boot" / "grub").mkdir()
    line = f"menuentry Linux {{\n linux /boot/vmlinuz-{kernel.release} root=/dev/vda1 {words}\n}}\n"
    (root / "boot" / "grub" / "grub.cfg").write_text(line)
    whole = signed.own(kernel)
    content, message = signed.parts(whole)
    middle = len(content) // 2
    files = {
        "intact": whole,
        "altered": signed.trailer(content[:middle] + bytes((content[middle] ^ 1,)) + content[middle + 1 :], message),
        "garbled": signed.trailer(content, message[:-1]),
        "stranger": signed.trailer(content, signed.sign(content, "rsa2048")),
    }
    extra = root / "lib" / "modules" / kernel.release / "extra"
    for name, data in files.items():
        (extra / name).mkdir(parents=True)
        (extra / name / f"{name}.ko").write_bytes(data)
    verdicts = Engine(Host.at(str(root)), Config()).fact("ModuleVerdicts")
    assert isinstance(verdicts, ModuleVerdicts)
    told = {module.name: (module.verdict.outcome, module.verdict.errno) for module in verdicts.of(kernel.release)}
    assert told == {
        "intact": ("loads", ""),
        "altered": ("fails", "EKEYREJECTED"),
        "garbled": ("fails", "EBADMSG"),
        "stranger": (stranger, ""),
    }
