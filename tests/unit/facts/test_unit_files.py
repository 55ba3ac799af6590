"""Whether a unit is enabled: told from its files alone, as the real `systemctl --root` tells it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hostward.facts.presets import Presets
from hostward.facts.unit_files import UnitFiles, parse
from hostward.host import Host
from tests.hosts.tree import Tree

ETC, LIB, RUN = "/etc/systemd/system", "/usr/lib/systemd/system", "/run/systemd/system"
WANTED = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
PLAIN = "[Service]\nExecStart=/bin/true\n"

#: What is laid out, and the units that are asked for.
STORIES: dict[str, tuple[Callable[[Tree], object], tuple[str, ...]]] = {
    "disabled": (lambda t: t.file(f"{LIB}/a.service", WANTED), ("a.service",)),
    "static": (lambda t: t.file(f"{LIB}/a.service", PLAIN), ("a.service",)),
    "enabled": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(
            f"{ETC}/multi-user.target.wants/a.service", f"{LIB}/a.service"
        ),
        ("a.service",),
    ),
    "enabled by a requires directory": (
        lambda t: t.file(f"{LIB}/a.service", "[Install]\nRequiredBy=x.target\n").link(
            f"{ETC}/x.target.requires/a.service", f"{LIB}/a.service"
        ),
        ("a.service",),
    ),
    "a link that leads nowhere still enables": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(f"{ETC}/multi-user.target.wants/a.service", "/gone"),
        ("a.service",),
    ),
    "wanted by the package, not by /etc": (
        lambda t: t.file(f"{LIB}/a.service", PLAIN).link(f"{LIB}/sysinit.target.wants/a.service", "../a.service"),
        ("a.service",),
    ),
    "enabled until the next boot": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(
            f"{RUN}/multi-user.target.wants/a.service", f"{LIB}/a.service"
        ),
        ("a.service",),
    ),
    "masked": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(f"{ETC}/a.service", "/dev/null"),
        ("a.service",),
    ),
    "masked by the package": (lambda t: t.link(f"{LIB}/a.service", "/dev/null"), ("a.service",)),
    "masked by an empty file": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).file(f"{ETC}/a.service", ""),
        ("a.service",),
    ),
    "masked until the next boot": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(f"{RUN}/a.service", "/dev/null"),
        ("a.service",),
    ),
    "masked though a link wants it": (
        lambda t: t.file(f"{LIB}/a.service", WANTED)
        .link(f"{ETC}/multi-user.target.wants/a.service", f"{LIB}/a.service")
        .link(f"{ETC}/a.service", "/dev/null"),
        ("a.service",),
    ),
    "an alias of an enabled unit": (
        lambda t: t.file(f"{LIB}/a.service", WANTED + "Alias=b.service\n")
        .link(f"{ETC}/multi-user.target.wants/a.service", f"{LIB}/a.service")
        .link(f"{ETC}/b.service", f"{LIB}/a.service"),
        ("a.service", "b.service"),
    ),
    "only the alias is there": (
        lambda t: t.file(f"{LIB}/a.service", WANTED + "Alias=b.service\n").link(
            f"{ETC}/b.service", f"{LIB}/a.service"
        ),
        ("a.service", "b.service"),
    ),
    "an alias of the package": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).link(f"{LIB}/b.service", "a.service"),
        ("a.service", "b.service"),
    ),
    "also": (
        lambda t: t.file(f"{LIB}/a.service", "[Install]\nAlso=b.socket\n").file(f"{LIB}/b.socket", WANTED),
        ("a.service", "b.socket"),
    ),
    "linked from elsewhere": (
        lambda t: t.file("/opt/x/a.service", WANTED).link(f"{ETC}/a.service", "/opt/x/a.service"),
        ("a.service",),
    ),
    "a file in /etc hides the package's": (
        lambda t: t.file(f"{LIB}/a.service", WANTED).file(f"{ETC}/a.service", PLAIN),
        ("a.service",),
    ),
    "a template and an instance": (
        lambda t: t.file(f"{LIB}/p@.service", WANTED).link(
            f"{ETC}/multi-user.target.wants/p@eth0.service", f"{LIB}/p@.service"
        ),
        ("p@.service", "p@eth0.service", "p@eth1.service"),
    ),
    "a template with a default instance": (
        lambda t: t.file(f"{LIB}/p@.service", WANTED + "DefaultInstance=eth0\n").link(
            f"{ETC}/multi-user.target.wants/p@eth0.service", f"{LIB}/p@.service"
        ),
        ("p@.service", "p@eth0.service"),
    ),
    "a drop-in brings the install section": (
        lambda t: t.file(f"{LIB}/a.service", PLAIN).file(
            f"{ETC}/a.service.d/x.conf", "[Install]\nWantedBy=multi-user.target\n"
        ),
        ("a.service",),
    ),
    "the old place of units": (
        lambda t: t.file("/lib/systemd/system/a.service", WANTED).link(
            f"{ETC}/multi-user.target.wants/a.service", "/lib/systemd/system/a.service"
        ),
        ("a.service",),
    ),
    "no such unit": (lambda t: t.directory(ETC), ("nope.service",)),
    "continued lines and comments": (
        lambda t: t.file(f"{LIB}/a.service", "[Install]\n; no\nWantedBy=\\\n# why\n  multi-user.target\n"),
        ("a.service",),
    ),
}  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is not installed")


@pytest.mark.parametrize("story", STORIES)
def test_as_systemctl_says(story: str, tmp_path: Path) -> None:
    lay_out, units = STORIES[story]
    tree = Tree(tmp_path)
    lay_out(tree)
    files = UnitFiles(Host.at(str(tmp_path)))
    for unit in units:
        said = subprocess.run(
            ["systemctl", f"--root={tmp_path}", "is-enabled", unit], capture_output=True, text=True, timeout=30
        )
        theirs = said.stdout.strip() or "not-found"
        assert files.get(unit).state == theirs, f"{unit}: systemctl says {theirs} ({said.stderr.strip()})"


def test_presets_as_systemctl_applies_them(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    units = [f"{name}.service" for name in ("chrony", "hwclock", "ntpd", "other")]
    for unit in units:
        tree.file(f"{LIB}/{unit}", WANTED)
    tree.file("/usr/lib/systemd/system-preset/90-default.preset", "enable chrony*.service\ndisable *\n")
    tree.file("/etc/systemd/system-preset/10-site.preset", "# ours\ndisable hwclock.service\nenable ntpd.service\n")
    host = Host.at(str(tmp_path))
    mine = {unit: Presets(host).of(unit)[0] for unit in units}
    subprocess.run(["systemctl", f"--root={tmp_path}", "preset", *units], check=True, capture_output=True, timeout=30)
    files = UnitFiles(Host.at(str(tmp_path)))
    assert {unit: files.get(unit).state for unit in units} == mine
    assert set(mine.values()) == {"enabled", "disabled"}


def test_settings_in_order_and_reset_by_an_empty_one() -> None:
    text = (
        "[Service]\nExecStart=/bin/a \\\n  --b\nExecStart=\nExecStart=/bin/c\n[Unit]\nConflicts=x.service y.service\n"
    )
    assert parse(text) == [
        ("Service", "ExecStart", "/bin/a  --b"),
        ("Service", "ExecStart", ""),
        ("Service", "ExecStart", "/bin/c"),
        ("Unit", "Conflicts", "x.service y.service"),
    ]
