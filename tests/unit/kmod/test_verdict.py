"""The kernel's rules one by one, on modules written byte by byte; what each says is in the kernel's own words.

tests/lab/test_verdicts.py puts the same rules before real kernels. What no kernel at hand shows is here alone: old and
coming versions, other configurations, sources that leave something open.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostward.kmod.module import BadModule, ModuleFile, parse_module
from hostward.kmod.module import Export as Found
from hostward.kmod.profile import KernelProfile, Symbol
from hostward.kmod.verdict import Verdict, depmod_wording, judge, judge_file, trace
from tests.hosts import elfwriter
from tests.hosts.elfwriter import EL5, MODERN, Export, Layout, Need
from tests.unit.kmod.pkcs7 import message

FLAGS = "SMP preempt mod_unload modversions "
KERNEL = KernelProfile(
    "6.1.0-1-amd64",
    vermagic=f"6.1.0-1-amd64 {FLAGS}",
    config={f"CONFIG_{name}": "y" for name in ("MODVERSIONS", "MODULE_SIG", "MODULE_FORCE_LOAD", "LIVEPATCH")},
    machine=62, bits=64, big=False, this_module_size=0x500, layout_crc=0xAA, has_exports=True, has_crcs=True,
    has_gpl=True, has_namespaces=True, sig_enforced=False, lockdown=False, strict_versions=False,
    builtin_shown={"m": False}.get,
)  # fmt: skip
EXPORTS = {
    "printk": Found("printk", 0x1, False, "", "vmlinux"),
    "ktime_get": Found("ktime_get", 0x2, True, "", "vmlinux"),
    "spaced": Found("spaced", 0x3, False, "KVM", "vmlinux"),
    "for_modules": Found("for_modules", 0x4, False, "module:kvm-amd,m*", "vmlinux"),
    "theirs": Found("theirs", 0x5, False, "", "secret"),
    "theirs_too": Found("theirs_too", 0x6, True, "", "secret"),
    "bare": Found("bare", None, False, "", "vmlinux"),
}
PRINTK, KTIME = Need("printk", 0x1), Need("ktime_get", 0x2)


def find(name: str) -> Symbol | None:
    export = EXPORTS.get(name)
    if export is None:
        return None
    return Symbol(export, "vmlinux" if export.provider == "vmlinux" else "/s.ko", export.provider == "secret")


def module(*needs: Need, layout: Layout = MODERN, **fields: Any) -> ModuleFile:
    written = {"name": "m", "vermagic": KERNEL.vermagic, "layout_crc": 0xAA, "needs": list(needs), **fields}
    return parse_module(elfwriter.Module(**written).build(layout), "m.ko")


def kernel(release: str = "", unset: str = "", option: str = "", **changed: Any) -> KernelProfile:
    """KERNEL with another release and its vermagic, options set or not, and other facts."""
    profile = replace(KERNEL, **changed)
    config = dict(profile.config or {})
    config.update({f"CONFIG_{name}": "y" for name in option.split()})
    for name in unset.split():
        config.pop(f"CONFIG_{name}", None)
    if profile.config is not None:
        profile = replace(profile, config=config)
    if release:
        profile = replace(profile, release=release)
    return profile


def said(verdict: Verdict) -> list[str]:
    return [line for reason in verdict.reasons for line in reason.message.splitlines()]


UNKNOWN_X = ["m: Unknown symbol x (err -2)"]
NO_FORCE = {"unset": "MODULE_FORCE_LOAD"}
#: name: (module's fields with its needs, kernel's fields, what comes of it: an errno or the taints, the log's lines)
RULES: dict[str, tuple[dict[str, Any], dict[str, Any], str, list[str]]] = {
    "loads": ({"needs": [PRINTK, KTIME]}, {}, "OE", []),
    "in-tree-unsigned": ({"intree": True}, {}, "E", []),
    "no-signatures-at-all": ({}, {"unset": "MODULE_SIG"}, "O", []),
    "no-intree-mark-before-3.2": ({}, {"release": "2.6.32-754.el6"}, "", []),
    "proprietary": ({"license": "Proprietary"}, {}, "POE", []),
    "no-license": ({"license": ""}, {}, "POE", []),
    "dual-license": ({"license": "Dual MIT/GPL"}, {}, "OE", []),
    "staging": ({"info": [("staging", "Y")]}, {}, "COE", []),
    "livepatch": ({"info": [("livepatch", "Y")]}, {}, "OEK", []),
    "livepatch-not-taken": ({"info": [("livepatch", "Y")]}, {"unset": "LIVEPATCH"}, "ENOEXEC",
        ["m: module is marked as livepatch module, but livepatch support is disabled"]),
    # Architecture
    "other-machine": ({"layout": Layout(elfwriter.AARCH64)}, {}, "ENOEXEC",
        ["Invalid architecture in ELF header: 183"]),
    "other-machine-in-silence": ({"layout": Layout(elfwriter.AARCH64)}, {"release": "5.10.0"}, "ENOEXEC", []),
    "other-byte-order": ({"layout": Layout(elfwriter.S390X)}, {}, "ENOEXEC", ["Invalid ELF header type: 256 != 1"]),
    "ppc64-of-the-other-order": ({"layout": Layout(elfwriter.PPC64)}, {"machine": 21}, "ENOEXEC",
        ["Invalid ELF header type: 256 != 1"]),
    "i386": ({"layout": Layout(elfwriter.I386)}, {}, "ENOEXEC", ["Invalid architecture in ELF header: 3"]),
    # struct module
    "struct-module-size-6.4": ({}, {"release": "6.4.0", "this_module_size": 0x540}, "ENOEXEC",
        ["module m: .gnu.linkonce.this_module section size must match the kernel's built struct module size at "
         "run time"]),
    "struct-module-size-6.3": ({}, {"release": "6.3.9", "this_module_size": 0x540}, "OE", []),
    "struct-module-size-unknown": ({}, {"release": "6.12.0", "this_module_size": None}, "OE", []),
    # module_blacklist=
    "refused-name": ({}, {"blacklist": frozenset({"m"})}, "EPERM", ["Module m is blacklisted"]),
    "refused-name-with-a-dash": ({"name": "a_b"}, {"blacklist": frozenset({"a-b"})}, "OE", []),
    # module_layout
    "layout": ({"layout_crc": 0xAB}, {}, "ENOEXEC", ["m: disagrees about version of symbol module_layout"]),
    "layout-el5": ({"layout_crc": 0xAB, "layout": EL5}, {"release": "2.6.18-238.el5"}, "ENOEXEC",
        ["m: disagrees about version of symbol struct_module"]),
    "layout-without-modversions": ({"layout_crc": 0xAB}, {"unset": "MODVERSIONS"}, "OE", []),
    "layout-version-missing": ({"layout_crc": None, "needs": [PRINTK]}, {}, "OE", []),
    "layout-version-missing-debian": ({"layout_crc": None, "needs": [PRINTK]}, {"strict_versions": True}, "ENOEXEC",
        ["m: no symbol version for module_layout"]),
    "layout-version-missing-3.10": ({"layout_crc": None, "needs": [PRINTK]}, {"release": "3.10.0-1160.el7"}, "ENOEXEC",
        ["m: no symbol version for module_layout"]),
    "no-versions": ({"layout_crc": None}, {}, "FOE", []),
    "no-versions-not-forced": ({"layout_crc": None}, NO_FORCE, "ENOEXEC", []),
    "no-versions-2.6.18": ({"layout_crc": None, "layout": EL5}, {"release": "2.6.18", "unset": "MODULE_FORCE_LOAD"},
        "F", []),
    # vermagic
    "another-release": ({"vermagic": f"6.6.6 {FLAGS}"}, {}, "OE", []),
    "another-release-without-crcs": ({"vermagic": f"6.6.6 {FLAGS}", "layout_crc": None}, {}, "ENOEXEC",
        [f"m: version magic '6.6.6 {FLAGS}' should be '6.1.0-1-amd64 {FLAGS}'"]),
    "another-release-without-crcs-2.6.18": ({"vermagic": f"2.6.9 {FLAGS}", "layout_crc": None, "layout": EL5},
        {"release": "2.6.18"}, "F", []),
    "another-release-without-modversions": ({"vermagic": f"6.6.6 {FLAGS}"}, {"unset": "MODVERSIONS"}, "ENOEXEC",
        [f"m: version magic '6.6.6 {FLAGS}' should be '6.1.0-1-amd64 {FLAGS}'"]),
    "another-compiler": ({"vermagic": "2.6.18-1 SMP mod_unload gcc-3.4"},
        {"release": "2.6.18-2", "vermagic": "2.6.18-2 SMP mod_unload gcc-4.1"}, "ENOEXEC",
        ["m: version magic '2.6.18-1 SMP mod_unload gcc-3.4' should be '2.6.18-2 SMP mod_unload gcc-4.1'"]),
    "no-vermagic": ({"vermagic": ""}, {}, "FOE", []),
    "no-vermagic-not-forced": ({"vermagic": ""}, NO_FORCE, "ENOEXEC", []),
    # symbols
    "absent": ({"needs": [Need("x", 1)]}, {}, "ENOENT", UNKNOWN_X),
    "absent-before-2.6.35": ({"needs": [Need("x", 1)]}, {"release": "2.6.34"}, "ENOENT", ["m: Unknown symbol x"]),
    "absent-and-weak": ({"needs": [Need("x", weak=True)]}, {}, "OE", []),
    "two-and-a-crc": ({"needs": [Need("x"), Need("printk", 9), Need("y")]}, {}, "ENOENT",
        [*UNKNOWN_X, "m: disagrees about version of symbol printk", "m: Unknown symbol printk (err -22)",
         "m: Unknown symbol y (err -2)"]),
    "crc": ({"needs": [Need("printk", 9)]}, {}, "EINVAL",
        ["m: disagrees about version of symbol printk", "m: Unknown symbol printk (err -22)"]),
    "crc-before-2.6.35": ({"needs": [Need("printk", 9)]}, {"release": "2.6.32"}, "ENOENT",
        ["m: disagrees about version of symbol printk", "m: Unknown symbol printk"]),
    "crc-of-a-weak-one": ({"needs": [Need("printk", 9, weak=True)]}, {}, "EINVAL",
        ["m: disagrees about version of symbol printk", "m: Unknown symbol printk (err -22)"]),
    "crc-without-modversions": ({"needs": [Need("printk", 9)]}, {"unset": "MODVERSIONS"}, "OE", []),
    "export-without-crc": ({"needs": [Need("bare", 9)]}, {"has_crcs": False, "unset": "MODVERSIONS"}, "OE", []),
    "version-missing": ({"needs": [Need("printk")]}, {}, "OE", []),
    "version-missing-debian": ({"needs": [Need("printk")]}, {"strict_versions": True}, "EINVAL",
        ["m: no symbol version for printk", "m: Unknown symbol printk (err -22)"]),
    "version-missing-4.8": ({"needs": [Need("printk")]}, {"release": "4.8.0"}, "EINVAL",
        ["m: no symbol version for printk", "m: Unknown symbol printk (err -22)"]),
    "version-missing-4.9": ({"needs": [Need("printk")]}, {"release": "4.9.0"}, "OE", []),
    "version-missing-2.6.18": ({"needs": [Need("printk")], "layout": EL5}, {"release": "2.6.18"}, "F", []),
    "gpl-only": ({"needs": [KTIME], "license": "Proprietary"}, {}, "ENOENT", ["m: Unknown symbol ktime_get (err -2)"]),
    "gpl-only-and-weak": ({"needs": [Need("ktime_get", 2, weak=True)], "license": "Proprietary"}, {}, "POE", []),
    "from-a-proprietary-module": ({"needs": [Need("theirs", 5)]}, {}, "POE", []),
    "from-a-proprietary-module-5.8": ({"needs": [Need("theirs", 5), KTIME]}, {"release": "5.8.0"}, "OE", []),
    "from-a-proprietary-module-then-gpl-only": ({"needs": [Need("theirs", 5), KTIME]}, {}, "ENOENT",
        ["m: Unknown symbol ktime_get (err -2)"]),
    "gpl-only-then-from-a-proprietary-module": ({"needs": [KTIME, Need("theirs", 5)]}, {}, "ENOENT",
        ["m: module using GPL-only symbols uses symbols theirs from proprietary module secret.",
         "m: Unknown symbol theirs (err -2)"]),
    "gpl-only-of-a-proprietary-module": ({"needs": [Need("theirs_too", 6)]}, {}, "ENOENT",
        ["m: module using GPL-only symbols uses symbols theirs_too from proprietary module secret.",
         "m: Unknown symbol theirs_too (err -2)"]),
    "namespace": ({"needs": [Need("spaced", 3)]}, {}, "EINVAL",
        ["m: module uses symbol (spaced) from namespace KVM, but does not import it.",
         "m: Unknown symbol spaced (err -22)"]),
    "namespace-imported": ({"needs": [Need("spaced", 3)], "info": [("import_ns", "A"), ("import_ns", "KVM")]}, {},
        "OE", []),
    "namespace-not-asked-for": ({"needs": [Need("spaced", 3)]}, {"option": "MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS"},
        "OE", []),
    "namespace-before-5.4": ({"needs": [Need("spaced", 3)]}, {"release": "5.3.0"}, "OE", []),
    "namespace-of-named-modules": ({"needs": [Need("for_modules", 4)]}, {"release": "6.16.0"}, "OE", []),
    "namespace-of-other-modules": ({"needs": [Need("for_modules", 4)], "name": "other"}, {"release": "6.16.0"},
        "EINVAL",
        ["other: module uses symbol (for_modules) from namespace module:kvm-amd,m*, but does not import it.",
         "other: Unknown symbol for_modules (err -22)"]),
    # its own exports and its name
    "duplicate-of-the-kernel": ({"exports": [Export("mine", 1), Export("printk", 1)]}, {}, "ENOEXEC",
        ["m: exports duplicate symbol printk (owned by kernel)"]),
    "duplicate-of-a-module": ({"exports": [Export("theirs", 5)]}, {}, "ENOEXEC",
        ["m: exports duplicate symbol theirs (owned by secret)"]),
    "exports-without-crcs": ({"exports": [Export("mine")]}, {}, "FOE", []),
    "exports-without-crcs-not-forced": ({"exports": [Export("mine")]}, NO_FORCE, "ENOEXEC", []),
    "exports-without-crcs-before-symbols": ({"exports": [Export("mine")], "needs": [Need("x", 1)]}, NO_FORCE,
        "ENOEXEC", []),
    "built-in": ({}, {"builtin": frozenset({"m"}), "builtin_shown": lambda name: True}, "EINVAL",
        ["m: module is already loaded"]),
    "built-in-and-not-in-sys": ({}, {"builtin": frozenset({"m"})}, "OE", []),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_rule(case: str) -> None:
    fields, changed, outcome, log = RULES[case]
    fields = dict(fields)
    verdict = judge(module(*fields.pop("needs", ()), layout=fields.pop("layout", MODERN), **fields),
                    kernel(**changed), find)  # fmt: skip
    assert verdict.errno == (outcome if outcome.startswith("E") and len(outcome) > 2 else "")
    assert said(verdict) == log
    if not verdict.errno:
        assert (verdict.outcome, verdict.taints) == ("loads", outcome)
    else:
        assert verdict.outcome == "fails" and verdict.reasons


def signed(kind: int = 2, **written: Any) -> ModuleFile:
    body = b"\x30\x06\x02\x01\x01\x02\x01\x02"
    end = bytes((0, 0, kind, 0, 0, 0, 0, 0)) + len(body).to_bytes(4, "big") + b"~Module signature appended~\n"
    data = elfwriter.Module("m", vermagic=str(KERNEL.vermagic), layout_crc=0xAA, **written).build() + body + end
    return parse_module(data, "m.ko")


#: state of the signature ("none": unsigned; "form": of another kind), kernel -> (errno or taints, log)
ENFORCED = {"sig_enforced": True}
LOCKED = {"lockdown": True}
LOCKED_SAYS = ["Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7"]
SIGNATURES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("none", {}, "OE", []),
    ("none", ENFORCED, "EKEYREJECTED", ["Loading of unsigned module is rejected"]),
    ("none", LOCKED, "EPERM", LOCKED_SAYS),
    ("none", {**LOCKED, **ENFORCED}, "EKEYREJECTED", ["Loading of unsigned module is rejected"]),
    ("none", {**ENFORCED, "release": "4.18.0-553.el8"}, "ENOKEY", []),
    ("none", {**ENFORCED, "release": "2.6.32"}, "", []),
    ("none", {**ENFORCED, "unset": "MODULE_SIG"}, "O", []),
    ("good", {}, "O", []),
    ("good", ENFORCED, "O", []),
    ("good", LOCKED, "O", []),
    ("bad", {}, "EKEYREJECTED", []),
    ("bad", {"release": "3.10.0"}, "EKEYREJECTED", []),
    ("no key", {}, "OE", []),
    ("no key", ENFORCED, "EKEYREJECTED", ["Loading of module with unavailable key is rejected"]),
    ("no key", LOCKED, "EPERM", LOCKED_SAYS),
    ("form", {}, "OE", []),
    ("form", {"release": "4.19.0"}, "ENOPKG", []),
    ("form", ENFORCED, "EKEYREJECTED", ["module: not signed with expected PKCS#7 message",
                                        "Loading of module with unsupported crypto is rejected"]),
    ("unread", {}, "EBADMSG", []),
]  # fmt: skip


@pytest.mark.parametrize(("state", "changed", "outcome", "log"), SIGNATURES)
def test_signature(state: str, changed: dict[str, Any], outcome: str, log: list[str]) -> None:
    if state == "none":
        judged = module()
    elif state == "unread":
        judged = parse_module(elfwriter.sign(elfwriter.Module("m", vermagic=str(KERNEL.vermagic)).build()), "m.ko")
    else:
        judged = with_key(signed(kind=1 if state == "form" else 2))
        judged.signature_state = "" if state == "form" else state
    verdict = judge(judged, kernel(**changed), find)
    assert said(verdict) == log
    assert (verdict.errno or verdict.taints) == outcome


def with_key(judged: ModuleFile) -> ModuleFile:
    """The module with a signature whose signer is named: what stands in for a real one, as no key is at hand here."""
    if judged.signature is not None and judged.signature.kind == "PKCS#7":
        body = message("Nobody", 0x1234)
        raw = body + bytes((0, 0, 2, 0, 0, 0, 0, 0)) + len(body).to_bytes(4, "big") + b"~Module signature appended~\n"
        judged._signature = raw
        judged.size += len(raw)
    return judged


@pytest.mark.parametrize(
    ("judged", "profile", "why"),
    [
        (module(PRINTK), kernel(has_exports=False), "nothing here tells what kernel 6.1.0-1-amd64 exports"),
        (module(layout_crc=None), kernel(config=None), "CONFIG_MODULE_FORCE_LOAD"),
        (module(PRINTK), kernel(layout_crc=None), "no CRC of module_layout"),
        (module(), kernel(vermagic=None), "no vermagic is known"),
        (module(Need("bare", 9)), KERNEL, "no CRCs of kernel"),
        (module(Need("printk")), kernel(strict_versions=None), "no version for"),
        (module(), kernel(sig_enforced=None), "refuses unsigned modules"),
        (module(), kernel(builtin=frozenset({"m"}), builtin_shown=None), "/sys/module"),
    ],
)
def test_what_the_sources_leave_open_is_unknown(judged: ModuleFile, profile: KernelProfile, why: str) -> None:
    verdict = judge(judged, profile, find)
    assert (verdict.outcome, verdict.errno, verdict.reasons) == ("unknown", "", ())
    assert any(why in sentence for sentence in verdict.cannot_tell), verdict.cannot_tell


def test_what_fails_for_sure_behind_an_open_rule_fails_with_an_errno_unknown() -> None:
    verdict = judge(module(Need("x", 1)), kernel(layout_crc=None), find)
    assert (verdict.outcome, verdict.errno, verdict.symbols) == ("fails", "", ("x",))
    assert verdict.cannot_tell


def test_which_symbols_are_gpl_only_matters_to_proprietary_modules_alone() -> None:
    def blind(name: str) -> Symbol | None:
        found = find(name)
        return found and found._replace(export=found.export._replace(gpl=None))

    assert judge(module(KTIME), KERNEL, blind).outcome == "loads"
    assert judge(module(KTIME, license="Proprietary"), KERNEL, blind).outcome == "unknown"


def test_loaded_already() -> None:
    assert judge(module(Need("x", 1)), KERNEL, find, loaded=("m",)).errno == "EEXIST"
    assert judge(module(layout_crc=1), KERNEL, find, loaded=("m",)).errno == "ENOEXEC", "the layout comes first"


def test_a_duplicate_counts_only_where_its_owner_is_loaded() -> None:
    mine = module(exports=[Export("theirs", 5)])
    assert judge(mine, KERNEL, find, present=lambda name: None).outcome == "loads"


def test_a_reason_names_what_was_wanted_and_what_is_there() -> None:
    (reason,) = judge(module(Need("printk", 9)), KERNEL, find).reasons
    assert (reason.symbol, reason.wanted, reason.found, reason.provider) == (
        "printk", "0x00000009", "0x00000001", "vmlinux",
    )  # fmt: skip
    assert depmod_wording(reason, "/m.ko") == "WARNING: /m.ko disagrees about version of symbol printk"
    (reason,) = judge(module(Need("x", 1)), KERNEL, find).reasons
    assert depmod_wording(reason, "/m.ko") == "WARNING: /m.ko needs unknown symbol x"


def test_btf_of_another_build_is_open_where_the_kernel_insists_on_it() -> None:
    judged = module(vermagic=f"6.6.6 {FLAGS}")
    judged.has_btf = True
    assert judge(judged, KERNEL, find).outcome == "loads", "a kernel without BTF of modules"
    assert judge(judged, kernel(option="DEBUG_INFO_BTF_MODULES"), find).outcome == "unknown"
    lenient = kernel(option="DEBUG_INFO_BTF_MODULES MODULE_ALLOW_BTF_MISMATCH")
    assert judge(judged, lenient, find).outcome == "loads"
    own = module()
    own.has_btf = True
    assert judge(own, kernel(option="DEBUG_INFO_BTF_MODULES"), find).outcome == "loads"


@pytest.mark.parametrize(
    ("release", "absent", "both"),
    [
        ("6.1.0", "m: No module found in object", "m: module has no symbols (stripped?)"),
        ("6.6.0", "module m: Only one .gnu.linkonce.this_module section must exist.",
                  "m: module has no symbols (stripped?)"),
        ("6.12.0", "module m: Exactly one .gnu.linkonce.this_module section must exist.",
                   "module m: Exactly one .gnu.linkonce.this_module section must exist."),
    ],
)  # fmt: skip
def test_what_is_no_module_inside(release: str, absent: str, both: str) -> None:
    judged = module()
    judged.this_module_size = None
    verdict = judge(judged, kernel(release), find)
    assert (verdict.errno, said(verdict)) == ("ENOEXEC", [absent])
    judged.has_symbol_table = False
    assert said(judge(judged, kernel(release), find)) == [both]


def test_every_rule_is_traced_up_to_the_one_that_fails() -> None:
    outcomes = trace(module(layout_crc=1), KERNEL, find)
    states = [outcome.state for outcome in outcomes]
    at = states.index("fails")
    assert outcomes[at].rule == "layout of struct module"
    assert set(states[:at]) == {"passes"} and set(states[at + 1 :]) == {"not reached"}
    assert {outcome.state for outcome in trace(module(PRINTK), KERNEL, find)} == {"passes"}


GOOD = elfwriter.Module("m", vermagic=str(KERNEL.vermagic), layout_crc=0xAA).build()
CUT = GOOD[: len(GOOD) // 2]


@pytest.mark.parametrize(
    ("data", "profile", "errno", "log"),
    [
        (b"", KERNEL, "EINVAL", []),
        (b"GIF89a", KERNEL, "ENOEXEC", ["Invalid ELF header len 6"]),
        (b"x" * 100, KERNEL, "ENOEXEC", ["Invalid ELF header magic: != \x7fELF"]),
        (b"x" * 100, kernel("5.10.0"), "ENOEXEC", []),
        (CUT, KERNEL, "ENOEXEC", ["Invalid ELF section header overflow"]),
        (CUT, kernel("3.10.0"), "ENOEXEC", []),
        (CUT, kernel(sig_enforced=True), "EKEYREJECTED", ["Loading of unsigned module is rejected"]),
        (CUT, kernel(lockdown=True), "EPERM", LOCKED_SAYS),
        (elfwriter.sign(CUT), KERNEL, "EBADMSG", []),
        (GOOD[:16] + b"\2" + GOOD[17:], KERNEL, "ENOEXEC", ["Invalid ELF header type: 2 != 1"]),
        (GOOD[:58] + b"\1" + GOOD[59:], KERNEL, "ENOEXEC", ["Invalid ELF section header size"]),
    ],
)
def test_a_file_that_is_no_module(data: bytes, profile: KernelProfile, errno: str, log: list[str]) -> None:
    verdict = judge_file(data, bad(data), profile)
    assert (verdict.outcome, verdict.errno, said(verdict)) == ("fails", errno, log)


def bad(data: bytes) -> BadModule:
    try:
        parse_module(data, "m.ko")
    except BadModule as error:
        return error
    raise AssertionError("this is a module")


def test_a_file_that_only_this_machine_cannot_read_is_unknown() -> None:
    verdict = judge_file(b"", BadModule("no library for zstd", cannot_tell=True), KERNEL)
    assert (verdict.outcome, verdict.cannot_tell) == ("unknown", ("no library for zstd",))
