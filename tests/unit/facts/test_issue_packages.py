"""Which qemu-kvm is installed and what its changelog names as done, by the real rpm and by its database alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostward.config import Config
from hostward.engine import Engine
from hostward.facts.issue_packages import IssuePackages, issue_packages
from hostward.facts.issue_scope import ApplicableIssues
from hostward.facts.known_issues import known_issues
from hostward.host import Host
from hostward.host.programs import Completed
from tests.hosts.tree import Tree

#: The bugs that versions before 7.2.0-5 have, of which the first was backported to this build.
BACKPORTED, OPEN = "rhel-9.virtio-iommu-migration-crash", "rhel-9.rng-migration-from-8.8"
SPEC = """\
Name: qemu-kvm-core
Version: 7.2.0
Release: 3.el9_2.7
Epoch: 17
Summary: QEMU
License: GPL
BuildArch: noarch
%description
QEMU
%files
%changelog
* Mon May 15 2023 A Person <a@example.com> - 17:7.2.0-3.el9_2.7
- kvm-virtio-keep-the-iommu-through-migration.patch [bz#2124856]
- Resolves: bz#2124856
  (VM with virtio interface and iommu=on will crash when try to migrate)

* Mon Jan 09 2023 A Person <a@example.com> - 17:7.2.0-3.el9
- Rebuilt
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A RHEL 9 tree in which the real rpm has installed a build of qemu-kvm-core with a backported fix."""
    if not (shutil.which("rpmbuild") and shutil.which("rpm")):
        pytest.skip("rpm and rpmbuild are not installed")
    work = tmp_path_factory.mktemp("rpm")
    (work / "qemu.spec").write_text(SPEC)
    build = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}/build", str(work / "qemu.spec")]
    subprocess.run(build, check=True, capture_output=True)
    (package,) = (work / "build/RPMS").rglob("*.rpm")
    install = ["rpm", "--root", str(work / "root"), "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "-i"]
    subprocess.run([*install, "--nodeps", "--ignorearch", str(package)], check=True, capture_output=True)
    made = Tree(work / "root")
    made.file("/etc/os-release", 'ID="rhel"\nVERSION_ID="9.2"\nNAME="Red Hat Enterprise Linux"\n')
    return made


class _HostOfAnotherRoot(Host):
    """A live host whose rpm is asked about another root."""

    def run(
        self, argv: Sequence[str], timeout_s: float | None = None, input: bytes = b"", bound: bool = False
    ) -> Completed:
        root = ["--root", self.root, "--dbpath", "/var/lib/rpm"]
        done = subprocess.run([argv[0], *root, *argv[1:]], capture_output=True, text=True)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


def test_the_database_and_rpm_itself_say_the_same(tree: Tree) -> None:
    expected = IssuePackages({"qemu-kvm-core": ("17:7.2.0-3.el9_2.7",)}, {"qemu-kvm-core": frozenset({"2124856"})})
    assert issue_packages(Host.at(str(tree.root)), known_issues()) == expected
    assert issue_packages(_HostOfAnotherRoot(str(tree.root), live=True), known_issues()) == expected


def test_a_backported_fix_is_no_issue_any_more(tree: Tree) -> None:
    scope = Engine(Host.at(str(tree.root)), Config()).fact("ApplicableIssues")
    assert isinstance(scope, ApplicableIssues)
    said = {entry.issue.id: (entry.applies, entry.why) for entry in scope.entries}
    assert said[OPEN][0] is True
    assert said[BACKPORTED] == (False, "the changelog of qemu-kvm-core 17:7.2.0-3.el9_2.7 names 2124856 as done")
    assert said["rhel-9.commit-with-iothread"] == (False, "qemu-kvm-core is 17:7.2.0-3.el9_2.7")
    assert said["rhel-8.mpx-off-crash"][0] is False


def test_a_tree_with_an_older_database_can_not_be_told(tmp_path: Path) -> None:
    tree = Tree(tmp_path).file("/var/lib/rpm/Packages", b"\0" * 4096)
    found = issue_packages(Host.at(str(tmp_path)), known_issues())
    assert found.versions == {} and "Berkeley DB" in found.cannot_tell
    tree.file("/etc/os-release", 'ID="rhel"\nVERSION_ID="6.9"\n')
    scope = Engine(Host.at(str(tmp_path)), Config()).fact("ApplicableIssues")
    said = {entry.issue.id: entry.applies for entry in scope.entries}
    assert said["rhel-6.cirrus-snapshot-crash"] is None and said["rhel-6.scsi-emulation"] is True
