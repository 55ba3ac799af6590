"""The checks of guests against the corpus of definitions: what each must find, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.domains import CASES, Case, found_by, rhel56


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    root = tmp_path_factory.mktemp("rhel56")
    rhel56(root, {case.name: case.xml() for case in CASES})
    return found_by(root)


@pytest.mark.proves(
    "rhel-5.6.kvm.rtl8139",
    "rhel-5.6.kvm.windows-mute",
    "rhel-5.6.kvm.qcow2-preview",
    "rhel-5.6.kvm.ac97-windows7",
    "rhel-5.6.kvm.etherboot",
    "rhel-5.6.kvm.disabled-features",
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_definition_has_its_findings_and_no_others(case: Case, found: dict[str, set[str]]) -> None:
    assert found.get(case.name, set()) == set(case.expect)


def test_the_corpus_is_what_it_says_it_is(found: dict[str, set[str]]) -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)
    assert set(found) == {case.name for case in CASES if case.expect}, "a finding about no guest of the corpus"


def test_one_definition_alone_finds_the_same(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == "everything-old")
    rhel56(tmp_path, {case.name: case.xml()})
    assert found_by(tmp_path) == {case.name: set(case.expect)}


SCHEMA = Path("/usr/share/libvirt/schemas/domaincommon.rng")
#: Of libvirt's own lists of models, those that the release note's list means.
MEANT = {
    ("controller", "scsi"): {
        "auto",
        "buslogic",
        "lsilogic",
        "lsisas1068",
        "lsisas1078",
        "ncr53c90",
        "dc390",
        "am53c974",
    },
    ("controller", "vmware"): {"vmpvscsi"},
    ("sound", ""): {"sb16", "es1370"},
    ("video", ""): {"vmvga"},
    ("qemucdevSerialTgtType", ""): {"usb-serial"},
}
SPELLING = {
    "controller": "<controller type='scsi' index='0' model='{}'/>",
    "sound": "<sound model='{}'/>",
    "video": "<video><model type='{}'/></video>",
    "qemucdevSerialTgtType": "<serial type='pty'><target type='{}'/></serial>",
}


@pytest.mark.skipif(not SCHEMA.is_file(), reason="libvirt's schemas are not installed")
@pytest.mark.parametrize("define", sorted(SPELLING))
def test_of_all_models_that_libvirt_has_a_word_for_the_right_ones_are_found(define: str, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    rng = "{http://relaxng.org/ns/structure/1.0}"
    (found,) = [d for d in ElementTree.parse(SCHEMA).getroot().iter(f"{rng}define") if d.get("name") == define]
    words = sorted({(value.text or "").strip() for value in found.iter(f"{rng}value")})
    assert len(words) > 5
    cases = {word: Case(f"case-{number}", SPELLING[define].format(word)) for number, word in enumerate(words)}
    rhel56(tmp_path, {case.name: case.xml() for case in cases.values()})
    told = found_by(tmp_path)
    flagged = {word for word, case in cases.items() if any("unsupported" in x for x in told.get(case.name, ()))}
    meant = set().union(*(models for (name, _), models in MEANT.items() if name == define))
    assert flagged == meant & set(words)
