"""A RHEL 5.6 virtualization host as a directory: the host that the release note speaks of.

Two kernels, 2.6.18-194.el5 and 2.6.18-238.el5; the latter boots next. kmod-kvm was built for 2.6.18-203.el5 and
keeps its modules in that release's extra/, a kernel that is not installed itself; weak-modules has linked them
into 238's weak-updates. In 194 only ksm.ko is linked: kvm.ko needs an export that came after 194, so
weak-modules left it out, and took ksm.ko because the package itself provides what it needs. So in 194 ksm.ko
stands alone, and depmod says

    WARNING: /lib/modules/2.6.18-194.el5/weak-updates/kmod-kvm/ksm.ko needs unknown symbol kvm_ksm_spte_count

hwclock is on (rc.sysinit and halt), ntpd is installed and off. Formats are those of RHEL 5; the code of programs
and modules, the CRC values and the choice of symbols (but for the one above) are stand-ins.
"""

from __future__ import annotations

import os
import struct
import zlib

from tests.hosts.elfwriter import EL5, Export, Module, Need
from tests.hosts.tree import Tree

OLD = "2.6.18-194.el5"
NEW = "2.6.18-238.el5"
BUILT_FOR = "2.6.18-203.el5"  # what kmod-kvm's modules were built for
KMOD_DIRECTORY = f"/lib/modules/{BUILT_FOR}/extra/kmod-kvm"
SYMBOL = "kvm_ksm_spte_count"
WARNING = f"WARNING: /lib/modules/{OLD}/weak-updates/kmod-kvm/ksm.ko needs unknown symbol {SYMBOL}"

_COMMON = (
    "struct_module printk kmalloc kfree kmem_cache_create kmem_cache_alloc kmem_cache_free __alloc_pages "
    "__free_pages get_user_pages put_page register_cpu_notifier misc_register misc_deregister "
    "anon_inode_getfd mmput get_task_mm mutex_lock mutex_unlock _spin_lock _spin_unlock schedule "
    "wake_up_process kthread_create kthread_stop copy_to_user copy_from_user register_netdev "
    "unregister_netdev pci_register_driver pci_unregister_driver bread brelse "
)
_GPL = {"mmu_notifier_register", "mmu_notifier_unregister", "preempt_notifier_register", "preempt_notifier_unregister"}
_SINCE_203 = {"get_user_pages_fast"}  # what 194 does not export


def crc(symbol: str) -> int:
    """The CRC this host's kernels give a symbol: the same in both, as kABI promises."""
    return zlib.crc32(symbol.encode())


def kernel_exports(release: str) -> list[Export]:
    """What vmlinux of that kernel exports."""
    names = {*_COMMON.split(), *_GPL} | (_SINCE_203 if release == NEW else set())
    return [Export(name, crc(name), gpl=name in _GPL) for name in sorted(names)]


def vermagic(release: str) -> str:
    return f"{release} SMP mod_unload gcc-4.1"


def _module(name: str, release: str, needs: str = "", exports: str = "", depends: str = "", **info: str) -> Module:
    return Module(
        name,
        vermagic=vermagic(release),
        needs=[Need(symbol, crc(symbol)) for symbol in needs.split()],
        exports=[Export(symbol, crc(symbol), gpl=symbol.startswith("kvm_")) for symbol in exports.split()],
        layout_crc=crc("struct_module"),
        depends=depends,
        srcversion=f"{zlib.crc32((name + release).encode()):08X}".ljust(23, "5"),
        info=list(info.items()),
    )


_KVM_FOR_VENDORS = "kvm_init kvm_exit kvm_vcpu_init kvm_vcpu_uninit kvm_mmu_reset_context kvm_emulate_hypercall"


def kmod_kvm() -> list[Module]:
    """The four modules of the package kmod-kvm, built for 2.6.18-203.el5."""
    return [
        _module(
            "kvm", BUILT_FOR, "printk kmalloc kfree misc_register misc_deregister anon_inode_getfd get_user_pages_fast "
            "mmu_notifier_register preempt_notifier_register mutex_lock mutex_unlock copy_to_user copy_from_user",
            f"{_KVM_FOR_VENDORS} {SYMBOL}", version="kvm-83-224.el5", author="Qumranet",
        ),
        _module("kvm-intel", BUILT_FOR, f"printk __alloc_pages {_KVM_FOR_VENDORS}", depends="kvm",
                version="kvm-83-224.el5", author="Qumranet"),
        _module("kvm-amd", BUILT_FOR, f"printk __alloc_pages __free_pages {_KVM_FOR_VENDORS}", depends="kvm",
                version="kvm-83-224.el5", author="Qumranet"),
        _module("ksm", BUILT_FOR, f"printk misc_register kthread_create kthread_stop get_task_mm mmput {SYMBOL}",
                depends="kvm", version="kvm-83-224.el5"),
    ]  # fmt: skip


def _in_tree(release: str) -> dict[str, Module]:
    """A few modules of the kernel's own, by path below kernel/."""
    return {
        "fs/jbd/jbd.ko": _module("jbd", release, "printk bread brelse", "journal_start journal_stop"),
        "fs/ext3/ext3.ko": _module("ext3", release, "printk journal_start journal_stop", depends="jbd"),
        "drivers/net/mii.ko": _module("mii", release, "printk", "mii_link_ok mii_check_link"),
        "drivers/net/8139too.ko": _module(
            "8139too", release, "printk mii_link_ok pci_register_driver register_netdev", depends="mii",
            alias="pci:v000010ECd00008139sv*sd*bc*sc*i*",
        ),
    }  # fmt: skip


def build(root: str | os.PathLike[str]) -> Tree:
    """Lays the whole host out under `root`."""
    tree = Tree(root)
    _system(tree)
    for module in kmod_kvm():
        tree.file(f"{KMOD_DIRECTORY}/{module.name}.ko", module.build(EL5), 0o744)
    for release in (OLD, NEW):
        _kernel(tree, release)
    _grub(tree)
    _clock(tree)
    return tree


def _system(tree: Tree) -> None:
    tree.file("/etc/redhat-release", "Red Hat Enterprise Linux Server release 5.6 (Tikanga)\n")
    tree.file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nntp:x:38:38::/etc/ntp:/sbin/nologin\n")
    tree.file("/etc/group", "root:x:0:root\nkvm:x:36:qemu\n")
    tree.file("/etc/inittab", "id:3:initdefault:\n\nsi::sysinit:/etc/rc.d/rc.sysinit\n\nl3:3:wait:/etc/rc.d/rc 3\n")
    tree.file("/etc/modprobe.conf", "alias eth0 8139too\nalias scsi_hostadapter ata_piix\n")
    tree.file("/etc/modprobe.d/blacklist", "# modules that must not be loaded by alias\nblacklist i8xx_tco\n")
    tree.file("/etc/depmod.d/depmod.conf.dist", "search updates extra built-in weak-updates\n")
    tree.script(
        "/etc/sysconfig/modules/kvm.modules",
        """\
#!/bin/sh

if grep -qw vmx /proc/cpuinfo; then
    modprobe -b kvm-intel >/dev/null 2>&1 && modprobe -b ksm >/dev/null 2>&1
fi

if grep -qw svm /proc/cpuinfo; then
    modprobe -b kvm-amd >/dev/null 2>&1 && modprobe -b ksm >/dev/null 2>&1
fi
""",
    )
    # a Berkeley DB hash file begins with a page whose magic number is at byte 12
    tree.file("/var/lib/rpm/Packages", struct.pack("<IIIIIII", 0, 1, 0, 0x00061561, 9, 4096, 8).ljust(4096, b"\0"))


def _kernel(tree: Tree, release: str) -> None:
    base = f"/lib/modules/{release}"
    exports = kernel_exports(release)
    tree.file(f"/boot/vmlinuz-{release}", _boot_sector(release))
    tree.file(f"/boot/config-{release}", _CONFIG.format(release=release))
    tree.file(f"/boot/System.map-{release}", system_map(exports))
    tree.gz(f"/boot/initrd-{release}.img", _cpio_end())
    in_tree = _in_tree(release)
    symvers = [f"0x{e.crc:08x}\t{e.name}\tvmlinux\t{_kind(e)}" for e in exports]
    for path, module in in_tree.items():
        tree.file(f"{base}/kernel/{path}", module.build(EL5), 0o744)
        symvers += [f"0x{e.crc:08x}\t{e.name}\t{path[:-3]}\t{_kind(e)}" for e in module.exports]
    tree.gz(f"/boot/symvers-{release}.gz", "\n".join(symvers) + "\n")
    linked = [m for m in kmod_kvm() if release == NEW or m.name == "ksm"]
    for module in linked:
        tree.link(f"{base}/weak-updates/kmod-kvm/{module.name}.ko", f"{KMOD_DIRECTORY}/{module.name}.ko")
    tree.directory(f"{base}/extra").directory(f"{base}/updates")
    tree.link(f"{base}/build", f"../../../usr/src/kernels/{release}-x86_64").link(f"{base}/source", "build")
    modules = {f"{base}/kernel/{path}": module for path, module in in_tree.items()}
    modules |= {f"{base}/weak-updates/kmod-kvm/{m.name}.ko": m for m in linked}
    _depmod_files(tree, base, modules)


def _kind(export: Export) -> str:
    return "EXPORT_SYMBOL_GPL" if export.gpl else "EXPORT_SYMBOL"


def _depmod_files(tree: Tree, base: str, modules: dict[str, Module]) -> None:
    """modules.dep and its kin as module-init-tools 3.3 of RHEL 5 writes them: absolute paths, no binary form."""
    providers = {export.name: path for path, module in modules.items() for export in module.exports}
    direct = {
        path: list(dict.fromkeys(providers[need.name] for need in module.needs if need.name in providers))
        for path, module in modules.items()
    }
    tree.file(f"{base}/modules.dep", "".join(f"{path}: {' '.join(direct[path])}".rstrip() + "\n" for path in modules))
    symbols = [f"alias symbol:{s} {path.rpartition('/')[2][:-3]}\n" for s, path in sorted(providers.items())]
    tree.file(f"{base}/modules.symbols", "# Aliases for symbols, used by symbol_request().\n" + "".join(symbols))
    aliases = [f"alias {value} {m.name}\n" for m in modules.values() for key, value in m.info if key == "alias"]
    tree.file(f"{base}/modules.alias", "# Aliases extracted from modules themselves.\n" + "".join(aliases))
    for name in ("pcimap", "usbmap", "ccwmap", "ieee1394map", "inputmap", "isapnpmap", "seriomap", "ofmap"):
        tree.file(f"{base}/modules.{name}", "# module\n")


def system_map(exports: list[Export]) -> str:
    """System.map as RHEL 5's: CRCs as absolute symbols, __ksymtab and __kstrtab entries, then the functions."""
    lines = [f"{e.crc:016x} A __crc_{e.name}" for e in sorted(exports, key=lambda e: e.crc or 0) if e.crc is not None]
    at = 0xFFFFFFFF80000000
    lines += [f"{at + 0x200000 + 0x40 * n:016x} T {e.name}" for n, e in enumerate(exports)]
    for prefix, start, step in (
        ("__ksymtab_", 0x300000, 16),
        ("__kcrctab_", 0x320000, 8),
        ("__kstrtab_", 0x340000, 32),
    ):
        lines += [f"{at + start + step * n:016x} r {prefix}{e.name}" for n, e in enumerate(exports)]
    return "\n".join(lines) + "\n"


def _boot_sector(release: str) -> bytes:
    """The real-mode header of a bzImage of boot protocol 2.04, which has no payload fields (x86 boot.rst)."""
    sector = bytearray(0x1200)
    sector[0x1F1] = 8  # setup_sects
    struct.pack_into("<H", sector, 0x1FE, 0xAA55)
    sector[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x0204)
    struct.pack_into("<H", sector, 0x20E, 0x400)  # kernel_version, counted from 0x200
    sector[0x211] = 1  # LOADED_HIGH
    text = f"{release} (mockbuild@x86-001.build.example) #1 SMP Sun Dec 19 14:22:44 EST 2010".encode()
    sector[0x600 : 0x600 + len(text)] = text
    return bytes(sector)


def _cpio_end() -> bytes:
    """An empty newc archive, the least that an initrd holds."""
    name = b"TRAILER!!!\0"
    return (b"070701" + b"00000000" * 11 + f"{len(name):08x}".encode() + b"00000000" + name).ljust(512, b"\0")


_CONFIG = """\
#
# Automatically generated make config: don't edit
# Linux kernel version: 2.6.18
# {release}
#
CONFIG_X86_64=y
CONFIG_64BIT=y
CONFIG_LOCALVERSION=""
CONFIG_SMP=y
CONFIG_MODULES=y
CONFIG_MODULE_UNLOAD=y
# CONFIG_MODULE_FORCE_UNLOAD is not set
CONFIG_MODVERSIONS=y
# CONFIG_MODULE_SRCVERSION_ALL is not set
CONFIG_MODULE_SIG=y
# CONFIG_MODULE_SIG_FORCE is not set
CONFIG_KMOD=y
CONFIG_GENERIC_CMOS_UPDATE=y
CONFIG_RTC=y
"""


def _grub(tree: Tree) -> None:
    entries = "".join(
        f"title Red Hat Enterprise Linux Server ({release})\n"
        "\troot (hd0,0)\n"
        f"\tkernel /vmlinuz-{release} ro root=/dev/VolGroup00/LogVol00 rhgb quiet\n"
        f"\tinitrd /initrd-{release}.img\n"
        for release in (NEW, OLD)
    )
    tree.file(
        "/boot/grub/grub.conf",
        "# grub.conf generated by anaconda\n#boot=/dev/sda\ndefault=0\ntimeout=5\n"
        "splashimage=(hd0,0)/grub/splash.xpm.gz\nhiddenmenu\n" + entries,
        0o600,
    )
    tree.link("/boot/grub/menu.lst", "./grub.conf").link("/etc/grub.conf", "../boot/grub/grub.conf")
    tree.file("/etc/sysconfig/kernel", "# what new-kernel-pkg does\nUPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel\n")


def _clock(tree: Tree) -> None:
    """hwclock on, ntpd installed and off in every runlevel."""
    tree.file("/etc/sysconfig/clock", 'ZONE="Europe/Prague"\nUTC=true\nARC=false\n')
    tree.file("/etc/adjtime", "0.004312 1290000000 0.000000\n1290000000\nUTC\n")
    tree.script(
        "/etc/rc.d/rc.sysinit",
        """\
#!/bin/bash
# set the system clock from the hardware clock
ARC=0; SRM=0; UTC=0
[ -f /etc/sysconfig/clock ] && . /etc/sysconfig/clock
CLOCKFLAGS="--hctosys"
case "$UTC" in
    yes|true) CLOCKFLAGS="$CLOCKFLAGS --utc" ;;
    no|false) CLOCKFLAGS="$CLOCKFLAGS --localtime" ;;
esac
[ -x /sbin/hwclock ] && /sbin/hwclock $CLOCKFLAGS

# modules that the administrator or a package wants at boot
for file in /etc/sysconfig/modules/*.modules; do
    [ -x "$file" ] && "$file"
done
""",
    )
    tree.script("/etc/rc.d/init.d/functions", "# shell functions of init scripts\n")
    tree.script(
        "/etc/rc.d/init.d/halt",
        '#!/bin/bash\n# save the system time\n[ -x /sbin/hwclock ] && /sbin/hwclock --systohc\nexec /sbin/halt -i -d\n',
    )  # fmt: skip
    for name, start, stop, description in (
        ("network", 10, 90, "Bring up networking"),
        ("syslog", 12, 88, "System log"),
        ("sshd", 55, 25, "OpenSSH server"),
        ("crond", 90, 60, "Run jobs by the clock"),
        ("libvirtd", 97, 3, "Virtual machines"),
        ("ntpd", 58, 74, "Keep the clock by NTP"),
        ("ntpdate", 57, 75, "Set the clock once by NTP"),
    ):
        on = not name.startswith("ntp")
        tree.script(
            f"/etc/rc.d/init.d/{name}",
            f"#!/bin/bash\n#\n# chkconfig: {'2345' if on else '-'} {start} {stop}\n# description: {description}\n"
            f"# processname: {name}\n. /etc/rc.d/init.d/functions\ncase \"$1\" in\n"
            f"    start) daemon {name} ;;\n    stop) killproc {name} ;;\nesac\n",
        )  # fmt: skip
        for level in range(7):
            link = f"S{start:02}{name}" if on and level in (2, 3, 4, 5) else f"K{stop:02}{name}"
            tree.link(f"/etc/rc.d/rc{level}.d/{link}", f"../init.d/{name}")
    tree.link("/etc/init.d", "rc.d/init.d").link("/etc/rc.sysinit", "rc.d/rc.sysinit")
    for level in range(7):
        tree.link(f"/etc/rc{level}.d", f"rc.d/rc{level}.d")
    tree.file("/etc/ntp.conf", "server 0.rhel.pool.ntp.org\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 10\n")
    tree.file("/etc/sysconfig/ntpd", 'OPTIONS="-u ntp:ntp -p /var/run/ntpd.pid"\nSYNC_HWCLOCK=no\n')
    for program in (
        "/sbin/hwclock",
        "/sbin/modprobe",
        "/sbin/depmod",
        "/sbin/chkconfig",
        "/usr/sbin/ntpd",
        "/usr/sbin/ntpdate",
    ):
        tree.script(program, "#!/bin/sh\nexit 0\n")
