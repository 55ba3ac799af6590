"""Command lines of QEMU: taken apart in every spelling, and what they use of the list of disabled features."""

from __future__ import annotations

import random
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from hostward.checks.guest_features import command_uses
from hostward.checks.guests import slow_options
from hostward.facts.guests import _processes, _with_processes
from hostward.facts.qemu_command import is_qemu, parse_command
from hostward.host import Host
from tests.hosts.tree import Tree

#: (arguments, the features of the list that they use, whether there is an rtl8139)
LINES = [
    ("-m 512 -hda disk.img", set(), False),
    ("-net nic,model=rtl8139 -net user", set(), True),
    ("-net nic,macaddr=52:54:00:12:34:56,model=rtl8139,vlan=0 -net tap", set(), True),
    ("--net nic,model=rtl8139", set(), True),
    ("-net nic,model=e1000 -net user", set(), False),
    ("-net nic", set(), False),  # what QEMU gives then is its machine's business
    ("-nic user,model=rtl8139", set(), True),
    ("-nic model=rtl8139", set(), True),
    ("-netdev user,id=n -device rtl8139,netdev=n,mac=52:54:00:00:00:01", set(), True),
    ("-device driver=rtl8139,netdev=n", set(), True),
    ("""-device '{"driver":"rtl8139","netdev":"n"}'""", set(), True),
    ("-device virtio-net-pci,netdev=n", set(), False),
    ("-device e1000,netdev=n,id=rtl8139", set(), False),
    ("-append rtl8139 -kernel k", set(), False),
    ("-smb /srv", {"smb user directories"}, False),
    ("-net user,smb=/srv", {"smb user directories"}, False),
    ("-netdev user,id=n,smb=/srv,smbserver=10.0.2.4", {"smb user directories"}, False),
    ("-nic user,smb=/srv", {"smb user directories"}, False),
    ("-smbios type=1,serial=1", set(), False),
    ("-drive file=a.img,if=scsi,bus=0,unit=1", {"scsi emulation"}, False),
    ("-drive file=a.img,if=virtio", set(), False),
    ("-device lsi53c895a,id=scsi0 -device scsi-hd,drive=d", {"scsi emulation"}, False),
    ("-device lsi,id=scsi0", {"scsi emulation"}, False),
    ("-device megasas-gen2", {"scsi emulation"}, False),
    ("-device virtio-scsi-pci -device scsi-hd,drive=d", set(), False),
    ("-M isapc", {"isapc machine type"}, False),
    ("-machine isapc,accel=tcg", {"isapc machine type"}, False),
    ("-machine type=isapc", {"isapc machine type"}, False),
    ("-machine pc,accel=kvm", set(), False),
    ("-machine pc,vmport=on", {"vmware devices"}, False),
    ("-machine pc,vmport=off", set(), False),
    ("-cpu host,+vmx", {"nested KVM guests"}, False),
    ("-cpu qemu64,+svm,-hypervisor", {"nested KVM guests"}, False),
    ("-cpu Skylake-Client,vmx=on", {"nested KVM guests"}, False),
    ("-cpu qemu64,-svm", set(), False),
    ("-cpu qemu64,vmx=off", set(), False),
    ("-enable-nesting -m 512", {"nested KVM guests"}, False),
    ("-usb -usbdevice disk:/srv/stick.img", {"usb mass storage"}, False),
    ("-usbdevice disk:format=raw:/srv/stick.img", {"usb mass storage"}, False),
    ("-device usb-storage,drive=s", {"usb mass storage"}, False),
    ("-device usb-bot -device usb-uas", {"usb mass storage"}, False),
    ("-usbdevice tablet", set(), False),
    ("-device usb-tablet -device usb-kbd -device usb-mouse", set(), False),
    ("-usbdevice wacom-tablet", {"usb wacom tablet"}, False),
    ("-device usb-wacom-tablet", {"usb wacom tablet"}, False),
    ("-usbdevice serial::pty", {"usb serial"}, False),
    ("-usbdevice serial:vendorid=0x1:stdio", {"usb serial"}, False),
    ("-device usb-serial,chardev=c", {"usb serial"}, False),
    ("-serial pty -device pci-serial,chardev=c", set(), False),
    ("-usbdevice net:vlan=1", {"usb network"}, False),
    ("-device usb-net,netdev=n", {"usb network"}, False),
    ("-net nic,model=usb-net", {"usb network"}, False),
    ("-usbdevice bt", {"usb bluetooth"}, False),
    ("-usbdevice bt:hci,vlan=1", {"usb bluetooth"}, False),
    ("-device usb-bt-dongle", {"usb bluetooth"}, False),
    ("-usbdevice host:1234:abcd", set(), False),
    ("-vga vmware", {"vmware devices"}, False),
    ("-vga std", set(), False),
    ("-device vmware-svga", {"vmware devices"}, False),
    ("-device vmmouse", {"vmware devices"}, False),
    ("-device pvscsi -device scsi-hd,drive=d", {"vmware devices"}, False),
    ("-device vmxnet3,netdev=n", {"vmware devices"}, False),
    ("-net nic,model=vmxnet3", {"vmware devices"}, False),
    ("-soundhw sb16", {"sb16 and es1370 sound"}, False),
    ("-soundhw ac97,es1370", {"sb16 and es1370 sound"}, False),
    ("-soundhw all", {"sb16 and es1370 sound"}, False),
    ("-soundhw ac97", set(), False),
    ("-device ES1370", {"sb16 and es1370 sound"}, False),
    ("-device sb16,audiodev=a", {"sb16 and es1370 sound"}, False),
    ("-device AC97", set(), False),
    ("-bt hci,host -bt device:keyboard", {"bluetooth"}, False),
    ("-bt vhci", {"bluetooth"}, False),
    ("-name sb16,process=x -pidfile /run/vmware", set(), False),
]


@pytest.mark.proves("rhel-5.6.kvm.rtl8139", "rhel-5.6.kvm.disabled-features")
@pytest.mark.parametrize(("line", "features", "slow"), LINES, ids=[line for line, _, _ in LINES])
def test_what_a_command_line_uses(line: str, features: set[str], slow: bool) -> None:
    command = parse_command(["/usr/libexec/qemu-kvm", *shlex.split(line)])
    assert command_uses(command) == features
    assert bool(slow_options(command)) == slow


def test_a_command_line_of_libvirt_0_8() -> None:
    line = (
        "/usr/libexec/qemu-kvm -S -M rhel5.4.0 -m 1024 -smp 1,sockets=1,cores=1,threads=1 -name old,process=qemu:old "
        "-uuid 0A0A0A0A-1111-2222-3333-444444444444 -monitor unix:/var/lib/libvirt/qemu/old.monitor,server,nowait "
        "-no-kvm-pit-reinjection -boot c -drive file=/srv/a,,b.img,if=ide,bus=0,unit=0,boot=on,format=qcow2,cache=none "
        "-net nic,macaddr=54:52:00:00:00:01,vlan=0 -net tap,fd=17,vlan=0 -serial pty -parallel none -usb -vnc :0"
    )
    command = parse_command(line.split(), 42)
    assert (command.name, command.machine, command.uuid) == ("old", "rhel5.4.0", "0a0a0a0a-1111-2222-3333-444444444444")
    (drive,) = command.of("drive")
    assert (drive.get("file"), drive.get("format")) == ("/srv/a,b.img", "qcow2")
    assert [option.head for option in command.of("net")] == ["nic", "tap"]
    assert str(command.of("boot")[0]) == "-boot c"


def test_json_arguments() -> None:
    command = parse_command(
        ["qemu-system-x86_64", "-blockdev", '{"driver":"qcow2","file":"f","read-only":true,"n":3,"deep":{"a":[1]}}']
    )
    (option,) = command.options
    assert (option.head, option.get("read-only"), option.get("n"), option.get("deep")) == ("qcow2", "on", "3", "")
    for broken in ("{", "{" * 100_000, '{"a"', "[1]", '{"driver": null}'):
        parse_command(["qemu-kvm", "-device", broken])


@pytest.mark.parametrize(
    ("argv", "is_one"),
    [
        (["/usr/libexec/qemu-kvm", "-m", "1"], True),
        (["qemu-system-x86_64", "-nodefaults"], True),
        (["/usr/bin/qemu-system-ppc64", "-machine", "pseries"], True),
        (["kvm", "-hda", "a"], True),
        (["/usr/bin/kvm", "--help-me"], False),
        (["qemu-img", "convert", "-m", "4"], False),
        (["/usr/sbin/qemu-nbd", "-m", "x"], False),
        (["qemu-system-x86_64", "--version"], False),
        (["vim", "qemu-kvm", "-m"], False),
        ([], False),
        ([""], False),
    ],
)
def test_which_processes_are_machines(argv: list[str], is_one: bool) -> None:
    assert is_qemu(argv) == is_one


def test_whatever_stands_there_something_comes_out() -> None:
    chance = random.Random(3)
    words = [word for line, _, _ in LINES for word in shlex.split(line)] + [
        "",
        "-",
        "--",
        ",",
        ",,",
        "=",
        "-device",
        "{",
    ]
    for _ in range(3000):
        argv = ["qemu-kvm"] + [chance.choice(words)[: chance.randrange(1, 30)] for _ in range(chance.randrange(12))]
        command_uses(parse_command(argv))


def test_processes_are_found_and_given_to_their_guests(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    uuid = "0a0a0a0a-1111-2222-3333-444444444444"
    tree.file(
        "/proc/10/cmdline", f"/usr/bin/qemu-system-x86_64\0-name\0guest=a,debug-threads=on\0-uuid\0{uuid}\0".encode()
    )
    tree.file("/proc/11/cmdline", b"/usr/bin/kvm\0-m\x0064\0-soundhw\0es1370\0")
    tree.file("/proc/12/cmdline", b"")  # a kernel thread
    tree.file("/proc/13/cmdline", b"\xff\xfe\0-m\0")
    tree.file("/proc/self/cmdline", b"/usr/bin/kvm\0-m\x0064\0")
    tree.directory("/proc/14")
    commands = _processes(Host.at(str(tmp_path)))
    assert [command.pid for command in commands] == [10, 11]
    from hostward.facts.guests import Guest

    known = Guest("a", uuid, "qemu:///system", running=True)
    merged = _with_processes([known], commands)
    assert merged[0] == replace(known, pid=10, command=commands[0])
    assert (merged[1].name, merged[1].uri, merged[1].pid) == ("kvm process 11", "", 11)
