"""What the kernel answers to modules with signatures of every kind, against what is foretold from the files."""

from __future__ import annotations

import errno

import pytest

from hostward.kmod.certificates import Trusted, parse_certificates
from hostward.kmod.exports import KernelConfig
from hostward.kmod.image import read_image
from hostward.kmod.load_rules import signature_of
from hostward.kmod.profile import KernelProfile
from hostward.kmod.signature import read_signature, verify
from tests.conftest import FULL
from tests.lab import debs, modlab, signed
from tests.lab.modlab import Load, Loaded


@pytest.mark.parametrize("words", ["", "module.sig_enforce=1"])
@pytest.mark.parametrize("role", ["A", pytest.param("C", marks=FULL)])
def test_foretold_as_the_kernel_answers(role: str, words: str) -> None:
    kernel = debs.kernel(role)
    certificates = read_image(kernel.image.read_bytes(), "vmlinuz").certificates
    assert certificates
    # The lab's machine has no EFI, so that nothing is added to the kernel's own keys.
    trusted = Trusted(parse_certificates(certificates), True)
    config = KernelConfig((kernel.tree / "boot" / f"config-{kernel.release}").read_bytes())
    profile = KernelProfile(kernel.release, config=config, sig_enforced=bool(words), lockdown=False)
    cases = dict(signed.befallen(signed.own(kernel)))
    real = modlab.run(kernel, {name: [Load("irqbypass.ko", data)] for name, data in cases.items()}, words)
    wrong, open_ = [], 0
    for name, data in cases.items():
        (answer,) = real.cases[name]
        state = verify(data, trusted)
        taints: set[str] = set()
        if state == "":
            found = read_signature(data)
            if found is not None and found.kind == "PKCS#7" and not found.problem:
                open_ += 1
                continue
        reason = signature_of(read_signature(data), state, profile, taints)
        told = (reason.errno, "") if reason else ("", "".join(taints))
        if told != _said(answer):
            wrong.append(f"{name}: foretold {told} ({state!r}), the kernel answers {_said(answer)} {answer.log}")
    print(f"{len(cases)} signatures on {kernel.release} {words}, {open_} not told")
    assert not wrong, "\n".join(wrong)
    assert open_ == 0


def _said(answer: Loaded) -> tuple[str, str]:
    return errno.errorcode[answer.errno] if answer.errno else "", "E" if "E" in answer.taints else ""
