"""How KVM's modules are loaded: by the script that loads them at boot, else by modprobe in order."""

from __future__ import annotations

import pytest

from hostward.facts.kvm_modules import SCRIPT, KvmModules
from hostward.facts.loaded import LoadedModule, LoadedModules
from hostward.model import LoadModule, RunProgram
from hostward.remedies import NoRemedy
from hostward.remedies.modules import load_kvm

KVM = {"kvm": "kvm: here", "kvm_intel": "kvm_intel: here"}


def loaded(*names: str, state: str = "live") -> LoadedModules:
    return LoadedModules({name: LoadedModule(name, 4096, (), state) for name in names})


def test_the_script_comes_first_and_its_status_says_nothing() -> None:
    plan = load_kvm(KvmModules("kvm_intel", KVM, script=SCRIPT), loaded())
    assert plan.id == "modules.load-kvm"
    assert plan.steps == (RunProgram((SCRIPT,), any_status=True, loads_modules=True),)
    assert SCRIPT in plan.why


def test_without_a_script_kvm_comes_before_the_vendors_module() -> None:
    plan = load_kvm(KvmModules("kvm_intel", KVM), loaded())
    assert plan.steps == (LoadModule("kvm"), LoadModule("kvm_intel"))
    assert "kvm_intel drives this processor" in plan.why


def test_a_script_that_is_not_safe_to_run_is_not_run_and_why_is_told() -> None:
    problem = f"{SCRIPT}: writable by others"
    plan = load_kvm(KvmModules("kvm_intel", KVM, script_problem=problem), loaded())
    assert plan.steps == (LoadModule("kvm"), LoadModule("kvm_intel")) and plan.why == problem


def test_what_a_blacklist_keeps_out_is_loaded_only_when_it_is_asked_for() -> None:
    plan = load_kvm(KvmModules("kvm_intel", KVM, not_by_itself=("modprobe.d/x.conf: blacklist kvm_intel",)), loaded())
    assert plan.ask == "somebody may have meant it: modprobe.d/x.conf: blacklist kvm_intel"
    assert load_kvm(KvmModules("kvm_intel", KVM), loaded()).ask == ""


def test_what_is_loaded_is_left_alone() -> None:
    assert load_kvm(KvmModules("kvm_intel", KVM), loaded("kvm")).steps == (LoadModule("kvm_intel"),)
    assert load_kvm(KvmModules("kvm_intel", KVM), loaded("kvm", state="going")).steps[0] == LoadModule("kvm")


@pytest.mark.parametrize(
    ("kvm", "there", "said"),
    [
        (
            KvmModules("kvm_intel", KVM, kept_out="modprobe.d has `install kvm /bin/false`"),
            (),
            "on purpose: modprobe.d",
        ),
        (KvmModules("", {"kvm": "kvm: here"}), (), "no module is known that would drive this processor"),
        (KvmModules("kvm_intel", KVM), ("kvm", "kvm_intel"), "are loaded already"),
    ],
)
def test_where_there_is_nothing_to_be_done(kvm: KvmModules, there: tuple[str, ...], said: str) -> None:
    with pytest.raises(NoRemedy) as why:
        load_kvm(kvm, loaded(*there))
    assert said in why.value.reason
