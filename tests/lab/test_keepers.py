"""Real keepers in a real machine: what hostward says of them agrees with what their own tools print, and every
reason for which a keeper keeps nothing is brought about and told.  The NTP servers run in a network namespace of
the machine, each with an error of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostward.facts import keeper_state as why
from tests.conftest import FULL
from tests.lab import debs
from tests.lab.conftest import Boot
from tests.lab.machine import Content, Done, Guest, Link

HERE = Path(__file__).parent
#: ADDRESS:OFFSET_S:STRATUM:LEAP of each server; nothing listens on 10.9.0.6.
SERVERS = (
    "10.9.0.1:0:1:0 10.9.0.2:0:2:0 10.9.0.3:0.0002:2:0 10.9.0.4:5:2:0 10.9.0.5:-5:2:0 10.9.0.7:0:16:3 10.9.0.8:11:2:0"
)
SERVER_UNIT = f"[Service]\nExecStart=/usr/bin/ip netns exec servers /usr/bin/python3 -I /lab/ntp_server.py {SERVERS}\n"
NETWORK = """
ip netns add servers
ip link add lab0 type veth peer name lab1 netns servers
ip addr add 10.9.0.100/24 dev lab0 && ip link set lab0 up
for n in 1 2 3 4 5 6 7 8; do ip -n servers addr add 10.9.0.$n/24 dev lab1; done
ip -n servers link set lab1 up && ip -n servers link set lo up
systemctl start lab-servers.service
"""


def laid_in(name: str, *packages: str) -> dict[str, Content]:
    """The files of Debian packages, without documentation and without what hooks them into others."""
    tree = debs.extract(name, *packages)
    files: dict[str, Content] = {}
    for path in sorted(tree.rglob("*")):
        inside = f"/{path.relative_to(tree)}"
        if re.match(r"/usr/share/(doc|man|lintian|apport)/|/etc/(dhcp|NetworkManager|cron\.d|letsencrypt)/", inside):
            continue
        if path.is_symlink():
            files[inside] = Link(str(path.readlink()))
        elif path.is_file():
            files[inside] = path
    return files


@pytest.fixture(scope="module")
def guest(boot: Boot) -> Guest:
    files = laid_in("keepers-bookworm", "ntpsec", "systemd-timesyncd", "python3-ntp")
    files["/lab/ntp_server.py"] = HERE / "ntp_server.py"
    files["/etc/services"] = "ntp 123/udp\n"  # ntpq looks its port up
    files["/etc/systemd/system/lab-servers.service"] = SERVER_UNIT
    guest = boot("A", files)
    guest.must("chmod 755 /usr/sbin/ntpd /usr/bin/ntpq /usr/libexec/ntpsec/* /usr/lib/systemd/systemd-timesyncd")
    guest.must("systemd-sysusers; id ntpsec || useradd --system ntpsec; mkdir -p /var/log/ntpsec /var/lib/ntpsec")
    guest.must("chown ntpsec: /var/log/ntpsec /var/lib/ntpsec; systemctl reload dbus; systemctl daemon-reload")
    guest.must(f"set -e{NETWORK}")
    return guest


def states(guest: Guest) -> list[dict[str, Any]]:
    done = guest.hostward("facts", "KeeperStates", "--format", "json")
    assert done.status == 0, done
    found: list[dict[str, Any]] = done.json()["facts"]["KeeperStates"]["states"]
    return found


def state(guest: Guest, keeper: str) -> dict[str, Any]:
    found = states(guest)
    assert [one["keeper"] for one in found] == [keeper], found
    return found[0]


def wait_for(guest: Guest, keeper: str, wanted: Mapping[str, Any], limit_s: float = 90.0) -> dict[str, Any]:
    """Asks until the keeper's state has all of `wanted`."""
    deadline = time.monotonic() + limit_s
    while True:
        found = state(guest, keeper)
        if all(found[name] == value for name, value in wanted.items()):
            return found
        assert time.monotonic() < deadline, f"{wanted} never came: {found}"
        time.sleep(1)


def wait_for_falseticker(guest: Guest, keeper: str, address: str) -> dict[str, Any]:
    """The state once a wrong source has been judged too: it may be the last to be heard often enough."""
    deadline = time.monotonic() + 120.0
    while True:
        found = wait_for(guest, keeper, {"synchronised": True, "why_not": ""}, 180.0)
        if any((s["address"], s["selection"]) == (address, why.FALSETICKER) for s in found["sources"]):
            return found
        assert time.monotonic() < deadline, f"{address} was never a falseticker: {found}"
        time.sleep(1)


def figure(done: Done | str, pattern: str) -> float:
    text = done if isinstance(done, str) else done.stdout
    match = re.search(pattern, text, re.M)
    assert match, f"{pattern!r} is not in\n{text}"
    return float(match.group(1))


def chronyd(guest: Guest, config: str) -> None:
    guest.must(f"printf '{config}rtcsync\n' > /etc/chrony/chrony.conf; systemctl restart chrony")


def servers(*numbers: int, options: str = "iburst minpoll 1 maxpoll 2") -> str:
    return "".join(f"server 10.9.0.{number} {options}\\n" for number in numbers)


def test_chronyd_keeps_and_agrees_with_chronyc(guest: Guest) -> None:
    chronyd(guest, servers(1, 2, 3, 4, 6))
    found = wait_for_falseticker(guest, "chronyd", "10.9.0.4")
    text = guest.must("chronyc -n tracking")
    assert found["source"] in ("10.9.0.1", "10.9.0.2", "10.9.0.3")
    assert found["leap"] == "normal" and "Leap status     : Normal" in text
    assert abs(found["offset_s"]) < 0.02  # the servers have this machine's own clock
    assert found["root_distance_s"] < 0.2 and found["uncertainty_s"] == found["root_distance_s"]
    frequency = figure(text, r"^Frequency +: ([\d.]+)") * (-1 if "ppm slow" in text else 1)
    assert found["frequency_ppm"] == pytest.approx(frequency, abs=100.0)  # it is still finding it
    by = {source["address"]: source for source in found["sources"]}
    assert by["10.9.0.4"]["selection"] == why.FALSETICKER
    assert by["10.9.0.4"]["offset_s"] == pytest.approx(-5.0, abs=0.02)
    assert by["10.9.0.6"]["selection"] == why.UNREACHED
    table = guest.must("chronyc -n sources")
    for address in ("10.9.0.4", "10.9.0.6"):
        mark = {"10.9.0.4": "x", "10.9.0.6": "?"}[address]
        assert re.search(rf"^\^{re.escape(mark)} {re.escape(address)} ", table, re.M)


@pytest.mark.parametrize(
    ("config", "reason", "detail"),
    [
        ("", why.NO_SOURCE, ""),
        (servers(6), why.UNREACHABLE, "none of 10.9.0.6 answers"),
        (servers(3, 4, 5, 8), why.NO_MAJORITY, r"10\.9\.0\.4 -(4\.9|5\.0)"),
        (servers(7), why.UNSYNCHRONISED, "10.9.0.7"),
        ("local stratum 10\\n" + servers(6), why.OWN_CLOCK, "stratum 10"),
        (servers(1, options="offline"), why.OFFLINE, "chronyc online"),
        ("server no-such-host.invalid iburst\\n", why.UNRESOLVED, "1 of the configured names"),
        (servers(1, options="iburst noselect"), why.UNSELECTABLE, "noselect"),
        (servers(1, options="minpoll 6"), why.WAITING, "10.9.0.1"),
    ],
)
def test_chronyd_keeps_nothing(guest: Guest, config: str, reason: str, detail: str) -> None:
    chronyd(guest, config)
    found = wait_for(guest, "chronyd", {"synchronised": False, "why_not": reason})
    assert re.search(detail, found["detail"]) and found["offset_s"] is None


def ntpsec(guest: Guest, config: str) -> None:
    text = config + "restrict default kod nomodify nopeer noquery limited\\nrestrict 127.0.0.1\\ntos mindist 0.02\\n"
    guest.must(f"systemctl stop chrony; printf '{text}' > /etc/ntpsec/ntp.conf; systemctl restart ntpsec")


def test_ntpsec_keeps_and_agrees_with_ntpq(guest: Guest) -> None:
    ntpsec(guest, "tos minclock 2 minsane 2\\n" + servers(1, 2, 3, 4, 6, options="iburst minpoll 3 maxpoll 3"))
    found = wait_for_falseticker(guest, "ntpsec", "10.9.0.4")
    # ntpq is in Python, slow under emulation: it is given time
    variables = guest.must("ntpq -c 'timeout 30000' -c rv 127.0.0.1")
    done = guest.sh("ntpq -n -c 'timeout 30000' -c peers 127.0.0.1")
    assert re.search(rf"^[*]{re.escape(found['source'])} ", done.stdout, re.M), done
    assert found["stratum"] == figure(variables, r"\bstratum=(\d+)")
    assert found["offset_s"] == pytest.approx(-figure(variables, r"\boffset=(-?[\d.]+)") / 1000, abs=0.02)
    assert found["asked_by"] == "mode 6"
    by = {source["address"]: source for source in found["sources"]}
    assert by["10.9.0.4"]["selection"] == why.FALSETICKER
    assert by["10.9.0.4"]["offset_s"] == pytest.approx(-5.0, abs=0.05)
    assert by["10.9.0.6"]["selection"] == why.UNREACHED


@FULL
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", why.NO_SOURCE),
        (servers(6, options="iburst"), why.UNREACHABLE),
        (servers(1, options=""), why.WAITING),
        (servers(3, 4, 5, 8, options="iburst minpoll 3 maxpoll 3"), why.NO_MAJORITY),
        ("refclock local stratum 10\\n", why.OWN_CLOCK),
    ],
)
def test_ntpsec_keeps_nothing(guest: Guest, config: str, reason: str) -> None:
    ntpsec(guest, config)
    wait_for(guest, "ntpsec", {"synchronised": False, "why_not": reason}, 180)


def timesyncd(guest: Guest, servers: str) -> None:
    guest.must("systemctl stop chrony ntpsec")
    guest.must(f"printf '[Time]\\nNTP={servers}\\n' > /etc/systemd/timesyncd.conf; systemctl restart systemd-timesyncd")


def test_timesyncd_keeps_and_agrees_with_timedatectl(guest: Guest) -> None:
    timesyncd(guest, "10.9.0.2")
    found = wait_for(guest, "systemd-timesyncd", {"synchronised": True, "why_not": ""})
    text = guest.must("timedatectl timesync-status")
    assert found["source"] == "10.9.0.2" and "Server: 10.9.0.2" in text
    assert found["stratum"] == figure(text, r"Stratum: (\d+)") + 1
    sign, number, unit = re.findall(r"Offset: ([+-])([\d.]+)(us|ms|s)", text)[0]
    offset = float(sign + number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert found["offset_s"] == pytest.approx(-offset, abs=1e-5)
    assert "NTPSynchronized=yes" in guest.must("timedatectl show")


@FULL
@pytest.mark.parametrize(
    ("servers", "reason"),
    [("10.9.0.6", why.UNREACHABLE), ("10.9.0.7", why.UNREACHABLE), ("no-such-host.invalid", why.UNRESOLVED)],
)
def test_timesyncd_keeps_nothing(guest: Guest, servers: str, reason: str) -> None:
    timesyncd(guest, servers)
    wait_for(guest, "systemd-timesyncd", {"synchronised": False, "why_not": reason})


def test_a_keeper_that_is_stopped_has_no_state(guest: Guest) -> None:
    guest.must("systemctl stop chrony ntpsec systemd-timesyncd")
    assert states(guest) == []
