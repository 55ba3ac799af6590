"""A machine that only loads modules: a kernel, an initramfs with the modules and a process 1 that loads them.

It boots every kernel, as nothing it needs is a module, and is up in two to four seconds. What each load made
finit_module answer and the kernel write to its log comes back by the second serial port.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts import cpiowriter
from tests.hosts.cpiowriter import Entry
from tests.lab.debs import CACHE, Kernel, NotAtHand, locked

SOURCES = Path(__file__).parent / "modules"
BOOT_LIMIT_S = 240
#: The lab's modules: name -> what is defined for lab.c.
BUILT = {
    "labprov": "PROVIDES",
    "labother": "PROVIDES_OTHER",
    "labcount": "USES_COUNT",
    "labplain": "USES_PLAIN",
    "labspaced": "USES_SPACED",
    "labweak": "USES_WEAK",
    "labboth": "USES_COUNT USES_PLAIN",
    "labkernel": "USES_KERNEL",
    "labgpl": "USES_KERNEL NEEDS_GPL",
    "labnone": "",
}
#: Built apart: modpost would take the exports of this one for those of labprov.
APART = {"labother"}


@dataclass(frozen=True)
class Load:
    """A module to load: the file's name, and the bytes that finit_module gets.

    `packed` is the file itself where modprobe inflates it; `inflate` leaves that to the kernel.
    """

    name: str
    data: bytes
    inflate: bool = False
    packed: bytes = b""


@dataclass
class Loaded:
    """What a load led to: `errno` 0 for success, the log's lines in order, the taint letters of the module."""

    errno: int = -1
    log: list[str] = field(default_factory=list)
    taints: str = ""


def _make_init() -> Path:
    """The machine's process 1, a static program.  Raises NotAtHand."""
    if shutil.which("gcc") is None:
        raise NotAtHand("gcc is not installed: the lab's modules and its init can't be built")
    source = SOURCES / "init.c"
    made = CACHE / f"modlab-init-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    with locked("modlab-init"):
        if not made.is_file():
            part = made.with_suffix(".part")
            argv = ["gcc", "-static", "-O1", "-s", "-Wall", "-o", str(part), str(source)]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                raise NotAtHand(f"gcc can't link a static program: {done.stderr.strip()}")
            part.rename(made)
    return made


@functools.cache
def _stranger() -> Path:
    """A key of nobody's, with its certificate, in one PEM file.  Raises NotAtHand."""
    if shutil.which("openssl") is None:
        raise NotAtHand("openssl is not installed: modules can't be signed")
    made = CACHE / "stranger.pem"
    with locked("stranger"):
        if not made.is_file():
            part = made.with_suffix(".part")
            argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "36500", "-subj", "/CN=Nobody"]
            subprocess.run([*argv, "-keyout", str(part), "-out", str(part)], check=True, capture_output=True)
            part.rename(made)
    return made


def signed_by_stranger(data: bytes) -> bytes:
    """A module signed as scripts/sign-file does it, with a key that no kernel has.  Raises NotAtHand."""
    key = str(_stranger())
    argv = ["openssl", "smime", "-sign", "-binary", "-noattr", "-nocerts", "-md", "sha256", "-outform", "DER"]
    done = subprocess.run([*argv, "-signer", key, "-inkey", key], input=data, check=True, capture_output=True)
    end = struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(done.stdout))
    return data + done.stdout + end + b"~Module signature appended~\n"


@functools.cache
def built(kernel: Kernel) -> Path:
    """The directory of the lab's modules, compiled with the headers of a kernel; cached.  Raises NotAtHand."""
    for program in ("make", "gcc"):
        if shutil.which(program) is None:
            raise NotAtHand(f"{program} is not installed: the lab's modules can't be built")
    source = (SOURCES / "lab.c").read_bytes()
    key = hashlib.sha256(source + repr(sorted(BUILT.items())).encode()).hexdigest()[:16]
    made = CACHE / "modules" / f"{kernel.release}-{key}"
    with locked(f"modules-{kernel.release}"):
        if not made.is_dir():
            made.parent.mkdir(exist_ok=True)
            for old in made.parent.glob(f"{kernel.release}-*"):
                shutil.rmtree(old)
            part = made.with_suffix(".part")
            part.mkdir()
            (part / "lab.c").write_bytes(source)
            for name, defines in BUILT.items():
                lines = "".join(f"#define {word}\n" for word in defines.split())
                (part / f"{name}.c").write_text(f'{lines}#include "lab.c"\n')
            for names in (APART, set(BUILT) - APART):
                (part / "Kbuild").write_text("".join(f"obj-m += {name}.o\n" for name in names))
                argv = ["make", "-s", "-j2", "-C", str(kernel.headers), f"M={part}", "modules"]
                done = subprocess.run(argv, capture_output=True, text=True)
                if done.returncode:
                    raise NotAtHand(f"modules can't be built for {kernel.release}: {done.stderr.strip()[-300:]}")
            for name in BUILT:
                subprocess.run(["strip", "--strip-debug", str(part / f"{name}.ko")], check=True)
            for file in part.iterdir():
                if file.suffix != ".ko":
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            part.rename(made)
    return made


@dataclass
class Answers:
    """What a machine told: of each case's loads in order, and the names in /sys/module before any of them."""

    cases: dict[str, list[Loaded]] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)


def run(kernel: Kernel, cases: Mapping[str, Sequence[Load]], words: str = "") -> Answers:
    """Boots the kernel with these words on its command line and carries the cases out, all in one boot.

    Raises NotAtHand where QEMU or the compiler is missing, RuntimeError for a machine that did not come to its end.
    """
    if shutil.which("qemu-system-x86_64") is None:
        raise NotAtHand("qemu-system-x86_64 is not installed (QEMU, to boot kernels)")
    entries = [Entry("init", stat.S_IFREG | 0o755, _make_init().read_bytes()), cpiowriter.directory("m")]
    plan = []
    known: dict[bytes, str] = {}
    for case, loads in cases.items():
        plan.append(f"case {case}")
        for load in loads:
            path = known.get(load.data)
            if path is None:
                path = known[load.data] = f"m/{len(known)}-{load.name}"
                entries.append(cpiowriter.file(path, load.data))
            plan.append(f"{'inflate' if load.inflate else 'load'} /{path}")
    entries.append(cpiowriter.file("plan", "".join(f"{line}\n" for line in plan).encode()))
    with tempfile.TemporaryDirectory(prefix="hostward-modlab-") as directory:
        work = Path(directory)
        (work / "initramfs").write_bytes(cpiowriter.archive(entries))
        argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2"]
        argv += ["-m", "1024", "-nodefaults", "-display", "none", "-no-reboot"]
        argv += ["-serial", f"file:{work}/console", "-serial", f"file:{work}/told"]
        argv += ["-kernel", str(kernel.image), "-initrd", str(work / "initramfs")]
        # no_timer_check: on a busy host an emulated timer misses its test at boot, over which the kernel panics.
        argv += ["-append", f"console=ttyS0 loglevel=4 panic=-1 mitigations=off log_buf_len=8M no_timer_check {words}"]
        try:
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass
        told = (work / "told").read_text(errors="surrogateescape").replace("\r\n", "\n").splitlines()
        if told[-1:] != ["end"]:
            console = (work / "console").read_text(errors="replace").splitlines()[-30:]
            said = "\n".join([*told[-5:], *console])
            raise RuntimeError(f"the machine with kernel {kernel.release} did not come to its end:\n{said}")
    return _read(told)


def _read(told: Sequence[str]) -> Answers:
    found = Answers()
    loads: list[Loaded] = []
    for line in told:
        word, _, rest = line.partition(" ")
        if word == "case":
            loads = found.cases.setdefault(rest, [])
        elif word == "shown":
            found.shown.add(rest)
        elif word == "load":
            loads.append(Loaded())
        elif word == "errno":
            loads[-1].errno = int(rest)
        elif word == "log":
            loads[-1].log.append(rest)
        elif word == "taint":
            loads[-1].taints = rest
        elif word in ("missing", "overrun"):
            raise RuntimeError(f"the machine lost something: {line}")
    return found
