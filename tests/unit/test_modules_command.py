"""`hostward modules`: the matrix, the words, the story of one cell, and the document for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostward.cli import main
from tests.hosts import debian, rhel5
from tests.hosts.elfwriter import EL5, Export, Module, Need
from tests.hosts.hostile import STORIES
from tests.hosts.tree import Tree
from tests.lab import debs
from tests.lab.debs import Kernel

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "config/schema/modules.schema.json").read_text())
WEAK_KSM = f"/lib/modules/{rhel5.OLD}/weak-updates/kmod-kvm/ksm.ko"

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `hostward modules --root ROOT ...` and returns (status, stdout, stderr)."""

    def call(root: str | os.PathLike[str], *arguments: str) -> tuple[int, str, str]:
        status = main(["modules", "--root", os.fspath(root), *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def told(run: Run) -> Callable[..., dict[str, Any]]:
    """The document that `--format json` prints, valid by its schema and with the exit status in it."""

    def call(root: str | os.PathLike[str], *arguments: str) -> dict[str, Any]:
        status, out, err = run(root, "--format", "json", *arguments)
        assert err == "" and out, err
        document: dict[str, Any] = json.loads(out)
        jsonschema.validate(document, SCHEMA)
        assert document["status"] == status
        return document

    return call


@pytest.fixture(scope="module")
def el5(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return rhel5.build(tmp_path_factory.mktemp("el5"))


def outcomes(document: dict[str, Any]) -> dict[str, list[str]]:
    """The cells of each module: the outcome and the errno."""
    return {
        module["name"]: [f"{c['outcome']} {(c['verdict'] or {}).get('errno', '')}".strip() for c in module["cells"]]
        for module in document["modules"]
    }


# The matrix


def test_the_host_of_the_release_note(run: Run, el5: Tree) -> None:
    status, out, err = run(el5)
    assert (status, err) == (2, "")
    assert (
        out
        == f"""\
module     {rhel5.NEW}  {rhel5.OLD}
           next
ksm        loads           fails ENOENT
kvm        loads           -
kvm_amd    loads           -
kvm_intel  loads           -

ksm on {rhel5.OLD}: fails ENOENT: needs unknown symbol {rhel5.SYMBOL}
    {WEAK_KSM} -> {rhel5.KMOD_DIRECTORY}/ksm.ko
    ksm: Unknown symbol {rhel5.SYMBOL}

4 modules on 2 kernels: 4 load, 1 fails
"""
    )


def test_a_chosen_kernel(run: Run, el5: Tree) -> None:
    status, out, _ = run(el5, "--kernel", "next")
    assert (status, rhel5.OLD in out) == (0, False)
    status, out, _ = run(el5, "--kernel", rhel5.OLD, "--kernel", "next", "ksm")
    assert (status, out.splitlines()[0].split()) == (2, ["module", rhel5.NEW, rhel5.OLD])
    for kernel, said in (
        ("2.6.18-237.el5", f"no kernel 2.6.18-237.el5 is installed; there: {rhel5.NEW}"),
        ("running", "--kernel running: "),
    ):
        status, out, err = run(el5, "--kernel", kernel)
        assert (status, out) == (3, "") and said in err and err.count("\n") == 1


def test_long_releases_are_numbered_so_that_a_line_fits(run: Run, tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    long = [f"5.14.0-{n}.99.1.el9_6.x86_64+rt-debug" for n in (1, 2, 3)]
    for release in long:
        tree.file(f"/boot/vmlinuz-{release}", b"")
        tree.file(f"/lib/modules/{release}/extra/ksm.ko", rhel5.kmod_kvm()[3].build(EL5))
    status, out, _ = run(tree)
    legend, matrix = out.split("\n\n")[:2]
    assert legend.splitlines() == [f"[1] {long[2]}  next", f"[2] {long[1]}", f"[3] {long[0]}"]
    assert matrix.splitlines()[0].split() == ["module", "[1]", "[2]", "[3]"]
    assert all(len(line) <= 80 for line in (*legend.splitlines(), *matrix.splitlines()))
    assert status == 3, "an empty image tells nothing of what the kernel exports"


def test_colours_only_where_they_are_wanted(run: Run, el5: Tree) -> None:
    assert "\x1b[" not in run(el5)[1]
    painted = run(el5, "--color", "always")[1]
    assert "\x1b[31mfails ENOENT\x1b[0m" in painted and "\x1b[32mloads" in painted
    # Colours do not shift the columns.
    assert re.sub(r"\x1b\[\d+m", "", painted) == run(el5)[1]


def on_a_terminal(*arguments: str, **env: str) -> str:
    """What a terminal shows."""
    leader, follower = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "agent"), "TERM": "xterm", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "hostward", "modules", *arguments],
        stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert process.wait(60) in (0, 2, 3)
    return shown.decode()


def test_a_terminal_gets_colours_unless_it_is_told_not_to(el5: Tree) -> None:
    assert "\x1b[31m" in on_a_terminal("--root", str(el5.root))
    assert "\x1b[" not in on_a_terminal("--root", str(el5.root), NO_COLOR="1")


# What a word means


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("kvm-intel", ["kvm_intel"]),
        ("kvm_intel", ["kvm_intel"]),
        ("ext3", ["ext3"]),
        ("eth0", ["8139too"]),
        ("pci:v000010ECd00008139sv00001186sd00001301bc02sc00i00", ["8139too"]),
        ("symbol:journal_start", ["jbd"]),
        ("kmod-kvm", ["ksm", "kvm", "kvm_amd", "kvm_intel"]),
    ],
)
def test_words(told: Callable[..., dict[str, Any]], el5: Tree, word: str, names: list[str]) -> None:
    document = told(el5, word)
    assert [module["name"] for module in document["modules"]] == names
    assert {module["asked"] for module in document["modules"]} == {word}


def test_a_word_of_an_alias_says_what_it_was_taken_for(run: Run, el5: Tree) -> None:
    assert "eth0 (modprobe.d alias): 8139too" in run(el5, "eth0")[1]
    assert "kmod-kvm (package): ksm, kvm, kvm_amd, kvm_intel" in run(el5, "kmod-kvm")[1]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("kmv", "did you mean kvm"),
        ("kmod-kmv", "did you mean kmod-kvm?"),
        ("zfs", "zfs: no module, alias or package that any of these kernels has is called so"),
        ("a[b", "a[b: no module"),
        ("/no/such.ko", "/no/such.ko: no such file, neither in"),
        ("such.ko.xz", "such.ko.xz: no such file"),
    ],
)
def test_words_that_mean_nothing(run: Run, el5: Tree, word: str, said: str) -> None:
    status, out, err = run(el5, word)
    assert (status, out) == (3, "") and said in err and err.count("\n") == 1


def test_a_module_that_a_kernel_has_not_is_no_failure(run: Run, el5: Tree) -> None:
    assert run(el5, "kvm")[0] == 0
    status, _, err = run(el5, "kvm", "--kernel", rhel5.OLD)
    assert status == 3 and f"that kernel {rhel5.OLD} has is called so" in err


def test_what_modprobe_d_says(run: Run, tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.file("/etc/modprobe.d/local.conf", "install ext3 /bin/false\nblacklist jbd\ninstall mii /bin/true\n")
    tree.file(f"/lib/modules/{rhel5.OLD}/modules.softdep", "softdep mii pre: jbd\n")
    out = run(tree, "ext3", "jbd")[1]
    assert "ext3: modprobe.d: `install ext3 /bin/false`: modprobe runs that instead of loading it" in out
    assert "jbd: modprobe.d: `blacklist jbd`: not loaded by an alias, only by its own name" in out
    out = run(tree, "mii")[1]
    assert f"mii on {rhel5.OLD}: modprobe.d: `install mii /bin/true` is passed over" in out
    assert f"mii on {rhel5.NEW}: modprobe.d: `install mii /bin/true`: modprobe runs that instead" in out


def test_a_module_that_depmod_has_not_seen(run: Run, tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.file(f"/lib/modules/{rhel5.NEW}/extra/new.ko", rhel5.kmod_kvm()[0].build(EL5))
    _, out, _ = run(tree, "new")
    assert f"until `depmod {rhel5.NEW}` has run, modprobe says `Module new not found`" in out


# Files


def test_a_file_is_judged_where_it_is_linked_and_where_it_is_not(
    told: Callable[..., dict[str, Any]], el5: Tree
) -> None:
    file = f"{rhel5.KMOD_DIRECTORY}/ksm.ko"
    for word in (file, el5.at(file), f"/lib/modules/{rhel5.NEW}/weak-updates/kmod-kvm/ksm.ko"):
        cells = told(el5, word)["modules"][0]["cells"]
        assert [c["outcome"] for c in cells] == ["loads", "fails"]
        assert [c["by"] for c in cells] == ["modprobe", "modprobe"]
        assert cells[1]["verdict"]["path"] == WEAK_KSM
    cells = told(el5, f"{rhel5.KMOD_DIRECTORY}/kvm.ko")["modules"][0]["cells"]
    assert [(c["outcome"], c["by"]) for c in cells] == [("loads", "modprobe"), ("fails", "insmod")]
    assert [r["symbol"] for r in cells[1]["verdict"]["reasons"]] == ["get_user_pages_fast"]


def test_a_kernels_own_file_on_the_other_kernel(told: Callable[..., dict[str, Any]], el5: Tree) -> None:
    cells = told(el5, f"/lib/modules/{rhel5.OLD}/kernel/fs/ext3/ext3.ko")["modules"][0]["cells"]
    assert [(c["by"], c["outcome"]) for c in cells] == [("insmod", "loads"), ("modprobe", "loads")]
    assert cells[0]["verdict"]["providers"][0]["path"] == f"/lib/modules/{rhel5.NEW}/kernel/fs/jbd/jbd.ko"


def test_a_file_of_this_machine(told: Callable[..., dict[str, Any]], el5: Tree, tmp_path: Path) -> None:
    file = tmp_path / "ksm.ko"
    file.write_bytes(rhel5.kmod_kvm()[3].build(EL5))
    cells = told(el5, str(file))["modules"][0]["cells"]
    assert [(c["by"], c["outcome"]) for c in cells] == [("insmod", "loads"), ("insmod", "fails")]
    assert cells[0]["verdict"]["providers"][0]["name"] == "kvm"
    story = told(el5, "--explain", str(file))["modules"][0]["cells"][0]["story"]
    assert {s["name"]: s["provider"] for s in story["symbols"]}[rhel5.SYMBOL].endswith("weak-updates/kmod-kvm/kvm.ko")


def test_a_file_that_is_no_module(run: Run, el5: Tree, tmp_path: Path) -> None:
    for name, data in (("text.ko", b"hello"), ("empty.ko", b""), ("cut.ko", rhel5.kmod_kvm()[0].build(EL5)[:3000])):
        (tmp_path / name).write_bytes(data)
        status, out, err = run(el5, str(tmp_path / name))
        assert (status, err) == (2, "")
        assert ("fails EINVAL" if name == "empty.ko" else "fails ENOEXEC") in out


def test_a_relative_path_begins_where_one_is(
    told: Callable[..., dict[str, Any]], el5: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(el5.at(rhel5.KMOD_DIRECTORY))
    assert told(el5, "ksm.ko")["modules"][0]["file"] == f"{rhel5.KMOD_DIRECTORY}/ksm.ko"


def test_a_file_of_a_merged_usr(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """/lib is a link to usr/lib: a file is the same by either name."""
    tree = rhel5.build(tmp_path)
    (tree.root / "usr").mkdir(exist_ok=True)
    (tree.root / "lib").rename(tree.root / "usr" / "lib")
    tree.link("/lib", "usr/lib")
    for usr in ("", "/usr"):
        cells = told(tree, f"{usr}/lib/modules/{rhel5.OLD}/kernel/fs/ext3/ext3.ko")["modules"][0]["cells"]
        assert [(c["by"], c["outcome"]) for c in cells] == [("insmod", "loads"), ("modprobe", "loads")]
        assert cells[1]["verdict"]["chosen"] is True
        cells = told(tree, f"{usr}{rhel5.KMOD_DIRECTORY}/ksm.ko")["modules"][0]["cells"]
        assert [(c["by"], c["outcome"]) for c in cells] == [("modprobe", "loads"), ("modprobe", "fails")]


def test_links_that_lead_nowhere(run: Run, told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.remove(f"{rhel5.KMOD_DIRECTORY}/ksm.ko")
    status, out, _ = run(tree)
    assert status == 2
    assert f"ksm on {rhel5.OLD}: fails ENOENT: leads to {rhel5.KMOD_DIRECTORY}/ksm.ko, which does not exist" in out
    assert "symbol" not in out, "no symbol is missing where there is no module"
    cells = told(tree, WEAK_KSM)["modules"][0]["cells"]
    assert [c["verdict"]["reasons"][0]["rule"] for c in cells] == ["dangling-link", "dangling-link"]
    # Who needs what is gone fails for its symbols, and is told where they would have been.
    tree.remove(f"{rhel5.KMOD_DIRECTORY}/kvm.ko")
    reasons = told(tree, "kvm-amd")["modules"][0]["cells"][0]["verdict"]["reasons"]
    assert {(r["rule"], r["found"]) for r in reasons} == {("unknown-symbol", "kvm has it, whose link leads nowhere")}


# The story of one cell


def test_explain_tells_the_whole_story(run: Run, el5: Tree) -> None:
    status, out, _ = run(el5, "--explain", "ksm", "--kernel", rhel5.OLD)
    assert status == 2
    for line in (
        f"ksm on kernel {rhel5.OLD}: fails ENOENT",
        f"  path       {WEAK_KSM}",
        f"  leads to   {rhel5.KMOD_DIRECTORY}/ksm.ko",
        "  package    kmod-kvm (by directory name)",
        "  chosen     modules.dep lists weak-updates/kmod-kvm/ksm.ko",
        f"  vermagic         {rhel5.vermagic(rhel5.BUILT_FOR)}",
        f"  exports from  /boot/symvers-{rhel5.OLD}.gz",
        f"      ksm: Unknown symbol {rhel5.SYMBOL}",
        f"  {rhel5.SYMBOL}  0x{rhel5.crc(rhel5.SYMBOL):08x}  -  not found",
        "  insmod weak-updates/kmod-kvm/ksm.ko",
    ):
        assert line in out.splitlines()


def test_explain_takes_the_kernel_that_boots_next(told: Callable[..., dict[str, Any]], el5: Tree) -> None:
    document = told(el5, "--explain", "kvm-intel")
    assert [kernel["release"] for kernel in document["kernels"]] == [rhel5.NEW]
    story = document["modules"][0]["cells"][0]["story"]
    assert {rule["state"] for rule in story["rules"]} == {"passes"}
    assert [(p["name"], p["depth"]) for p in story["providers"]] == [("kvm", 1)]
    assert [action["module"] for action in story["actions"]] == ["kvm", "kvm_intel"]
    assert {s["state"] for s in story["symbols"]} == {"found"}


def test_explain_says_why_one_of_several_files_is_taken(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    tree.file(f"/lib/modules/{rhel5.NEW}/extra/kvm.ko", rhel5.kmod_kvm()[0].build(EL5))
    story = told(tree, "--explain", "kvm")["modules"][0]["cells"][0]["story"]
    assert story["candidates"] == ["extra/kvm.ko", "weak-updates/kmod-kvm/kvm.ko"]
    assert story["path"].endswith("weak-updates/kmod-kvm/kvm.ko"), "modules.dep is what modprobe reads"
    assert "the next depmod run would list extra/kvm.ko instead" in story["why_this"]


@pytest.mark.parametrize("arguments", [("--explain",), ("--explain", "kvm", "ksm"), ("--all", "kvm")])
def test_arguments_that_do_not_go_together(run: Run, el5: Tree, arguments: tuple[str, ...]) -> None:
    status, out, err = run(el5, *arguments)
    assert (status, out) == (3, "") and err.count("\n") == 1


def test_explain_says_of_each_symbol_what_is_wrong_with_it(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tree = rhel5.build(tmp_path)
    odd = Module(
        "odd",
        vermagic=rhel5.vermagic(rhel5.NEW),
        needs=[
            Need("printk", rhel5.crc("printk")),
            Need("kmalloc", 1),
            Need("nowhere", 2),
            Need("perhaps", 3, weak=True),
            Need("mmu_notifier_register", rhel5.crc("mmu_notifier_register")),
            Need("chain", 4),
        ],
        layout_crc=rhel5.crc("struct_module"),
        license="Proprietary",
    )
    provider = Module(
        "provider",
        vermagic=rhel5.vermagic(rhel5.NEW),
        needs=[Need("nowhere", 2)],
        exports=[Export("chain", 4)],
        layout_crc=rhel5.crc("struct_module"),
    )
    for module in (odd, provider):
        tree.file(f"/lib/modules/{rhel5.NEW}/extra/{module.name}.ko", module.build(EL5))
    story = told(tree, "--explain", "odd")["modules"][0]["cells"][0]["story"]
    states = {symbol["name"]: symbol["state"] for symbol in story["symbols"]}
    assert states == {
        "printk": "found",
        "kmalloc": "crc differs",
        "nowhere": "not found",
        "perhaps": "unbound",
        "mmu_notifier_register": "hidden",
        "chain": "provider fails",
    }
    providers = {symbol["name"]: symbol["provider"] for symbol in story["symbols"]}
    assert providers["chain"] == f"/lib/modules/{rhel5.NEW}/extra/provider.ko" and providers["kmalloc"] == "vmlinux"


# The document for programs


def test_the_schema_is_strict(told: Callable[..., dict[str, Any]], el5: Tree) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = told(el5, "--explain", "ksm", "--kernel", "all")
    cells = good["modules"][0]["cells"]
    assert [cell["outcome"] for cell in cells] == ["loads", "fails"]

    def cell(document: Any, number: int) -> Any:
        return document["modules"][0]["cells"][number]

    spoils: tuple[Callable[[Any], object], ...] = (
        lambda d: d.update(schema=2),
        lambda d: d.update(status=1),
        lambda d: d.update(extra=1),
        lambda d: d["summary"].update(more=1),
        lambda d: d["kernels"].clear(),
        lambda d: cell(d, 0).update(outcome="fine"),
        lambda d: cell(d, 0).update(outcome="fails"),
        lambda d: cell(d, 0).update(verdict=None),
        lambda d: cell(d, 1).update(outcome="loads"),
        lambda d: cell(d, 1).update(outcome="unknown"),
        lambda d: cell(d, 1).update(outcome="absent"),
        lambda d: cell(d, 1)["verdict"].update(errno="enoent"),
        lambda d: cell(d, 1)["verdict"]["reasons"][0].pop("symbol"),
        lambda d: cell(d, 1)["story"].pop("rules"),
        lambda d: cell(d, 1)["story"]["symbols"][0].update(state="maybe"),
    )
    for number, spoil in enumerate(spoils):
        bad = json.loads(json.dumps(good))
        spoil(bad)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, SCHEMA)
            pytest.fail(f"spoil {number} was not noticed")


def test_json_of_every_kind_of_call(told: Callable[..., dict[str, Any]], el5: Tree) -> None:
    for arguments in ((), ("--all",), ("kvm", "ext3", "eth0"), ("--explain", "ext3"), ("--kernel", "next", "kmod-kvm")):
        told(el5, *arguments)


# Trees that mean harm


@pytest.mark.parametrize("story", sorted(STORIES))
def test_hostile_trees(run: Run, story: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    STORIES[story](str(root))
    file = f"/lib/modules/{rhel5.OLD}/extra/kvm.ko"
    for arguments in ((), ("--all",), ("kvm",), ("--explain", "kvm"), ("pci:v1*",), (file,), ("--kernel", "next")):
        start = time.process_time()  # a busy machine is no fault of ours; a hang ends at the test's own limit
        status, out, err = run(root, "--format", "json", *arguments)
        took = time.process_time() - start
        assert took < 2, f"{arguments} took {took:.1f} s"
        assert err.count("\n") == (0 if out else 1) and err.replace("\n", "").isprintable()
        if out:
            document = json.loads(out)
            jsonschema.validate(document, SCHEMA)
            assert document["status"] == status
        else:
            assert status == 3
        plain = run(root, *arguments)
        assert plain[0] == status and plain[1].replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Indexes that name hundreds of thousands of modules, patterns that match slowly, chains that do not end."""
    tree = rhel5.build(tmp_path_factory.mktemp("lying"))
    base = f"/lib/modules/{rhel5.NEW}"
    chain = "".join(f"kernel/m{n}.ko: kernel/m{n + 1}.ko\n" for n in range(400_000))
    tree.file(f"{base}/modules.dep", f"../../../../etc/passwd.ko:\n/etc/passwd.ko: /etc/passwd.ko\n{chain}")
    tree.file(f"{base}/modules.alias", "".join(f"alias {'*a' * 50}{n} m{n}\n" for n in range(100_000)))
    soft = "".join(f"softdep m{n} pre: m{n + 1} m{n // 2} post: m{n + 3}\n" for n in range(50_000))
    tree.file(f"{base}/modules.softdep", soft)
    tree.file(f"{base}/modules.order", "kernel/m1.ko\n" * 200_000)
    tree.file(f"{base}/modules.builtin.modinfo", b"m1.alias=*\0" * 200_000)
    tree.file("/etc/modprobe.d/x.conf", "install * /bin/false\n" + "alias *a*a*a*a*a*b m7\n" * 5000)
    for n in range(300):
        module = Module(
            f"c{n}",
            vermagic=rhel5.vermagic(rhel5.OLD),
            needs=[Need(f"chain_{n + 1}", 1)],
            exports=[Export(f"chain_{n}", 1)],
            layout_crc=rhel5.crc("struct_module"),
        )
        tree.file(f"/lib/modules/{rhel5.OLD}/extra/c{n}.ko", module.build(EL5))
    return tree


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        ("m1",),
        ("a" * 60,),
        ("--explain", "m1"),
        ("--explain", "c0", "--kernel", rhel5.OLD),
        ("passwd",),
    ],
)
def test_indexes_that_lie(run: Run, lying: Tree, arguments: tuple[str, ...]) -> None:
    start = time.process_time()
    status, out, err = run(lying, *arguments)
    took = time.process_time() - start
    # Judging 20,000 modules that are not there, and printing each, is as long as it gets.
    assert took < (6 if arguments == ("--all",) else 2), f"took {took:.1f} s"
    assert (status in (2, 3), err) == (True, "") and out


def test_a_chain_of_modules_without_end_can_not_be_told(told: Callable[..., dict[str, Any]], lying: Tree) -> None:
    cell = told(lying, "c0", "--kernel", rhel5.OLD)["modules"][0]["cells"][0]
    assert cell["outcome"] == "unknown"


def test_a_module_that_is_listed_and_not_there(run: Run, lying: Tree) -> None:
    status, out, _ = run(lying, "m1", "--kernel", rhel5.NEW)
    assert status == 2
    assert f"m1 on {rhel5.NEW}: fails ENOENT: modules.dep lists it, and there is no such file" in out


# Real kernels, real modules


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, dict[str, Kernel]]:
    """Kernel A's own KVM modules as an out-of-tree package of A, linked to B, D and C, which have none of their own.

    The links are relative, where weak-modules makes absolute ones: depmod -b would not find these inside the tree.
    """
    kernels = {role: debs.kernel(role) for role in "ABDC"}
    tree = debian.build(tmp_path_factory.mktemp("debian"), *kernels.values())
    a = kernels["A"].release
    for path in ("virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko"):
        name = path.rpartition("/")[2]
        extra = f"/lib/modules/{a}/extra/lab/{name}"
        tree.file(extra, (kernels["A"].modules / "kernel" / path).read_bytes())
        for role in "BDC":
            base = f"/lib/modules/{kernels[role].release}"
            for own in Path(tree.at(f"{base}/kernel/{path}")).parent.glob(f"{name}*"):
                tree.remove(f"{base}/kernel/{path}".replace(name, own.name))
            tree.link(f"{base}/weak-updates/lab/{name}", f"../../../{a}/extra/lab/{name}")
    for kernel in kernels.values():
        debian.depmod(tree, kernel.release)
    return tree, kernels


def test_real_modules_in_extra_and_weak_updates(
    told: Callable[..., dict[str, Any]], weak: tuple[Tree, dict[str, Kernel]]
) -> None:
    tree, kernels = weak
    document = told(tree)
    order = [kernel["release"] for kernel in document["kernels"]]
    at = {role: order.index(kernel.release) for role, kernel in kernels.items()}
    seen = outcomes(document)
    assert sorted(seen) == ["irqbypass", "kvm", "kvm_amd"]
    assert [seen["irqbypass"][at[role]] for role in "ABDC"] == ["loads", "loads", "fails ENOEXEC", "fails ENOEXEC"]
    assert [seen["kvm"][at[role]] for role in "ABDC"] == ["loads", "fails EINVAL", "fails ENOEXEC", "fails ENOEXEC"]
    cells = {module["name"]: module["cells"] for module in document["modules"]}
    # In A the in-tree files of the same names are passed over, as Red Hat's order has extra first.
    assert cells["kvm"][at["A"]]["verdict"]["path"].endswith("/extra/lab/kvm.ko")
    rules = {role: cells["kvm"][at[role]]["verdict"]["reasons"][0]["rule"] for role in "BDC"}
    assert rules == {"B": "symbol-crc", "D": "module-layout", "C": "this-module-size"}


def test_the_symbols_named_are_those_whose_crc_changed(
    told: Callable[..., dict[str, Any]], weak: tuple[Tree, dict[str, Kernel]]
) -> None:
    """Against modprobe --dump-modversions of the file and Module.symvers of the kernel."""
    tree, kernels = weak
    a, b = kernels["A"], kernels["B"]
    file = tree.at(f"/lib/modules/{a.release}/extra/lab/kvm.ko")
    dump = subprocess.run(["modprobe", "--dump-modversions", file], capture_output=True, text=True, check=True).stdout
    wanted = {name: crc for crc, name in (line.split() for line in dump.splitlines())}
    there = {**debs.exports(b.symvers), "kvm_irqbypass": "", "module_layout": wanted["module_layout"]}
    own = debs.exports(a.symvers)  # irqbypass, linked from A too, exports what A's does
    provided = {name for name in wanted if name.startswith("irq_bypass")}
    differing = {name for name, crc in wanted.items() if name not in provided and there.get(name) != crc}
    assert all(own[name] == wanted[name] for name in provided) and len(differing) > 20
    document = told(tree, "kvm", "--kernel", b.release)
    reasons = document["modules"][0]["cells"][0]["verdict"]["reasons"]
    assert {reason["symbol"] for reason in reasons} == differing
    for reason in reasons:
        if reason["rule"] == "symbol-crc":
            assert int(reason["wanted"], 16) == int(wanted[reason["symbol"]], 16)
            assert int(reason["found"], 16) == int(there[reason["symbol"]], 16)
        else:
            assert (reason["rule"], reason["symbol"] in there) == ("unknown-symbol", False)


def test_a_weak_update_beside_the_kernels_own_module_is_passed_over(
    told: Callable[..., dict[str, Any]], weak: tuple[Tree, dict[str, Kernel]], tmp_path: Path
) -> None:
    _, kernels = weak
    a, b = kernels["A"], kernels["B"]
    tree = debian.build(tmp_path, b)
    tree.file(f"/lib/modules/{a.release}/extra/kvm.ko", (a.modules / "kernel/arch/x86/kvm/kvm.ko").read_bytes())
    link = f"/lib/modules/{b.release}/weak-updates/kvm.ko"
    tree.link(link, f"../../{a.release}/extra/kvm.ko")
    debian.depmod(tree, b.release)
    cell = told(tree)["modules"][0]["cells"][0]
    assert (cell["outcome"], cell["passed_over"]) == ("loads", [link])
    assert "/kernel/arch/x86/kvm/kvm.ko" in cell["verdict"]["path"]
    story = told(tree, "--explain", "kvm")["modules"][0]["cells"][0]["story"]
    assert story["candidates"] == ["kernel/arch/x86/kvm/kvm.ko", "weak-updates/kvm.ko"]
    # Named as a file it is judged all the same, as its verdict is what was asked for.
    assert told(tree, link)["modules"][0]["cells"][0]["outcome"] == "fails"


def test_all_judges_every_module_and_shows_those_that_fail(
    told: Callable[..., dict[str, Any]], run: Run, weak: tuple[Tree, dict[str, Kernel]]
) -> None:
    tree, kernels = weak
    b = kernels["B"].release
    document = told(tree, "--all", "--kernel", b)
    listed = Path(tree.at(f"/lib/modules/{b}/modules.dep")).read_text().count(":")
    assert document["summary"]["modules"] == listed
    assert set(outcomes(document)) >= {"kvm", "kvm_amd"} and document["summary"]["loads"] > listed - 20
    status, out, _ = run(tree, "--all", "--kernel", b)
    assert status == 2 and f"{listed} modules on 1 kernel: {document['summary']['loads']} load" in out


def test_built_in_modules_and_real_signatures(
    told: Callable[..., dict[str, Any]], weak: tuple[Tree, dict[str, Kernel]]
) -> None:
    tree, kernels = weak
    a = kernels["A"].release
    assert outcomes(told(tree, "ext4", "--kernel", a)) == {"ext4": ["built-in"]}
    assert told(tree, "fs-ext4", "--kernel", a)["modules"][0]["how"] == "built-in alias"
    story = told(tree, "--explain", "kvm_amd", "--kernel", a)["modules"][0]["cells"][0]["story"]
    assert story["signature"]["kind"] == "PKCS#7" and story["signature"]["hash"]
    assert [p["name"] for p in story["providers"]] == ["kvm", "irqbypass"]


def test_a_long_scan_shows_how_far_it_is(weak: tuple[Tree, dict[str, Kernel]]) -> None:
    tree, _ = weak
    shown = on_a_terminal("--root", str(tree.root), "--all", NO_COLOR="1")
    assert re.search(r"\r\x1b\[Kjudging modules: .* of \d+", shown)
    assert shown.rpartition("judging modules")[2].count("\r\x1b[K") == 1, "the line is wiped before the report"
    assert "\x1b[K" not in on_a_terminal("--root", str(tree.root), "kvm", NO_COLOR="1")
