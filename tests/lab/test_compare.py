"""Two hosts compared: facts of a real libvirt with running guests, against themselves and against edited copies."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward import cli
from hostward.compare import compare
from tests.lab.libvirt_room import Room, lacking

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "agent"), "PYTHONDONTWRITEBYTECODE": "1"}
NAMES = (
    *("OperatingSystem", "RunningKernel", "CpuVirtualization", "Hypervisor", "Guests"),
    *("KeeperStates", "KernelClock"),
)
CUSTOM = (
    "<cpu mode='custom' match='exact'><model fallback='forbid'>Westmere</model>"
    "<feature policy='disable' name='aes'/></cpu>"
)

pytestmark = pytest.mark.skipif(bool(lacking()), reason=f"a libvirt of the test's own needs {lacking()}")


def guest(name: str, devices: str = "", cpu: str = "") -> str:
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os>{cpu}<devices>{devices}</devices></domain>"
    )


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with Room() as made:
        assert made.define(guest("plain")) == ""
        assert made.define(guest("custom", cpu=CUSTOM)) == ""
        assert made.define(guest("off", "<interface type='user'/>")) == ""
        for name in ("plain", "custom"):
            made.virsh("start", name)
        yield made


@pytest.fixture(scope="module")
def facts(room: Room) -> Any:
    done = room.run([sys.executable, "-m", "hostward", "facts", *NAMES, "--format", "json"], ENVIRONMENT)
    return json.loads(done.stdout)


Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def compared(
    facts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    def run(edit: Edit, other: Edit = lambda _: None) -> tuple[int, dict[str, Any], str]:
        for name, change in (("a.json", other), ("b.json", edit)):
            document = copy.deepcopy(facts)
            # The keeper of this machine's clock is none of these tests' business.
            document["facts"]["KeeperStates"] = {
                "states": [{"keeper": "chronyd", "synchronised": True, "offset_s": 0.001, "uncertainty_s": 0.01}]
            }
            change(document["facts"])
            (tmp_path / name).write_text(json.dumps(document))
        files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
        status = cli.main(["compare", *files, "--format", "json"])
        found = json.loads(capsys.readouterr().out)
        schema = json.loads((REPOSITORY / "config/schema/compare.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(found, schema)
        assert cli.main(["compare", *files]) == status == found["status"]
        return status, found, capsys.readouterr().out

    return run


def verdicts(found: dict[str, Any], to: str = "b") -> dict[str, str]:
    return {move["guest"]: move["verdict"] for move in found["guests"] if move["to"] == to}


def said(found: dict[str, Any], guest: str, to: str = "b") -> str:
    (move,) = [move for move in found["guests"] if (move["guest"], move["to"]) == (guest, to)]
    return "; ".join([reason["text"] for reason in move["reasons"]] + move["unknown"])


def test_what_libvirt_tells_of_this_host(facts: Any) -> None:
    hypervisor = facts["facts"]["Hypervisor"]
    assert hypervisor["problem"] == ""
    assert hypervisor["libvirt"].count(".") == hypervisor["qemu"].count(".") == 2
    assert {"pc", "q35"} <= set(hypervisor["machines"]) and any("pc-i440fx-" in m for m in hypervisor["machines"])
    assert {"nx", "lm", "sse2"} <= set(hypervisor["features"]["qemu"])
    features = {cpu["guest"]: set(cpu["features"]) for cpu in hypervisor["guests"]}
    assert {"nx", "sse4.2"} <= features["custom"] and "aes" not in features["custom"]


def test_a_host_and_itself(compared: Any) -> None:
    status, found, text = compared(lambda _: None)
    assert status == 0, text
    assert all(row["same"] for row in found["rows"])
    assert set(verdicts(found).values()) == set(verdicts(found, "a").values()) == {"yes"}
    assert "custom (running): would migrate" in text and "off (not running)" in text


def without(*features: str) -> Edit:
    def edit(facts: dict[str, Any]) -> None:
        offered = facts["Hypervisor"]["features"]
        for found, key in ((offered, "qemu"), (facts["CpuVirtualization"], "flags")):
            found[key] = [f for f in found[key] if f not in features]

    return edit


@pytest.mark.proves("rhel-5.6.kvm.nx")
def test_nx_on_one_end_only(compared: Any) -> None:
    status, found, text = compared(without("nx"))
    assert status == 2
    assert "NX is off on b" in found["notes"][0]["text"]
    assert verdicts(found)["custom"] == "no"
    assert "nx, which the other host can't give it (BZ#516029)" in said(found, "custom")
    assert verdicts(found, "a")["custom"] == "yes" or "nx" not in said(found, "custom", "a")
    assert "* NX" in text


def test_a_feature_of_the_guests_model_that_the_other_lacks(compared: Any) -> None:
    status, found, _ = compared(without("sse4.2"))
    assert status == 2
    assert verdicts(found) == {"custom": "no", "plain": "yes", "off": "yes"}
    assert "sse4.2" in said(found, "custom")
    # what the guest was not given it does not miss
    status, found, _ = compared(without("aes"))
    assert status == 0 and verdicts(found)["custom"] == "yes"


def test_host_passthrough_wants_the_same_processor(compared: Any) -> None:
    def passthrough(facts: dict[str, Any]) -> None:
        for one in facts["Guests"]["guests"]:
            if one["name"] == "plain":
                one["live"]["cpu"]["mode"] = "host-passthrough"

    def both(facts: dict[str, Any]) -> None:
        passthrough(facts)
        without("sse4_2")(facts)

    _, found, _ = compared(both, passthrough)
    assert verdicts(found)["plain"] == "no" and "lacks sse4_2" in said(found, "plain")
    assert verdicts(found, "a")["plain"] == "with care"


def change(fact: str, key: str, value: Any) -> Edit:
    def edit(facts: dict[str, Any]) -> None:
        facts[fact][key] = value

    return edit


def test_machine_types_versions_and_kvm(compared: Any) -> None:
    status, found, _ = compared(change("Hypervisor", "machines", ["pc", "q35", "pc-i440fx-2.1"]))
    assert status == 2 and set(verdicts(found).values()) == {"no"} and "machine type pc-i440fx-" in said(found, "plain")
    status, found, _ = compared(change("Hypervisor", "qemu", "6.2.0"))
    assert status == 1 and set(verdicts(found).values()) == {"with care"}
    assert set(verdicts(found, "a").values()) == {"yes"}, "an upgrade is what one migrates for"

    def kvm(facts: dict[str, Any]) -> None:
        for one in facts["Guests"]["guests"]:
            (one["live"] or one["stored"])["type"] = "kvm"

    status, found, _ = compared(change("Hypervisor", "kvm", False), kvm)
    assert status == 2 and "which the other host has not (/dev/kvm)" in said(found, "plain")


def test_clocks_apart_or_not_kept(compared: Any) -> None:
    state = {"keeper": "chronyd", "synchronised": True, "offset_s": -0.9}
    status, found, _ = compared(change("KeeperStates", "states", [state]))
    assert status == 1 and "0.901 s apart" in found["notes"][0]["text"]

    def unkept(facts: dict[str, Any]) -> None:
        facts["KeeperStates"]["states"] = []
        facts["KernelClock"] = {"synchronised": False}

    status, found, _ = compared(unkept)
    assert status == 1 and "nothing is known to keep the clock of b" in found["notes"][0]["text"]


def test_nested_virtualization_on_one_host_only(compared: Any) -> None:
    on, off = ({"kvm_intel.nested": value, "kvm_intel.ept": "Y"} for value in ("Y", "0"))
    status, found, _ = compared(change("Hypervisor", "options", on), change("Hypervisor", "options", off))
    assert status == 1 and "kvm_intel.nested" in found["notes"][0]["text"]
    assert {"what": "kvm_intel.nested", "a": "0", "b": "Y", "same": False} in found["rows"]


def test_devices_and_disks_that_stay_behind(compared: Any) -> None:
    def edit(facts: dict[str, Any]) -> None:
        for one in facts["Guests"]["guests"]:
            if one["name"] == "plain":
                one["live"]["devices"].append({"kind": "hostdev", "type": "pci"})
                one["live"]["disks"].append(
                    {"type": "file", "device": "disk", "target": "vda", "format": "qcow2", "source": "/srv/a.qcow2"}
                )

    rhel = change("OperatingSystem", "id", "rhel")

    def old(facts: dict[str, Any]) -> None:
        rhel(facts)
        facts["OperatingSystem"]["version"] = "5.6"

    status, found, _ = compared(old, edit)
    assert status == 2
    assert "passed to it" in said(found, "plain") and "/srv/a.qcow2" in said(found, "plain")
    assert "qcow2, a preview there" in said(found, "plain")


def test_what_is_not_known_is_not_taken_for_good(compared: Any) -> None:
    def blind(facts: dict[str, Any]) -> None:
        facts["Hypervisor"] = {"unavailable": "it is not there"}

    status, found, text = compared(blind)
    assert status == 3 and set(verdicts(found).values()) == {"unknown"}
    assert "can't be told of b: Hypervisor: it is not there" in text


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"facts": 3}', "[" * 100_000, '{"facts": {"Guests": {"guests": [3, {}]}}}']
)
def test_files_that_are_none(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a"
    path.write_text(content)
    assert cli.main(["compare", str(path), str(path)]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_files_with_anything_in_them(facts: Any) -> None:
    """Another version's file, or a damaged one: each value in turn replaced by others, and still an answer."""

    def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        for key in value if isinstance(value, dict) else range(min(len(value), 3)) if isinstance(value, list) else ():
            yield (*path, key)
            yield from places(value[key], (*path, key))

    whole = facts["facts"]
    others: list[Any] = [None, 3, -1e300, "x", [], {}, [[]], [{}], [3], {"x": [None]}]
    tried = 0
    for path in places(whole):
        for other in others:
            changed = copy.deepcopy({name: value for name, value in whole.items() if name == path[0]})
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = other
            for pair in (({**whole, **changed}, whole), (whole, {**whole, **changed})):
                assert compare(*pair).status in (0, 1, 2, 3)
                tried += 1
    assert tried > 5000


def test_a_file_against_the_running_host(room: Room, facts: Any) -> None:
    room.run(["tee", "/run/a.json"], input=json.dumps(facts))
    done = room.run([sys.executable, "-m", "hostward", "compare", "/run/a.json"], ENVIRONMENT)
    assert "b: this host" in done.stdout and "custom (running): would migrate" in done.stdout, done.stderr
