"""`hostward modules` on a running machine: one kernel's KVM modules linked to another as weak-modules links them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lab.conftest import Boot
from tests.lab.debs import kernel
from tests.lab.machine import Content, Guest, Link

MODULES = {
    "irqbypass": "virt/lib/irqbypass.ko",
    "kvm": "arch/x86/kvm/kvm.ko",
    "kvm_amd": "arch/x86/kvm/kvm-amd.ko",
}


@pytest.fixture(scope="module")
def machine(boot: Boot) -> Guest:
    """Kernel B runs; A's modules come first there by an override, as a kmod package would have it."""
    a, b = kernel("A"), kernel("B")
    files: dict[str, Content] = {
        "/etc/depmod.d/lab.conf": "".join(f"override {name} * weak-updates/lab\n" for name in MODULES)
    }
    for of in (a, b):
        for name in (f"vmlinuz-{of.release}", f"config-{of.release}"):
            files[f"/boot/{name}"] = of.tree / "boot" / name
    for path in MODULES.values():
        name = path.rpartition("/")[2]
        files[f"/usr/lib/modules/{a.release}/extra/lab/{name}"] = a.modules / "kernel" / path
        files[f"/usr/lib/modules/{b.release}/weak-updates/lab/{name}"] = Link(
            f"/lib/modules/{a.release}/extra/lab/{name}"
        )
    guest = boot("B", files, "modprobe.blacklist=kvm,kvm_amd,kvm_intel")
    guest.must(f"depmod {b.release}")
    return guest


def cell(machine: Guest, *arguments: str) -> dict[str, Any]:
    """The one cell of a module on the running kernel."""
    done = machine.hostward("modules", "--format", "json", "--kernel", "running", *arguments)
    document = done.json()
    assert document["status"] == done.status, done.stderr
    (column,) = document["kernels"]
    assert column["running"] and column["release"] == machine.kernel.release
    (module,) = document["modules"]
    (found,) = module["cells"]
    assert isinstance(found, dict)
    return found


def test_what_loads_is_loaded(machine: Guest) -> None:
    found = cell(machine, "irqbypass")
    assert found["outcome"] == "loads"
    assert found["verdict"]["path"].endswith("/weak-updates/lab/irqbypass.ko")
    machine.must("modprobe irqbypass && test -e /sys/module/irqbypass && modprobe -r irqbypass")


def test_what_fails_fails_with_that_errno_and_those_symbols(machine: Guest) -> None:
    found = cell(machine, "kvm")
    machine.must("dmesg --clear")
    done = machine.sh("modprobe kvm")
    assert done.status != 0 and "Invalid argument" in done.stderr
    assert (found["outcome"], found["verdict"]["errno"]) == ("fails", "EINVAL")
    log = [re.sub(r"^\[[^\]]*\] ", "", line) for line in machine.must("dmesg").splitlines()]
    said = [line for line in log if line.startswith("kvm: ")]
    told = [line for reason in found["verdict"]["reasons"] for line in reason["message"].split("\n")]
    # The kernel limits how many lines it writes in a short time; those it writes are ours, in our order.
    assert said and said == told[: len(said)]


def test_its_consumer_fails_for_it(machine: Guest) -> None:
    found = cell(machine, "--explain", "kvm-amd")
    assert found["outcome"] == "fails"
    assert {p["name"]: p["outcome"] for p in found["verdict"]["providers"]}["kvm"] == "fails"
    actions = [f"{a['kind']} {a['path'].rpartition('/')[2]}" for a in found["story"]["actions"]]
    shown = machine.must("modprobe -D kvm_amd")
    assert actions == [re.sub(r"^insmod \S*/", "insmod ", line).strip() for line in shown.splitlines()]
    assert any(note.startswith("modprobe.blacklist=kvm_amd on the kernel's command line") for note in found["notes"])


def test_an_alias_of_a_blacklisted_module_is_stopped(machine: Guest) -> None:
    alias = "cpu:type:x86,ven0002fam0019mod0001:feature:,00C2,"
    assert "kvm_amd" in machine.must(f"modprobe -R '{alias}'").split()
    shown = machine.sh(f"modprobe -D '{alias}'").stdout
    assert "kvm-amd" not in shown
    done = machine.hostward("modules", "--format", "json", "--kernel", "running", alias)
    modules = {module["name"]: module["cells"][0] for module in done.json()["modules"]}
    assert sorted(modules) == sorted(set(machine.must(f"modprobe -R '{alias}'").split()))
    assert "not loaded by an alias" in modules["kvm_amd"]["notes"][0]


def test_the_other_kernel_takes_its_own(machine: Guest) -> None:
    a = kernel("A").release
    done = machine.hostward("modules", "--kernel", a)
    assert done.status == 0, done.stdout
    assert "3 modules on 1 kernel: 3 load" in done.stdout
