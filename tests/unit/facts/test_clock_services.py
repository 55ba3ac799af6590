"""Who sets the clock and who keeps it, on hosts laid out as distributions lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostward.checks import CHECKS, load_all
from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.clock_services import ClockServices, RtcMode
from hostward.host import Host
from hostward.model import Finding, Remedy, Unavailable
from hostward.remedies import NoRemedy
from hostward.remedies import load_all as load_remedies
from hostward.remedies.executor import show
from tests.hosts import rhel5
from tests.hosts.tree import Tree

ETC, LIB = "/etc/systemd/system", "/usr/lib/systemd/system"
HWCLOCK_SAVE = "[Service]\nType=oneshot\nExecStart=/sbin/hwclock --systohc\n[Install]\nWantedBy=reboot.target\n"
HWCLOCK_LOAD = "[Service]\nExecStart=-/usr/sbin/hwclock -s --utc\n[Install]\nWantedBy=sysinit.target\n"
CHRONYD = "[Unit]\nConflicts=ntpd.service systemd-timesyncd.service\n[Service]\nExecStart=/usr/sbin/chronyd\n"
INSTALL = "[Install]\nWantedBy=multi-user.target\n"


def engine(tree: Tree) -> Engine:
    load_all()
    load_remedies()
    return Engine(Host.at(str(tree.root)), Config())


def services(tree: Tree) -> ClockServices:
    found = engine(tree).fact("ClockServices")
    assert isinstance(found, ClockServices), found
    return found


def findings(tree: Tree) -> dict[str, Finding]:
    """The first finding of each clock check that found something."""
    judge = engine(tree)
    results = [judge.run(check) for id, check in CHECKS.items() if id.startswith("clock.")]
    # what only a running clock tells is not to be had of a tree, and said to be so
    assert all(r.outcome.value in ("passed", "findings") or not r.applicable for r in results), results
    return {result.check: result.findings[0] for result in results if result.findings}


def steps(tree: Tree, remedy: str) -> list[str]:
    plan = engine(tree).plan(remedy)
    assert isinstance(plan, Remedy)
    return [show(step) for step in plan.steps]


def systemd(root: Path, id: str = "debian", version: str = "12") -> Tree:
    tree = Tree(root).file("/etc/os-release", f'ID={id}\nVERSION_ID="{version}"\n')
    tree.script("/usr/lib/systemd/systemd", "").link("/sbin/init", "../usr/lib/systemd/systemd")
    return tree.script("/sbin/hwclock", "").directory(ETC)


def enable(tree: Tree, unit: str, text: str, target: str = "multi-user.target") -> Tree:
    tree.file(f"{LIB}/{unit}", text)
    return tree.link(f"{ETC}/{target}.wants/{unit}", f"{LIB}/{unit}")


# RHEL 5: rc.sysinit sets the clock, init scripts keep it


def test_rhel_5_with_ntpd_off(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    found = findings(tree)
    assert set(found) == {"clock.hwclock-without-ntp"}
    finding = found["clock.hwclock-without-ntp"]
    assert "rc.sysinit" in finding.summary
    assert any("/etc/sysconfig/clock: UTC=true" in line for line in finding.evidence)
    assert steps(tree, "clock.enable-keeper") == ["chkconfig ntpd on", "/etc/init.d/ntpd start"]
    with pytest.raises(NoRemedy, match=r"rc\.sysinit itself sets the clock"):
        engine(tree).plan("clock.disable-hwclock")


@pytest.mark.parametrize(("level", "kept"), [("3", True), ("5", False)])
def test_rhel_5_with_ntpd_on_in_one_runlevel(tmp_path: Path, level: str, kept: bool) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove(f"/etc/rc.d/rc{level}.d/K74ntpd").link(f"/etc/rc.d/rc{level}.d/S58ntpd", "../init.d/ntpd")
    assert [keeper.enabled for keeper in services(tree).keepers] == [kept]
    assert ("clock.hwclock-without-ntp" not in findings(tree)) is kept


def test_ntpdate_at_boot_keeps_nothing(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove("/etc/rc.d/rc3.d/K75ntpdate").link("/etc/rc.d/rc3.d/S57ntpdate", "../init.d/ntpdate")
    finding = findings(tree)["clock.hwclock-without-ntp"]
    assert any("ntpdate" in line and "keeps nothing" in line for line in finding.evidence)


def test_rhel_5_without_hwclock_is_only_a_clock_that_nothing_keeps(tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path).remove("/sbin/hwclock")
    assert set(findings(tree)) == {"clock.no-keeper"}


# systemd


def test_a_masked_hwclock_service_and_chrony(tmp_path: Path) -> None:
    tree = systemd(tmp_path).link(f"{LIB}/hwclock.service", "/dev/null")
    enable(tree, "chrony.service", CHRONYD + INSTALL)
    found = services(tree)
    assert [(k.name, k.service, k.enabled, k.active) for k in found.keepers] == [
        ("chronyd", "chrony.service", True, None)
    ]
    assert not any(use.in_force for use in found.hwclock)
    assert findings(tree) == {}


def test_hwclock_save_alone_is_a_warning_and_hwclock_load_an_error(tmp_path: Path) -> None:
    tree = enable(systemd(tmp_path), "hwclock-save.service", HWCLOCK_SAVE, "reboot.target")
    assert findings(tree)["clock.hwclock-without-ntp"].severity.word == "warning"
    enable(tree, "hwclock-load.service", HWCLOCK_LOAD, "sysinit.target")
    finding = findings(tree)["clock.hwclock-without-ntp"]
    assert (finding.severity.word, finding.subject) == ("error", "hwclock-load.service")
    off = [f"systemctl disable hwclock-{which}.service" for which in ("load", "save")]
    assert sorted(steps(tree, "clock.disable-hwclock")) == off


def test_a_unit_that_is_not_enabled_is_not_active(tmp_path: Path) -> None:
    tree = systemd(tmp_path).file(f"{LIB}/hwclock-load.service", HWCLOCK_LOAD)
    assert set(findings(tree)) == {"clock.no-keeper"}


def test_any_unit_that_calls_hwclock_counts_whatever_its_name(tmp_path: Path) -> None:
    text = "[Service]\nExecStart=/bin/sh /usr/local/bin/our-hwclock-wrapper\n" + INSTALL
    tree = enable(systemd(tmp_path), "our-clock.service", text)
    tree.script("/usr/local/bin/our-hwclock-wrapper", "#!/bin/sh\nHW=/sbin/hwclock\n$HW --hctosys\n")
    assert findings(tree)["clock.hwclock-without-ntp"].subject == "our-clock.service"


def test_a_static_unit_is_masked_not_disabled(tmp_path: Path) -> None:
    tree = systemd(tmp_path).file(f"{LIB}/hwclock.service", HWCLOCK_LOAD.partition("[Install]")[0])
    tree.link(f"{LIB}/sysinit.target.wants/hwclock.service", "../hwclock.service")
    assert findings(tree)["clock.hwclock-without-ntp"].subject == "hwclock.service"
    assert steps(tree, "clock.disable-hwclock") == ["systemctl mask hwclock.service"]


def test_the_udev_helper_of_debian_does_nothing_under_systemd_and_sets_the_clock_without(tmp_path: Path) -> None:
    helper = "#!/bin/sh\nif [ -e /run/systemd/system ] ; then\n    exit 0\nfi\n/sbin/hwclock --rtc=$1 --hctosys\n"
    rule = 'KERNEL=="rtc0", RUN+="/usr/lib/udev/hwclock-set $root/$name"\n'
    tree = systemd(tmp_path / "systemd")
    for each in (tree, Tree(tmp_path / "sysv").file("/etc/inittab", "id:2:initdefault:\n").script("/sbin/hwclock", "")):
        each.file("/usr/lib/udev/rules.d/85-hwclock.rules", rule).script("/usr/lib/udev/hwclock-set", helper)
    assert set(findings(tree)) == {"clock.no-keeper"}
    assert findings(each)["clock.hwclock-without-ntp"].subject == "85-hwclock.rules"
    assert steps(each, "clock.disable-hwclock") == ["ln -s -- /dev/null /etc/udev/rules.d/85-hwclock.rules"]


def test_timesyncd_makes_way_for_chronyd_by_a_condition(tmp_path: Path) -> None:
    tree = systemd(tmp_path, "ubuntu", "22.04")
    enable(tree, "systemd-timesyncd.service", "[Service]\nExecStart=/lib/systemd/systemd-timesyncd\n" + INSTALL)
    assert findings(tree) == {}
    tree.file(f"{LIB}/systemd-timesyncd.service.d/x.conf", "[Unit]\nConditionFileIsExecutable=!/usr/sbin/chronyd\n")
    enable(tree, "chrony.service", CHRONYD + INSTALL).script("/usr/sbin/chronyd", "")
    assert [k.name for k in services(tree).at_boot] == ["chronyd"]
    assert findings(tree) == {}


def test_two_keepers(tmp_path: Path) -> None:
    tree = enable(systemd(tmp_path, "fedora", "41"), "chronyd.service", CHRONYD + INSTALL)
    enable(tree, "ntpd.service", "[Service]\nExecStart=/usr/sbin/ntpd -g\n" + INSTALL)
    finding = findings(tree)["clock.keepers-conflict"]
    assert "chronyd and ntpd" in finding.summary and "exclude each other" in finding.summary


def test_ptp4l_with_phc2sys_is_one_keeper_and_ptp4l_alone_none(tmp_path: Path) -> None:
    tree = enable(systemd(tmp_path), "ptp4l.service", "[Service]\nExecStart=/usr/sbin/ptp4l -i eth0\n" + INSTALL)
    assert "clock.no-keeper" in findings(tree)
    enable(tree, "phc2sys.service", "[Service]\nExecStart=/usr/sbin/phc2sys -a -r\n" + INSTALL)
    assert findings(tree) == {}


def test_an_instance_of_a_template_keeps(tmp_path: Path) -> None:
    tree = systemd(tmp_path).file(f"{LIB}/phc2sys@.service", "[Service]\nExecStart=/usr/sbin/phc2sys -s %I\n" + INSTALL)
    assert "clock.no-keeper" in findings(tree)
    tree.link(f"{ETC}/multi-user.target.wants/phc2sys@eth0.service", f"{LIB}/phc2sys@.service")
    assert [k.service for k in services(tree).keeping] == ["phc2sys@eth0.service"]


def test_a_keeper_only_timedated_knows(tmp_path: Path) -> None:
    tree = enable(systemd(tmp_path), "sitetime.service", "[Service]\nExecStart=/usr/sbin/sitetime\n" + INSTALL)
    assert "clock.no-keeper" in findings(tree)
    tree.file("/usr/lib/systemd/ntp-units.d/50-site.list", "# ours\nsitetime.service\n")
    assert findings(tree) == {}


@pytest.mark.parametrize(
    ("id", "version", "install"),
    [
        ("rhel", "9.4", "dnf install chrony"),
        ("rocky", "8.9", "dnf install chrony"),
        ("fedora", "41", "dnf install chrony"),
        ("debian", "12", "apt-get install systemd-timesyncd"),
        ("ubuntu", "24.04", "apt-get install systemd-timesyncd"),
        ("sles", "15.5", "zypper install chrony"),
        ("opensuse-leap", "15.6", "zypper install chrony"),
    ],
)
def test_where_none_is_installed_the_command_is_named(tmp_path: Path, id: str, version: str, install: str) -> None:
    tree = systemd(tmp_path, id, version)
    assert install in findings(tree)["clock.no-keeper"].advice
    with pytest.raises(NoRemedy, match=install):
        engine(tree).plan("clock.enable-keeper")


def test_a_masked_keeper_is_left_masked(tmp_path: Path) -> None:
    tree = systemd(tmp_path).file(f"{LIB}/chrony.service", CHRONYD + INSTALL).link(f"{ETC}/chrony.service", "/dev/null")
    assert "clock.no-keeper" in findings(tree)
    with pytest.raises(NoRemedy, match=r"systemctl unmask chrony\.service"):
        engine(tree).plan("clock.enable-keeper")


# OpenRC, cron, and what is no host


def test_openrc(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/etc/os-release", "ID=alpine\nVERSION_ID=3.20\n").directory("/etc/runlevels/default")
    script = "#!/sbin/openrc-run\nstart() { hwclock --hctosys $opts; }\nstop() { hwclock --systohc; }\n"
    tree.script("/etc/init.d/hwclock", script).script("/sbin/hwclock", "")
    tree.link("/etc/runlevels/boot/hwclock", "/etc/init.d/hwclock").script(
        "/etc/init.d/chronyd", "#!/sbin/openrc-run\n"
    )
    assert findings(tree)["clock.hwclock-without-ntp"].subject == "hwclock"
    assert steps(tree, "clock.enable-keeper") == ["rc-update add chronyd default", "rc-service chronyd start"]
    assert steps(tree, "clock.disable-hwclock") == ["rc-update del hwclock"]
    tree.file("/etc/conf.d/hwclock", 'clock="UTC"\nclock_hctosys="NO"\n')
    assert findings(tree)["clock.hwclock-without-ntp"].severity.word == "warning"
    tree.link("/etc/runlevels/default/chronyd", "/etc/init.d/chronyd")
    assert findings(tree) == {}


def test_a_cron_job_that_sets_the_clock(tmp_path: Path) -> None:
    tree = systemd(tmp_path).file("/etc/cron.d/clock", "0 * * * * root /sbin/hwclock -s\n")
    assert findings(tree)["clock.hwclock-without-ntp"].subject == "clock"
    with pytest.raises(NoRemedy, match=r"/etc/cron\.d/clock runs hwclock"):
        engine(tree).plan("clock.disable-hwclock")


def test_a_tree_that_starts_nothing_tells_nothing(tmp_path: Path) -> None:
    found = engine(Tree(tmp_path)).fact("ClockServices")
    assert isinstance(found, Unavailable) and "no service manager" in found.reason


@pytest.mark.parametrize(
    ("files", "local", "path"),
    [
        ({"/etc/adjtime": "0.0 0 0.0\n0\nLOCAL\n"}, True, "/etc/adjtime"),
        ({"/etc/adjtime": "0.0 0 0.0\n0\nUTC\n"}, False, "/etc/adjtime"),
        ({}, False, "/etc/adjtime"),
        ({"/etc/sysconfig/clock": "UTC=false\n"}, True, "/etc/sysconfig/clock"),
        ({"/etc/sysconfig/clock": "UTC=true\n", "/etc/adjtime": "0\n0\nLOCAL\n"}, False, "/etc/sysconfig/clock"),
        ({"/etc/conf.d/hwclock": 'clock="local"\n'}, True, "/etc/conf.d/hwclock"),
        ({"/etc/default/rcS": "UTC=no\n"}, True, "/etc/default/rcS"),
    ],
)  # fmt: skip
def test_the_rtc_in_local_time(tmp_path: Path, files: dict[str, Any], local: bool, path: str) -> None:
    tree = systemd(tmp_path)
    for name, text in files.items():
        tree.file(name, text)
    mode = engine(tree).fact("RtcMode")
    assert isinstance(mode, RtcMode) and (mode.local, mode.path) == (local, path)
    assert ("clock.rtc-local-time" in findings(tree)) is local
