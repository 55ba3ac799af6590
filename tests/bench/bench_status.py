"""`hostward status` on a full state, beside `systemctl status` where there is a systemd, and a bare interpreter."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from hostward.host.moment import now
from hostward.host.state import TRANSITIONS_MAX, Run, Standing, State, Transition
from hostward.model import Finding, Outcome, Result, Severity
from tests.bench.compare import compare, show


def fill(directory: str) -> State:
    """A state as large as it gets: every transition kept, thirty checks, a finding each."""
    state, when = State.at(directory), now()
    finding = Finding(
        Severity.WARNING, "a module will not load on the next kernel: " + "x" * 80, "kvm on 6.1", ("e",) * 5
    )
    results = {f"a.check-{n:02}": Result(f"a.check-{n:02}", "title", Outcome.FINDINGS, (finding,)) for n in range(30)}
    detail = {"advice": "Do what is to be done. " * 4, "evidence": ["a line that proves it " * 4] * 4}
    changes = [
        Transition(0, when, f"a.check-{n % 30:02}", f"subject {n}", "appeared", "warning", finding.summary, detail)
        for n in range(TRANSITIONS_MAX)
    ]
    state.merge(lambda old: ({id: Standing(r, False, when, when) for id, r in results.items()}, [], changes))
    state.close_run(Run(when, 0.5, {"severity": "warning", "summary": "30 warnings"}), {})
    return state


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        state = fill(f"{place}/s")
        print(f"state with {TRANSITIONS_MAX} transitions: {Path(state.path).stat().st_size / 1e6:.1f} MB")
        call = [
            sys.executable,
            "-I",
            "-c",
            "import sys; sys.path.insert(0, 'agent'); from hostward.cli import run; run()",
        ]
        sides = {
            "python3 -I -c 'import argparse, json'": [sys.executable, "-I", "-c", "import argparse, json"],
            "hostward status": [*call, "status", "--state", f"{place}/s"],
            "hostward history -n 100": [*call, "history", "--state", f"{place}/s"],
        }
        if os.path.isdir("/run/systemd/system") and shutil.which("systemctl"):
            sides["systemctl status dbus"] = ["systemctl", "status", "--no-pager", "dbus"]
        show("Status", compare(sides, runs=15), base="python3 -I -c 'import argparse, json'")


if __name__ == "__main__":
    main()
