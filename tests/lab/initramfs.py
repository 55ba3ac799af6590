"""Initramfs images made by the real dracut and the real initramfs-tools for a kernel that is not installed.

Both read /lib/modules and /boot of the machine they run on, so they run in a mount namespace of their own in
which a tree is laid over those two, read-only; nothing on the machine changes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.debs import Kernel, NotAtHand

COMPRESSORS = ("gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd")
PROGRAMS = {"dracut": "dracut", "initramfs-tools": "mkinitramfs"}
_PACKER = {"lzo": "lzop"}


def kernel_tree(kernel: Kernel, where: Path, extra: Mapping[str, bytes]) -> Path:
    """A tree with usr/lib/modules/RELEASE and boot/ of a kernel, and `extra` modules by their path below RELEASE.

    The kernel's own files are hard links where possible. depmod has run on it.
    """
    if shutil.which("depmod") is None:
        raise NotAtHand("depmod is not installed")
    modules = where / "usr" / "lib" / "modules" / kernel.release
    shutil.copytree(kernel.modules, modules, copy_function=_link, symlinks=True)
    shutil.copytree(kernel.tree / "boot", where / "boot", copy_function=_link)
    (where / "lib").symlink_to("usr/lib")
    put_modules(where, kernel.release, extra)
    return where


def put_modules(where: Path, release: str, extra: Mapping[str, bytes]) -> None:
    """Adds or replaces modules of a kernel's tree, and runs depmod."""
    for path, data in extra.items():
        file = where / "usr" / "lib" / "modules" / release / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data)
    subprocess.run(["depmod", "-b", where, release], check=True, capture_output=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def make(maker: str, tree: Path, release: str, image: Path, *, packing: str = "zstd", modules: tuple[str, ...] = (),
         early: bool = False, everything: bool = False) -> Path:  # fmt: skip
    """An image of `release` at `image` with these modules by name, packed in a format ("" for not at all).

    `early` puts a microcode archive in front, `everything` takes the drivers that the maker takes by itself.
    Raises NotAtHand for a tool that is missing or a namespace that can't be made.
    """
    needed = [PROGRAMS[maker], *([_PACKER.get(packing, packing)] if packing else [])]
    for program in needed:
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            raise NotAtHand(f"{program} is not installed")
    work = image.with_name(image.name + ".work")
    work.mkdir()
    command = _dracut if maker == "dracut" else _initramfs_tools
    script = f"""set -e
        mount -t overlay overlay -o {shlex.quote(f"lowerdir={tree}/usr/lib:/usr/lib")} /usr/lib
        mount -t overlay overlay -o {shlex.quote(f"lowerdir={tree}/boot:/boot")} /boot
        cd /
        exec {shlex.join(command(tree, work, release, image, packing, modules, early, everything))}"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
    )
    if not image.is_file():
        said = done.stderr.strip().splitlines()[-1:] or done.stdout.strip().splitlines()[-1:]
        if os.geteuid() != 0 or "overlay" in done.stderr:
            raise NotAtHand(f"no mount namespace with an overlay can be made here: {' '.join(said)}")
        raise AssertionError(f"{maker} made no image:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    shutil.rmtree(work)
    return image


def _dracut(tree: Path, work: Path, release: str, image: Path, packing: str, modules: tuple[str, ...], early: bool,
            everything: bool) -> list[str]:  # fmt: skip
    (work / "conf.d").mkdir()
    argv = ["dracut", "--conf", "/dev/null", "--confdir", str(work / "conf.d"), "--no-hostonly", "--force"]
    argv += ["--tmpdir", str(work), "--kver", release, f"--{packing}" if packing else "--no-compress"]
    argv += ["--early-microcode" if early else "--no-early-microcode"]
    if early:
        firmware = tree / "usr" / "lib" / "firmware" / "amd-ucode"
        firmware.mkdir(parents=True, exist_ok=True)
        (firmware / "microcode_amd.bin").write_bytes(b"DMA\0" + bytes(range(256)) * 9)
        config = tree / "boot" / f"config-{release}"  # the cloud flavour's has it switched off
        text = config.read_text()
        config.unlink()  # a hard link
        config.write_text(text + "CONFIG_MICROCODE_AMD=y\n")
    argv += [] if everything else ["--modules", "base"]
    argv += ["--add-drivers", " ".join(modules)] if modules else []
    return [*argv, str(image)]


def _initramfs_tools(tree: Path, work: Path, release: str, image: Path, packing: str, modules: tuple[str, ...],
                     early: bool, everything: bool) -> list[str]:  # fmt: skip
    conf = work / "conf"
    for name in ("conf.d", "hooks", "scripts"):
        (conf / name).mkdir(parents=True)
    text = Path("/etc/initramfs-tools/initramfs.conf").read_text()
    (conf / "initramfs.conf").write_text(text + ("" if everything else "\nMODULES=list\n"))
    (conf / "modules").write_text("".join(f"{name}\n" for name in modules))
    if early:
        # What the hooks of intel-microcode and amd64-microcode do.
        hook = conf / "hooks" / "microcode"
        hook.write_text(
            f"""#!/bin/sh
            [ "$1" = prereqs ] && exit 0
            . /usr/share/initramfs-tools/hook-functions
            cd {shlex.quote(str(work))}
            mkdir -p kernel/x86/microcode
            echo microcode >kernel/x86/microcode/AuthenticAMD.bin
            find kernel | cpio -o -H newc --quiet >early.cpio
            prepend_earlyinitramfs "$PWD/early.cpio"
            """
        )
        hook.chmod(0o755)
    packer = _PACKER.get(packing, packing) or "cat"
    return ["mkinitramfs", "-d", str(conf), "-c", packer, "-o", str(image), release]
