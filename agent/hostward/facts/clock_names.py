"""The programs that keep a clock, by the names that distributions give their units and init scripts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeeperNames:
    """One program that keeps the system clock, and under which names it is started."""

    name: str
    units: tuple[str, ...]
    scripts: tuple[str, ...]
    programs: tuple[str, ...]


def _sbin(*names: str) -> tuple[str, ...]:
    return tuple(f"{place}/{name}" for name in names for place in ("/usr/sbin", "/usr/bin", "/sbin"))


_LIB = ("/usr/lib/systemd", "/lib/systemd")

#: chrony.service on Debian, Ubuntu and Proxmox, chronyd.service on RHEL, Fedora, SUSE and Arch; ntp.service on Debian
#: and Ubuntu, ntpd.service on RHEL, SUSE and Arch.  Which program an ntpd.service runs, its file tells.
KEEPERS = (
    KeeperNames("chronyd", ("chronyd.service", "chrony.service", "chronyd-restricted.service"),
                ("chronyd", "chrony"), _sbin("chronyd")),
    KeeperNames("ntpsec", ("ntpsec.service",), ("ntpsec",), ("/usr/libexec/ntpsec/ntp-systemd-wrapper",)),
    KeeperNames("openntpd", ("openntpd.service",), ("openntpd",), _sbin("openntpd")),
    KeeperNames("ntpd", ("ntpd.service", "ntp.service"), ("ntpd", "ntp", "xntpd"), _sbin("ntpd")),
    KeeperNames("systemd-timesyncd", ("systemd-timesyncd.service",), (),
                tuple(f"{place}/systemd-timesyncd" for place in _LIB)),
    KeeperNames("ntpd-rs", ("ntpd-rs.service",), ("ntpd-rs",), _sbin("ntp-daemon")),
    KeeperNames("timemaster", ("timemaster.service",), ("timemaster",), _sbin("timemaster")),
)  # fmt: skip

PTP4L = KeeperNames("ptp4l", ("ptp4l.service", "ptp4l@.service"), ("ptp4l",), _sbin("ptp4l"))
PHC2SYS = KeeperNames("phc2sys", ("phc2sys.service", "phc2sys@.service"), ("phc2sys",), _sbin("phc2sys"))

#: Units that call hwclock in some distribution, asked for by name even where no file of theirs speaks of it.
HWCLOCK_UNITS = ("hwclock.service", "hwclock-save.service", "hwclock-load.service", "hwclockfirst.service",
                 "hwclock-sync.service")  # fmt: skip


@dataclass(frozen=True)
class Default:
    """What a distribution keeps clocks with when nobody chose, and the command that installs it ("" when built in)."""

    keeper: str
    install: str


def default_keeper(family: str, id: str, major: int | None, product: str, systemd: bool) -> Default:
    """By the distribution's installation guide and installer.

    `family`, `id`, `major` and `product` as in OperatingSystem.
    """
    number = 99 if major is None else major
    if family == "fedora" or (family == "rhel" and number >= 8):
        return Default("chronyd", "dnf install chrony")
    if family == "rhel":
        return Default("chronyd", "yum install chrony") if number == 7 else Default("ntpd", "yum install ntp")
    if family == "suse":
        return Default("chronyd", "zypper install chrony") if number >= 15 else Default("ntpd", "zypper install ntp")
    if family == "debian":
        if product == "pve" or not systemd or (id == "ubuntu" and number >= 26):
            return Default("chronyd", "apt-get install chrony")
        # before Debian 11 and Ubuntu 20.04 timesyncd came with the package systemd itself
        built_in = number < (20 if id == "ubuntu" else 11)
        return Default("systemd-timesyncd", "" if built_in else "apt-get install systemd-timesyncd")
    by_id = {
        "alpine": "apk add chrony",
        "gentoo": "emerge net-misc/chrony",
        "void": "xbps-install chrony",
        "mageia": "dnf install chrony",
    }
    if id == "arch":
        return Default("systemd-timesyncd", "")
    return Default("chronyd", by_id.get(id, ""))
