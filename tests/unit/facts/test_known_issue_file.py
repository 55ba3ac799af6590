"""A file of known issues: every mistake is told with its line and what would be right; every word does what it says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from hostward.facts import domain_path
from hostward.facts.domain import domain_of
from hostward.facts.guests import Guest, Guests
from hostward.facts.issue_matches import IssueMatches, issue_matches
from hostward.facts.issue_packages import IssuePackages, issue_packages
from hostward.facts.issue_scope import ApplicableIssues, ScopedIssue, applicable_issues
from hostward.facts.known_issue_file import parse_known_issues
from hostward.facts.known_issues import KnownIssue, KnownIssues
from hostward.facts.loaded import LoadedModule, LoadedModules
from hostward.facts.operating_system import OperatingSystem
from hostward.host import Host
from hostward.model import NotApplicable, Severity, Unavailable
from hostward.yamldoc import ConfigError
from tests.hosts.domains import Case
from tests.hosts.tree import Tree

HEAD = (
    "product: Red Hat Enterprise Linux\nrelease: '9'\nsection: s\nissues:\n- {id: a, title: t, happens: h, advice: a,\n"
)


def entry(rest: str, head: str = HEAD) -> KnownIssue:
    (issue,) = parse_known_issues("x.yaml", f"{head}   {rest}}}\n".encode())
    return issue


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ("macth: {}", r":6: unknown key macth in an issue; did you mean match\?"),
        ("match: {}", r":6: match needs one of domain, module, unit, sysfs, config"),
        ("match: {domian: a}", r":6: unknown key domian in match; did you mean domain\?"),
        ("check: c, match: {module: m}", r":6: an issue has a check in code or a match, not both"),
        ("match: {domain: 'devices/interface['}", r":6: match.domain: not a path such as"),
        ("match: {domain: 'a[contains(@b, 1)]'}", r":6: match.domain: not a path such as"),
        ("match: {domain: '/etc/passwd'}", r":6: match.domain: not a path such as"),
        ("match: {domain: 'devices/vmware:x'}", r":6: .*no namespace has the prefix vmware; known: libosinfo"),
        ("match: {domain: {lacks: a}}", r":6: match.domain needs has, has-any, above, count-above or os"),
        ("match: {domain: {has: a, witch: live}}", r":6: unknown key witch in match.domain; did you mean which\?"),
        ("match: {domain: {has: a, which: both}}", r":6: match.domain.which: both is none of stored, live, any"),
        ("match: {domain: {above: {vcpu: many}}}", r":6: match.domain.above must be a number"),
        ("match: {domain: {above: {'vcpu[': 1}}}", r":6: match.domain.above: not a path"),
        ("match: {module: {loaded: true}}", r":6: match.module needs name"),
        ("match: {module: {name: ksm, loaded: maybe}}", r":6: match.module.loaded must be true or false"),
        ("match: {unit: {name: ksmtuned.service}}", r":6: match.unit needs state"),
        ("match: {unit: {name: ksmtuned, state: active}}", r":6: match.unit.name: a unit's whole name"),
        ("match: {unit: {name: a.service, state: on-fire}}", r":6: match.unit.state: on-fire is none of active"),
        ("match: {sysfs: {matches: Y}}", r":6: a file needs path"),
        ("match: {sysfs: {path: sys/x}}", r":6: path must be absolute, not sys/x"),
        ("match: {config: {path: /x, matches: '('}}", r":6: matches is no regular expression"),
        ("match: {config: {path: /x, matches: a, exists: false}}", r":6: a file that must not exist can't be matched"),
        ("severity: bad", r":6: severity: bad is none of info, warning, error"),
        ("bug: many", r":6: bug must be a whole number"),
        ("applies: {relase: '>= 9'}", r":6: unknown key relase in applies; did you mean release\?"),
        ("applies: {release: new}", r":6: not a version condition: 'new'"),
        ("applies: {version: '< 1'}", r":6: applies.version needs applies.package"),
        ("applies: {package: p, version: older}", r":6: not a version condition"),
        ("applies: {on: mars}", r":6: applies.on: mars is none of host, guest, any"),
        ("applies: {package: ''}", r":6: applies.package is empty"),
        ("applies: {architecture: 3}", r":6: applies.architecture must be a text, not a number"),
    ],
)
def test_a_mistake_is_told_with_its_line(rest: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        entry(rest)


def test_other_mistakes() -> None:
    with pytest.raises(ConfigError, match=r":5: an id is of small letters"):
        parse_known_issues("x.yaml", HEAD.replace("id: a,", "id: 'A b',").encode() + b"   check: c}\n")
    with pytest.raises(ConfigError, match=r"applies.release needs applies.distribution, as RedHat is no product"):
        entry("applies: {release: '>= 9'}", HEAD.replace("Red Hat Enterprise Linux", "RedHat"))


def test_what_stands_there_is_what_comes_out() -> None:
    issue = entry(
        "bugs: [12, RHEL-7], references: ['https://e.org/x', a book], severity: info, applies: {release: '>= 9, < 10', "
        "package: p, version: '< 2:1-3', kernel: '>= 5', architecture: [x86_64, s390x], on: guest}, match: {domain: "
        "{has: 'a/b', has-any: [c, d], lacks: e, above: {vcpu: 8}, count-above: {f: 2}, os: 'http://x/', which: live}, "
        "module: {name: ksm, loaded: false}, unit: {name: a.service, state: masked}, sysfs: {path: /sys/x, matches: Y}}"
    )
    assert [r.text for r in issue.references] == ["BZ#12", "RHEL-7", "https://e.org/x", "a book"]
    assert [r.url for r in issue.references][1:] == ["https://issues.redhat.com/browse/RHEL-7", "https://e.org/x", ""]
    assert issue.bugs == ("12", "RHEL-7")
    assert (issue.severity, issue.on, issue.distributions, issue.source) == (
        Severity.INFO,
        "guest",
        ("rhel",),
        "x.yaml:5",
    )
    assert issue.match is not None and issue.match.domain is not None
    assert issue.match.domain.above == (("vcpu", 8.0),) and issue.match.domain.count_above == (("f", 2),)
    assert issue.match.module == ("ksm", False) and issue.match.unit == ("a.service", "masked")
    assert issue.needs == "rhel >= 9, < 10, p < 2:1-3, kernel >= 5, x86_64 or s390x, on a guest"


# Paths

DOMAIN = ElementTree.fromstring(
    "<domain type='kvm' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><vcpu current='2'>8</vcpu><devices>"
    "<disk type='file' device='disk'><driver cache='none'/><source file='/a'/><target dev='vda' bus='virtio'/></disk>"
    "<disk type='block' device='cdrom'><target dev='hdc' bus='ide'/></disk></devices>"
    "<q:commandline><q:arg value='-smb'/></q:commandline></domain>"
)


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("devices/disk", 2),
        (".//target", 2),
        ("./devices/disk", 2),
        ("devices/*", 2),
        ("devices/disk[@type='file']", 1),
        ('devices/disk[@type="file"]', 1),
        ("devices/disk[@type='file'][@device='cdrom']", 0),
        ("devices/disk[source]", 1),
        ("devices/disk[2]/target[@bus='ide']", 1),
        ("devices/disk/driver/@cache", 1),
        ("devices/disk/driver/@iothread", 0),
        ("vcpu/@current", 1),
        ("vcpu[.='8']", 1),
        (".[@type='kvm']", 1),
        (".[@type='qemu']", 0),
        ("devices/disk/source/../target", 1),
        ("qemu:commandline/qemu:arg[@value='-smb']", 1),
        ("commandline", 0),
    ],
)
def test_what_a_path_finds(path: str, count: int) -> None:
    assert domain_path.wrong_with(path) == ""
    assert len(domain_path.find(DOMAIN, path)) == count


@pytest.mark.parametrize(
    "path",
    ["", "/", "//disk", "a//", "a[", "a[]", "a[@b!='c']", "a[b or c]", "count(a)", "a|b", "a[last()]", "a[0]", "a b",
     "@x", "a/@b/c", "a[@b='c]", "nope:a", "a" * 501],
)  # fmt: skip
def test_what_is_no_path(path: str) -> None:
    assert domain_path.wrong_with(path)


# Matches of the host itself


def scope_of(rest: str) -> ApplicableIssues:
    return ApplicableIssues((ScopedIssue(entry(rest), True, ""),))


LOADED = LoadedModules({"ksm": LoadedModule("ksm", 1, (), "live")})


def met(host: Host, rest: str, loaded: LoadedModules | Unavailable = LOADED) -> IssueMatches:
    return issue_matches(host, scope_of(rest), NotApplicable("no guests"), loaded)


def test_files_modules_and_units_of_a_host(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/sys/module/kvm_intel/parameters/nested", "Y\n")
    tree.file("/etc/libvirt/qemu.conf", "#user = 'root'\nuser = 'qemu'\n")
    tree.link("/etc/systemd/system/ksm.service", "/dev/null")
    host = Host.at(str(tmp_path))
    nested = "match: {sysfs: {path: /sys/module/kvm_intel/parameters/nested, matches: '^[Y1]'}}"
    (found,) = met(host, nested).found
    assert found.guest == "" and found.evidence == ("/sys/module/kvm_intel/parameters/nested: Y",)
    assert met(host, nested.replace("[Y1]", "[N0]")).found == ()
    assert met(host, nested.replace("intel", "amd")).found == ()
    assert len(met(host, "match: {config: {path: /etc/libvirt/qemu.conf, matches: '^user'}}").found) == 1
    assert len(met(host, "match: {config: {path: /etc/libvirt/none.conf, exists: false}}").found) == 1
    assert met(host, "match: {config: {path: /etc/libvirt/qemu.conf, exists: false}}").found == ()
    assert len(met(host, "match: {module: ksm}").found) == 1
    assert met(host, "match: {module: {name: ksm, loaded: false}}").found == ()
    assert len(met(host, "match: {module: {name: kvm, loaded: false}}").found) == 1
    assert len(met(host, "match: {unit: {name: ksm.service, state: masked}}").found) == 1
    assert met(host, "match: {unit: {name: ksm.service, state: enabled}}").found == ()
    blind = met(host, "match: {unit: {name: ksm.service, state: active}}")
    assert blind.found == () and "not running" in blind.cannot_tell[0]
    blind = met(host, "match: {module: ksm}", Unavailable("no /proc"))
    assert blind.cannot_tell == ("a: no /proc",)


def test_the_definition_that_is_meant() -> None:
    stored = Case("g", "<sound model='ac97'/>").xml().encode()
    live = Case("g", "<sound model='ich6'/>").xml().encode()
    domains = [domain_of(ElementTree.fromstring(text), where, text) for text, where in ((stored, "s"), (live, "l"))]
    guests = Guests((Guest("g", "u", running=True, stored=domains[0], live=domains[1]),), problems=("/x.xml: bad",))

    def found(which: str, model: str) -> list[str]:
        path = f"devices/sound[@model='{model}']"
        scope = scope_of(f'match: {{domain: {{has: "{path}", which: {which}}}}}')
        result = issue_matches(Host.running(), scope, guests, LOADED)
        assert result.cannot_tell == ("/x.xml: bad",), "what could not be read is told"
        return [match.guest for match in result.found]

    assert found("stored", "ac97") == ["g"] and found("live", "ac97") == [] and found("any", "ac97") == ["g"]
    assert found("stored", "ich6") == [] and found("live", "ich6") == ["g"] and found("any", "ich6") == ["g"]


# Where an issue applies


def applies(rest: str, system: OperatingSystem | Unavailable, packages: IssuePackages) -> tuple[bool | None, str]:
    nothing = Unavailable("not here")
    issues = KnownIssues((entry(rest),))
    (scoped,) = applicable_issues(issues, system, nothing, nothing, nothing, packages, nothing).entries
    return scoped.applies, scoped.why


def test_a_rebuild_is_of_the_family_and_what_can_not_be_told_is_not_guessed() -> None:
    none = IssuePackages()
    rest = "applies: {release: '>= 9, < 10'}"
    for id in ("rhel", "almalinux", "rocky", "centos"):
        assert applies(rest, OperatingSystem(id, "9.4", ""), none)[0] is True
    assert applies(rest, OperatingSystem("fedora", "40", "", ("rhel",)), none) == (False, "this is fedora 40")
    assert applies(rest, OperatingSystem("rhel", "10.0", ""), none) == (False, "this is rhel 10.0")
    assert applies(rest, OperatingSystem("rhel", "", ""), none)[0] is None
    assert applies(rest, Unavailable("no release file"), none) == (None, "no release file")
    assert applies("applies: {kernel: '< 5'}", OperatingSystem("rhel", "9.1", ""), none) == (
        None,
        "no kernel is known here",
    )
    blind = IssuePackages(cannot_tell="bdb")
    package = "applies: {release: '>= 9', package: p, version: '< 2'}"
    assert applies(package, OperatingSystem("rhel", "9.1", ""), blind) == (None, "bdb")
    assert applies(package, OperatingSystem("rhel", "8.1", ""), blind)[0] is False, "one part that fails decides"


def test_packages_of_a_debian_tree(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file(
        "/var/lib/dpkg/status",
        "Package: qemu-kvm\nStatus: deinstall ok config-files\nVersion: 1:1.0\n\n"
        "Package: qemu\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:7.2+dfsg-7\nDepends: x\n\n",
    )
    issues = KnownIssues((entry("applies: {package: qemu}"), entry("applies: {package: qemu-kvm}")))
    assert issue_packages(Host.at(str(tmp_path)), issues).versions == {"qemu": ("1:7.2+dfsg-7",)}
    nothing = issue_packages(Host.at(str(Tree(tmp_path / "empty").root)), issues)
    assert nothing.cannot_tell == "neither an rpm nor a dpkg database is here"
