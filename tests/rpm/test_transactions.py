"""What hostward says in real rpm transactions, and that none fails by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.lab.debs import kernel
from tests.rpm.packages import Package, build, build_many
from tests.rpm.root import Done, Root

Packages = dict[str, Path]


class ModuleTree:
    """The module directory of the kernel of a role, in text; looked up only then, as it may have to be downloaded."""

    def __init__(self, role: str) -> None:
        self.role = role

    def __str__(self) -> str:
        return f"/lib/modules/{kernel(self.role).release}"


A, B, D = (ModuleTree(role) for role in "ABD")
LAYOUT = "disagrees about version of symbol module_layout"
COUNT = "disagrees about version of symbol lab_count"


def warnings(done: Done) -> list[str]:
    """The lines in depmod's wording; of any other output only hostward's one line of advice is allowed."""
    assert done.status == 0, done.output
    lines = [line for line in done.said if not line.startswith("depmod: ")]
    advice = [line for line in lines if line.startswith("hostward: ")]
    found = [line for line in lines if line.startswith("WARNING: ")]
    assert len(advice) + len(found) == len(lines), done.output
    assert len(advice) == (1 if found else 0), done.output
    return [line.removeprefix("WARNING: ") for line in found]


def test_what_loads_is_not_talked_about(root: Root, packages: Packages) -> None:
    done = root.rpm("-U", packages["kmod-lab-1"])
    assert (done.status, done.said) == (0, [])
    assert root.at(f"{B}/weak-updates/kmod-lab/labcount.ko").is_symlink()
    done = root.rpm("-e", "kmod-lab")
    assert (done.status, done.said) == (0, [])


def test_a_kernel_that_takes_nothing_of_the_package(root: Root, packages: Packages) -> None:
    root.rpm("-U", packages["kmod-lab-1"])
    done = root.rpm("-i", packages["kernel-D"])
    assert warnings(done) == [f"{D}/weak-updates/kmod-lab/{name}.ko {LAYOUT}" for name in ("labcount", "labprov")]
    assert f"depmod {kernel('D').release}" in done.said[-1]


def test_upgrade_downgrade_and_reinstall(root: Root, packages: Packages) -> None:
    """Version 2 brings a provider whose symbol has another CRC, and forgets the links to what version 1 had."""
    root.rpm("-U", packages["kmod-lab-1"])
    gone = f"leads to {A}/extra/kmod-lab/labprov.ko, which does not exist"
    wrong = [f"{B}/weak-updates/kmod-lab/labcount.ko {COUNT}", f"{A}/extra/kmod-lab/labcount.ko {COUNT}"]
    done = root.rpm("-U", packages["kmod-lab-2"])
    assert done.status == 0
    told = [line.removeprefix("WARNING: ") for line in done.said if line.startswith("WARNING: ")]
    assert told == [*wrong, f"{B}/weak-updates/kmod-lab/labprov.ko {gone}"]
    again = root.rpm("-U --replacepkgs", packages["kmod-lab-2"])
    assert [line for line in wrong if f"WARNING: {line}" in again.said] == wrong
    back = root.rpm("-U --oldpackage", packages["kmod-lab-1"])
    assert back.status == 0 and not any(COUNT in line for line in back.said)
    root.sh(f"rm {B}/weak-updates/kmod-lab/labother.ko")
    assert root.rpm("-U --replacepkgs", packages["kmod-lab-1"]).said == []
    assert root.rpm("-e", "kmod-lab").said == []


def test_links_left_behind_by_a_package_that_goes(root: Root, packages: Packages) -> None:
    assert warnings(root.rpm("-U", packages["kmod-careless"])) == []
    done = root.rpm("-e", "kmod-careless")
    link, target = f"{B}/weak-updates/kmod-careless/labnone.ko", f"{A}/extra/kmod-careless/labnone.ko"
    assert warnings(done) == [f"{link} leads to {target}, which does not exist"]
    assert root.at(link).is_symlink(), "nothing is removed where the root is not the running system's"


def test_a_kernel_goes_under_its_links(root: Root, packages: Packages) -> None:
    root.rpm("-U", packages["kmod-careless"])
    assert warnings(root.rpm("-e", "kernel-core-6.1.0-2")) == []
    assert root.at(f"{B}/weak-updates/kmod-careless/labnone.ko").is_symlink()
    (left,) = warnings(root.rpm("-e", "kmod-careless"))
    assert left.startswith(f"{B}/weak-updates/kmod-careless/labnone.ko leads to ")


@pytest.mark.parametrize("order", [0, pytest.param(1, marks=FULL), pytest.param(2, marks=FULL)])
def test_in_one_transaction_with_hostward(bare: Root, packages: Packages, order: int) -> None:
    """rpm orders what one call installs by what requires what: here hostward comes first, last, or in the middle."""
    names = ["hostward", "kernel-A", "kernel-D", "kmod-lab-1"]
    names = [*names[order:], *names[:order]]
    done = bare.rpm("-i", *(packages[name] for name in names))
    assert warnings(done) == [f"{D}/weak-updates/kmod-lab/{name}.ko {LAYOUT}" for name in ("labcount", "labprov")]


@pytest.mark.parametrize(
    "order", [("before", "hostward"), ("hostward", "after"), ("before", "hostward", "after")], ids=lambda o: "-".join(o)
)
def test_hostward_first_last_and_in_the_middle(
    bare: Root, packages: Packages, order: tuple[str, ...], tmp_path: Path
) -> None:
    """Requirements force the order in which one transaction installs; hostward judges at its end all the same."""
    no_elf = Path(__file__)
    asked = {
        "before": [Package("kmod-more", files={f"{A}/extra/kmod-more/more.ko": no_elf})],
        "after": [Package("kmod-late", files={f"{A}/extra/kmod-late/late.ko": no_elf}, requires=["hostward"])],
    }
    made = [p for name in order if name in asked for p in build(asked[name], tmp_path)]
    done = bare.rpm("-i", packages["kernel-A"], *made, packages["hostward"])
    told = warnings(done)
    assert len(told) == len(made) and all("does not load on kernel" in line for line in told), done.output


def test_two_hundred_packages_cause_one_check(root: Root, tmp_path: Path) -> None:
    many = {f"kmod-n{n}": f"{A}/extra/kmod-n{n}/n{n}.ko" for n in range(200)}
    root.at("/usr/bin/hostward").rename(root.at("/usr/bin/hostward.real"))
    counting = '#!/bin/sh\necho "$*" >>/calls\nexec /usr/bin/hostward.real "$@"\n'
    root.at("/usr/bin/hostward").write_text(counting)
    root.at("/usr/bin/hostward").chmod(0o755)
    done = root.rpm("-U", *build_many(many, Path(__file__), tmp_path))
    assert root.at("/calls").read_text() == "scriptlet modules-changed\n"
    told = warnings(done)
    assert len(told) == 6 and told[-1] == "and 195 more like these"
    done = root.rpm("-e", *many)
    assert (done.status, done.said) == (0, [])
    assert root.at("/calls").read_text() == "scriptlet modules-changed\nscriptlet modules-removed\n"


def test_the_snippet_for_a_package_of_2010(root: Root, packages: Packages) -> None:
    """The package's own %post speaks; the file trigger, at the transaction's end, does not say the same again."""
    told = warnings(root.rpm("-U", packages["kmod-2010"]))
    assert told == [f"{B}/weak-updates/kmod-2010/labcount.ko {COUNT}", f"{A}/extra/kmod-2010/labcount.ko {COUNT}"]


def test_kernel_install_speaks_for_kernels_of_no_package(root: Root, packages: Packages) -> None:
    """The kernel's package runs the plugin as well, inside its transaction: there the file trigger alone speaks."""
    root.rpm("-U", packages["kmod-lab-1"])
    done = root.rpm("-i", packages["kernel-D"])
    assert len(warnings(done)) == 2 and len(done.said) == 3
    release = kernel("D").release
    alone = root.sh(f"/usr/lib/kernel/install.d/90-hostward.install add {release} /boot/x /boot/vmlinuz-{release}")
    assert warnings(alone) == warnings(done)
    other = root.sh(f"/usr/lib/kernel/install.d/90-hostward.install add {kernel('A').release} /boot/x")
    assert (other.status, other.said) == (0, [])


def test_scripts_that_load_modules_are_looked_at(root: Root, tmp_path: Path) -> None:
    """A transaction that touches /etc/sysconfig/modules alone sets off the trigger; nothing is wrong, nothing said."""
    package = Package("kvm-scripts", files={"/etc/sysconfig/modules/kvm.modules": Path(__file__)})
    done = root.rpm("-U", *build([package], tmp_path))
    assert (done.status, done.said) == (0, [])


# What is broken on the host is no trouble for a transaction.


def trouble(root: Root, packages: Packages, mounts: str = "") -> Done:
    """Installs a package of which much is to be said."""
    root.rpm("-U", packages["kmod-lab-1"])
    return root.rpm("-i", packages["kernel-D"], mounts=mounts)


READ_ONLY = 'mount -t tmpfs -o ro tmpfs "$ROOT/{0}"'
FULL_DISK = 'mount -t tmpfs -o size=4k tmpfs "$ROOT/{0}"; head -c 8192 /dev/zero >"$ROOT/{0}/full" 2>/dev/null || :'


@pytest.mark.parametrize("how", [READ_ONLY, FULL_DISK], ids=["read-only", "full"])
def test_nowhere_to_write(root: Root, packages: Packages, how: str) -> None:
    places = ("var/lib/hostward", "var/cache/hostward", "run", "tmp")
    told = warnings(trouble(root, packages, "\n".join(how.format(place) for place in places)))
    assert told[:2] == [f"{D}/weak-updates/kmod-lab/{name}.ko {LAYOUT}" for name in ("labcount", "labprov")]


def test_no_interpreter(root: Root, packages: Packages) -> None:
    for name in ("python3", "python3.11"):
        root.at(f"/usr/bin/{name}").unlink(missing_ok=True)
    done = trouble(root, packages)
    assert done.status == 0
    # The kernel's own kernel-install runs into it as well.
    assert set(done.said) == {
        "hostward: /usr/bin/hostward does not run (status 127), so kernel modules were not looked at"
    }
    assert root.rpm("-e", "hostward").status == 0


@pytest.mark.parametrize("broken", ["import of a library", "file of hostward", "shell script", "hostward itself"])
def test_broken(root: Root, packages: Packages, broken: str) -> None:
    site = root.at("/usr/lib/python3/dist-packages")
    if broken == "import of a library":
        (site / "yaml/__init__.py").write_text("raise MemoryError('no')\n")
        root.at("/etc/hostward/hostward.yaml").write_text("report: {}\n")
        expected = ["hostward: could not look at kernel modules: MemoryError: no"]
    elif broken == "file of hostward":
        (site / "hostward/cli.py").unlink()
        shutil.rmtree(site / "hostward/__pycache__")
        expected = ["hostward: /usr/bin/hostward does not run (status 1), so kernel modules were not looked at"]
    elif broken == "shell script":
        root.at("/usr/libexec/hostward/scriptlet").unlink()
        expected = []
    else:
        root.at("/usr/bin/hostward").write_text("#!/bin/sh\nkill -SEGV $$\n")
        expected = ["hostward: /usr/bin/hostward does not run (status 139), so kernel modules were not looked at"]
    done = trouble(root, packages)
    assert (done.status, set(done.said)) == (0, set(expected))


def test_a_broken_configuration_is_told_and_the_rest_still_judged(root: Root, packages: Packages) -> None:
    root.at("/etc/hostward/hostward.yaml").write_text("checks:\n  disabledd: {}\n")
    root.rpm("-U", packages["kmod-lab-1"])
    done = root.rpm("-i", packages["kernel-D"])
    assert done.status == 0
    assert done.said[0].startswith("hostward: /etc/hostward/hostward.yaml:2:")
    assert done.said[1] == f"WARNING: {D}/weak-updates/kmod-lab/labcount.ko {LAYOUT}"


@FULL
def test_an_interpreter_that_hangs(root: Root, packages: Packages) -> None:
    root.at("/usr/bin/hostward").write_text("#!/bin/sh\nexec sleep 1000\n")
    done = root.rpm("-U", packages["kmod-lab-1"])
    assert done.status == 0
    assert done.said == ["hostward: /usr/bin/hostward does not run (status 124), so kernel modules were not looked at"]


@pytest.mark.parametrize("streams", [">&-", ">/dev/full", "<&-", "<&- >&- 2>&-", "| :"])
def test_streams_that_are_closed_or_full(root: Root, packages: Packages, streams: str) -> None:
    root.rpm("-U", packages["kmod-lab-1"])
    (name,) = root.copied([packages["kernel-D"]])
    root.sh(f"sh -c 'rpm -i {name}; echo $? >/status' {streams}")
    assert root.at("/status").read_text() == "0\n"
    assert root.sh("rpm -q kernel-core-6.1.0-3").status == 0
    for event in ("modules-changed", "modules-removed", "post-install kmod-lab", "no-such-event", "--no-such-option"):
        root.sh(f"sh -c 'hostward scriptlet {event}; echo $? >/status' {streams}")
        assert root.at("/status").read_text() == "0\n", event


# The package itself.


def test_install_upgrade_and_removal_of_hostward(bare: Root, packages: Packages, tmp_path: Path) -> None:
    assert bare.rpm("-U", packages["hostward"]).said == []
    assert bare.at("/etc/systemd/system/multi-user.target.wants/hostward.service").is_symlink()
    assert not bare.at("/run/systemd/system").exists()
    config = bare.at("/etc/hostward/hostward.yaml")
    mine = config.read_text() + "report: {}\n"
    config.write_text(mine)
    done = bare.rpm("-U --replacepkgs", packages["hostward"])
    assert done.status == 0 and config.read_text() == mine
    done = bare.rpm("-e", "hostward")
    assert done.status == 0 and done.said == [
        "warning: /etc/hostward/hostward.yaml saved as /etc/hostward/hostward.yaml.rpmsave"
    ]
    assert not bare.at("/etc/systemd/system/multi-user.target.wants/hostward.service").is_symlink()
    left = [p for p in bare.sh("find / -xdev -name '*hostward*'").said if not p.startswith("/packages")]
    assert left == ["/etc/hostward", "/etc/hostward/hostward.yaml.rpmsave"]


def test_hostward_goes_with_the_modules(root: Root, packages: Packages) -> None:
    root.rpm("-U", packages["kmod-lab-1"])
    done = root.rpm("-e", "kmod-lab", "hostward")
    assert (done.status, done.said) == (0, [])
