"""The package on a booted system: its service's life, and KVM loaded by the transaction that brings it (BZ#501543)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.hosts import rhel5
from tests.lab.conftest import Boot
from tests.lab.debs import kernel
from tests.lab.machine import Content, Guest
from tests.rpm import packages
from tests.rpm.packages import Package, build

KVM = ("kvm.ko", "kvm-amd.ko")
SCRIPT = "/etc/sysconfig/modules/kvm.modules"


def kmod_kvm(work: Path) -> list[Path]:
    """kmod-kvm of RHEL 5 in two versions: KVM's modules in extra, and the script that loads them at boot."""
    of = kernel("A")
    own = of.modules / "kernel" / "arch" / "x86" / "kvm"
    files = {f"/lib/modules/{of.release}/extra/kmod-kvm/{name}": own / name for name in KVM}
    (work / "host").mkdir()
    files[SCRIPT] = Path(rhel5.build(work / "host").at(SCRIPT))
    post = {"post": f"depmod {of.release}"}
    return build([Package("kmod-kvm", version, files=files, scripts=post) for version in ("1", "2")], work / "packages")


@pytest.fixture(scope="module")
def machine(boot: Boot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    made = kmod_kvm(tmp_path_factory.mktemp("kmod-kvm"))
    files: dict[str, Content] = {f"/packages/{path.name}": path for path in made}
    files["/packages/hostward.rpm"] = packages.hostward()
    files["/packages/distribution.rpm"] = packages.built()["distribution"]
    files["/etc/rpm/macros"] = "%_dbpath /var/lib/rpm\n"  # Debian's rpm keeps it in the user's home
    guest = boot("A", files)
    guest.must("rpm -U /packages/distribution.rpm")
    yield guest


def transaction(machine: Guest, command: str) -> list[str]:
    """An rpm transaction that succeeds; what was said in it, without what Debian's rpm says of itself."""
    # Under emulation everything takes ten times as long.
    done = machine.sh(f"HOSTWARD_SCRIPTLET_LIMIT_S=60 rpm {command} 2>&1", limit_s=180)
    assert done.status == 0, done.stdout
    return [line for line in done.stdout.splitlines() if line and not line.startswith("rpm: ")]


def process(machine: Guest) -> str:
    return machine.must("systemctl show -P MainPID hostward.service").strip()


def unload(machine: Guest) -> None:
    """Once udev is done with loading it by itself, that is."""
    machine.must("udevadm settle --timeout=60")
    machine.must("modprobe -r kvm_amd kvm; ! test -e /sys/module/kvm_amd")


def test_installed_it_is_enabled_by_its_preset_and_runs(machine: Guest) -> None:
    assert transaction(machine, "-U /packages/hostward.rpm") == []
    assert machine.must("systemctl is-enabled hostward.service").strip() == "enabled"
    # Once it has judged the host for the first time, which takes a while here.
    machine.must("for n in $(seq 90); do systemctl -q is-active hostward && exit 0; sleep 1; done; exit 1", limit_s=120)
    assert process(machine) != "0"


def test_the_transaction_that_brings_kvm_loads_it(machine: Guest) -> None:
    machine.must("systemctl stop hostward.service")
    unload(machine)
    said = transaction(machine, "-U /packages/kmod-kvm-1-1.noarch.rpm")
    machine.must("test -e /sys/module/kvm_amd && test -c /dev/kvm")
    assert len(said) == 1 and "load the kvm modules: done" in said[0].casefold(), said
    assert machine.hostward("check", "modules.kvm-not-loaded").status == 0


@FULL
def test_an_upgrade_with_kvm_loaded_says_nothing(machine: Guest) -> None:
    assert transaction(machine, "-U /packages/kmod-kvm-2-1.noarch.rpm") == []


def test_what_the_configuration_keeps_for_a_person_is_only_said(machine: Guest) -> None:
    unload(machine)
    machine.must("mkdir -p /etc/hostward/hostward.d")
    own = "repair: {classes: {modules.load-kvm: on-request}}"
    machine.must(f"echo '{own}' >/etc/hostward/hostward.d/own.yaml")
    said = transaction(machine, "-U --oldpackage --replacepkgs /packages/kmod-kvm-1-1.noarch.rpm")
    machine.must("! test -e /sys/module/kvm_amd")
    assert said[0].startswith("WARNING: KVM is installed and the processor can run guests, but kvm"), said
    machine.must("rm /etc/hostward/hostward.d/own.yaml")


@FULL
@pytest.mark.parametrize(
    ("where", "undo"),
    [
        ("touch /run/ostree-booted", "rm /run/ostree-booted"),
        ("mv /run/systemd/system /run/systemd/elsewhere", "mv /run/systemd/elsewhere /run/systemd/system"),
    ],
    ids=["rpm-ostree", "no systemd"],
)
def test_where_the_system_is_not_the_running_one_nothing_is_loaded(machine: Guest, where: str, undo: str) -> None:
    machine.must(where)
    try:
        said = transaction(machine, "-U --replacepkgs --oldpackage /packages/kmod-kvm-1-1.noarch.rpm")
        machine.must("! test -e /sys/module/kvm_amd")
        assert said == []
    finally:
        machine.must(undo)


def test_in_a_chroot_nothing_is_loaded(machine: Guest) -> None:
    """`rpm --root`: /run/systemd/system and /proc are there as outside, but the root is another than process 1's."""
    machine.must(
        "mkdir -p /mnt/other && for d in usr etc var run proc sys dev packages lib; do "
        "mkdir -p /mnt/other/$d && mount --rbind /$d /mnt/other/$d && mount --make-rslave /mnt/other/$d; done; "
        "for l in bin sbin lib64; do ln -s usr/$l /mnt/other/$l; done"
    )
    try:
        said = transaction(machine, "--root /mnt/other -U --replacepkgs --oldpackage /packages/kmod-kvm-1-1.noarch.rpm")
        machine.must("! test -e /sys/module/kvm_amd")
        assert said == []
    finally:
        machine.must("umount -R /mnt/other/*; rm -rf --one-file-system /mnt/other")


@FULL
def test_the_daemon_and_a_transaction_do_not_fight(machine: Guest) -> None:
    """Both see the modules come, and one of them loads them, once."""
    loads = "Load the KVM modules"
    before = machine.hostward("log").stdout.count(loads)
    machine.must("systemctl start hostward.service", limit_s=120)
    unload(machine)
    transaction(machine, "-U --replacepkgs --oldpackage /packages/kmod-kvm-1-1.noarch.rpm")
    machine.must("for n in $(seq 60); do test -c /dev/kvm && exit 0; sleep 1; done; exit 1", limit_s=90)
    machine.must("sleep 5; systemctl stop hostward.service")
    after = machine.hostward("log").stdout
    assert after.count(loads) == before + 1, after


def test_links_that_dangle_are_removed_in_the_transaction(machine: Guest) -> None:
    release = machine.kernel.release
    link = f"/lib/modules/{kernel('B').release}/weak-updates/kmod-kvm/gone.ko"
    machine.must(f"mkdir -p $(dirname {link}) && ln -s /lib/modules/{release}/extra/kmod-kvm/gone.ko {link}")
    said = transaction(machine, "-e kmod-kvm")
    assert any("links that lead nowhere" in line and "done" in line for line in said), said
    machine.must(f"! test -L {link}")


def test_upgraded_it_is_restarted_and_erased_it_is_gone(machine: Guest) -> None:
    machine.must("systemctl start hostward.service && echo '# mine' >>/etc/hostward/hostward.yaml")
    before = process(machine)
    transaction(machine, "-U --replacepkgs /packages/hostward.rpm")
    machine.must("systemctl is-active hostward.service")
    assert process(machine) not in ("0", before)
    machine.must("grep -q '# mine' /etc/hostward/hostward.yaml")
    said = transaction(machine, "-e hostward")
    assert said == ["warning: /etc/hostward/hostward.yaml saved as /etc/hostward/hostward.yaml.rpmsave"]
    assert machine.sh("systemctl is-active hostward.service").stdout.strip() == "inactive"
    assert machine.sh("test -e /proc/" + before).status == 1
    assert machine.sh("systemctl is-enabled hostward.service").status != 0
