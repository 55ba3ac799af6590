"""What keepers are told by their files, laid out as distributions lay them out."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.keeper_config import KeeperConfig, KeeperConfigs
from hostward.host import Host
from tests.hosts.tree import Tree

LIB = "/usr/lib/systemd/system"
DEBIAN_CHRONY = """\
# Welcome to the chrony configuration file.
confdir /etc/chrony/conf.d
pool 2.debian.pool.ntp.org iburst
sourcedir /run/chrony-dhcp
sourcedir /etc/chrony/sources.d
keyfile /etc/chrony/chrony.keys
makestep 1 3
leapsectz right/UTC
"""


def host(root: Path) -> Tree:
    tree = Tree(root).file("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    return (
        tree.script("/usr/lib/systemd/systemd", "")
        .link("/sbin/init", "../usr/lib/systemd/systemd")
        .directory("/etc/systemd/system")
    )


def unit(tree: Tree, name: str, command: str) -> Tree:
    return tree.file(f"{LIB}/{name}", f"[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n")


def config(tree: Tree, keeper: str) -> KeeperConfig:
    found = Engine(Host.at(str(tree.root)), Config()).fact("KeeperConfigs")
    assert isinstance(found, KeeperConfigs), found
    of = found.of(keeper)
    assert of is not None, found
    return of


def debian(root: Path) -> Tree:
    tree = unit(host(root), "chrony.service", "!/usr/sbin/chronyd $DAEMON_OPTS")
    return tree.file("/etc/chrony/chrony.conf", DEBIAN_CHRONY)


def test_debians_chrony_without_rtcsync(tmp_path: Path) -> None:
    found = config(debian(tmp_path), "chronyd")
    assert found.path == "/etc/chrony/chrony.conf"
    assert found.rtcsync is False and found.leap_mode == "system" and found.smear is None
    assert found.names == ("2.debian.pool.ntp.org",)
    assert found.sources[0].text == "/etc/chrony/chrony.conf:3: pool 2.debian.pool.ntp.org iburst"
    assert found.trouble == ()


def test_rtcsync_in_a_file_of_confdir_counts(tmp_path: Path) -> None:
    tree = debian(tmp_path).file("/etc/chrony/conf.d/10-kernel.conf", "RtcSync\n")
    assert config(tree, "chronyd").rtcsync is True


def test_a_line_that_is_commented_out_does_not_count(tmp_path: Path) -> None:
    for mark in "!;#%":
        tree = debian(tmp_path / str(ord(mark))).file("/etc/chrony/conf.d/a.conf", f"{mark}rtcsync\n {mark} rtcsync\n")
        assert config(tree, "chronyd").rtcsync is False
    tree = debian(tmp_path / "other").file("/etc/chrony/conf.d/a.conf.dpkg-old", "rtcsync\n")
    assert config(tree, "chronyd").rtcsync is False


def test_sourcedir_gives_sources_and_nothing_else(tmp_path: Path) -> None:
    tree = debian(tmp_path).file("/etc/chrony/sources.d/our.sources", "server ntp1.example.com\nrtcsync\n")
    found = config(tree, "chronyd")
    assert found.rtcsync is False and found.names == ("2.debian.pool.ntp.org", "ntp1.example.com")


def test_the_first_directory_of_confdir_wins(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "chronyd.service", "/usr/sbin/chronyd")
    tree.file("/etc/chrony.conf", "confdir /run/c /etc/c\n").file("/run/c/a.conf", "server first.example.com\n")
    tree.file("/etc/c/a.conf", "server second.example.com\n").file("/etc/c/b.conf", "server third.example.com\n")
    assert config(tree, "chronyd").names == ("first.example.com", "third.example.com")


def test_rhels_chrony_that_smears_for_its_clients(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "chronyd.service", "/usr/sbin/chronyd $OPTIONS")
    text = "server time.example.com\nrtcsync\nleapsecmode slew\nmaxslewrate 1000\nsmoothtime 400 0.001 leaponly\n"
    found = config(tree.file("/etc/chrony.conf", text), "chronyd")
    assert found.rtcsync is True and found.leap_mode == "slew" and found.smear is not None
    assert found.smear.text == "/etc/chrony.conf:5: smoothtime 400 0.001 leaponly"


def test_the_file_named_on_the_command_line(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "chronyd.service", "/usr/sbin/chronyd -f /etc/our.conf -u chrony")
    tree.file("/etc/chrony.conf", "rtcsync\n").file("/etc/our.conf", "include /etc/our.d/*.conf\n")
    found = config(tree.file("/etc/our.d/x.conf", "server a.example.com\n"), "chronyd")
    assert found.path == "/etc/our.conf" and found.rtcsync is False and found.names == ("a.example.com",)


def test_sources_that_smear_beside_those_that_do_not(tmp_path: Path) -> None:
    names = ("time1.google.com", "169.254.169.123", "time.cloudflare.com", "ptbtime1.ptb.de", "0.debian.pool.ntp.org")
    tree = debian(tmp_path).file("/etc/chrony/chrony.conf", "".join(f"server {name}\n" for name in names))
    found = config(tree, "chronyd")
    assert found.smearing == names[:3] and found.exact == names[3:]


def test_ntp_conf_with_includes_and_a_smear(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "ntp.service", "/usr/lib/ntp/ntp-systemd-wrapper")
    text = "pool -4 0.debian.pool.ntp.org iburst\nserver 127.127.1.0\nincludefile ntp.more\nleapsmearinterval 86400\n"
    tree.file("/etc/ntp.conf", text).file("/etc/ntp.more", "peer b.example.com\n")
    found = config(tree, "ntpd")
    assert found.rtcsync is None and found.names == ("0.debian.pool.ntp.org", "b.example.com")
    assert found.smear is not None and found.smear.words == ("86400",)
    assert config(tree.file("/etc/ntp.conf", "leapsmearinterval 0\n"), "ntpd").smear is None


def test_ntpsec_reads_its_directory_too(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "ntpsec.service", "/usr/libexec/ntpsec/ntp-systemd-wrapper")
    tree.file("/etc/ntpsec/ntp.conf", "server a.example.com\n").file(
        "/etc/ntpsec/ntp.d/x.conf", "server b.example.com\n"
    )
    assert config(tree, "ntpsec").names == ("a.example.com", "b.example.com")


def test_timesyncd_adds_clears_and_falls_back(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "systemd-timesyncd.service", "!!/usr/lib/systemd/systemd-timesyncd")
    tree.file("/etc/systemd/timesyncd.conf", "[Time]\n#NTP=\nNTP=a.example.com\nFallbackNTP=time.google.com\n")
    assert config(tree, "systemd-timesyncd").names == ("a.example.com",)
    tree.file("/etc/systemd/timesyncd.conf.d/b.conf", "[Time]\nNTP=b.example.com c.example.com\n")
    assert config(tree, "systemd-timesyncd").names == ("a.example.com", "b.example.com", "c.example.com")
    found = config(tree.file("/etc/systemd/timesyncd.conf.d/c.conf", "[Time]\nNTP=\n"), "systemd-timesyncd")
    assert found.names == found.smearing == ("time.google.com",)


def test_openntpd(tmp_path: Path) -> None:
    tree = unit(host(tmp_path), "openntpd.service", "/usr/sbin/ntpd -d $DAEMON_OPTS")
    tree.file("/etc/openntpd/ntpd.conf", "# none\nservers pool.ntp.org\nsensor *\n")
    assert config(tree, "openntpd").names == ("pool.ntp.org",)


def test_includes_in_a_circle_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    tree = debian(tmp_path).file("/etc/chrony/chrony.conf", "include /etc/chrony/chrony.conf\nserver a\n")
    found = config(tree, "chronyd")
    assert found.names == ("a",) and "included more than 8 deep" in found.trouble[0]
    found = config(tree.file("/etc/chrony/chrony.conf", "include /nowhere\nserver a\n"), "chronyd")
    assert found.trouble == ("/nowhere: does not exist",) and found.names == ("a",)
    many = "confdir /etc/many\n"
    tree.file("/etc/chrony/chrony.conf", many)
    for number in range(300):
        tree.file(f"/etc/many/{number:03}.conf", many if number == 0 else "server x\n")
    assert any("files are included" in line for line in config(tree, "chronyd").trouble)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, text: bytes) -> None:
    tree = host(tmp_path)
    for keeper, place in (
        ("chrony.service", "/etc/chrony/chrony.conf"),
        ("ntp.service", "/etc/ntp.conf"),
        ("openntpd.service", "/etc/openntpd/ntpd.conf"),
        ("systemd-timesyncd.service", "/etc/systemd/timesyncd.conf"),
    ):
        unit(tree, keeper, "/usr/sbin/chronyd")
        tree.file(place, text)
    found = Engine(Host.at(str(tree.root)), Config()).fact("KeeperConfigs")
    assert isinstance(found, KeeperConfigs) and len(found.configs) == 4
