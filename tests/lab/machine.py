"""A virtual machine with a real kernel and a real systemd, under software emulation; many commands in one boot."""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import json
import marshal
import os
import select
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from tests.lab import debs, image

REPOSITORY = Path(__file__).parents[2]
BOOT_LIMIT_S = 240.0
#: The Python of the image (Debian 12).
GUEST_PYTHON = "cpython-311"

#: A file's content; a link's target as Link.
Content = Union[str, bytes, "Link", Path]


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Done:
    """What a command in the machine left."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


class Guest:
    """A booted machine.  `files` are laid over its root before systemd starts; a mode other than 0644 is for what
    begins with #! (0755).  The agent itself is always laid in, as /usr/bin/hostward."""

    def __init__(
        self, role: str = "A", files: Mapping[str, Content] | None = None, append: str = "", qemu: tuple[str, ...] = ()
    ) -> None:
        self.kernel = debs.kernel(role)
        self._number = 0
        self._buffer = b""
        self._dir = tempfile.TemporaryDirectory(prefix="hostward-lab-")
        work = Path(self._dir.name)
        self._console = work / "console.log"
        with open(work / "in.tar", "wb") as tar:
            _pack(tar, {**_agent(), **(files or {})})
        disk = image.built()
        words = (
            f"console=ttyS0 root=PARTUUID={image.SIGNATURE:08x}-01 rw rootwait init=/lab/init panic=-1 mitigations=off"
        )
        drives = [(1, disk), (2, work / "in.tar")]
        argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2"]
        argv += ["-m", "1024", "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{self._console}"]
        argv += ["-serial", f"unix:{work}/line,server=on,wait=off", "-kernel", str(self.kernel.image)]
        argv += ["-append", f"{words} {append}", "-device", "nvme,id=nvme0,serial=lab"]
        for number, path in drives:
            argv += ["-drive", f"if=none,id=d{number},file={path},format=raw,snapshot=on"]
            argv += ["-device", f"nvme-ns,drive=d{number},nsid={number}"]
        begun = time.monotonic()
        with open(work / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(
                [*argv, *qemu], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        try:
            self._connect(work / "line", begun)
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - begun

    def _connect(self, path: Path, begun: float) -> None:
        deadline = begun + BOOT_LIMIT_S
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._alive(deadline)
                time.sleep(0.05)
        while "ready" not in self._receive(deadline):
            pass

    def _alive(self, deadline: float) -> None:
        """Raises with the end of the console when QEMU has gone or the time is over."""
        if self._process.poll() is None and time.monotonic() < deadline:
            return
        why = "QEMU ended" if self._process.poll() is not None else "no answer in time"
        console = self._console.read_text(errors="replace").splitlines() if self._console.exists() else []
        qemu = (self._console.parent / "qemu.log").read_text(errors="replace")
        raise RuntimeError(f"the lab's machine ({self.kernel.release}): {why}\n{qemu}" + "\n".join(console[-40:]))

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._alive(deadline)
            if select.select([self._socket], [], [], 0.5)[0]:
                data = self._socket.recv(65536)
                if not data:
                    self._alive(0)
                self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def argv(self, *argv: str, limit_s: float = 60) -> Done:
        """Runs a program in the machine to its end (status 124 at the time limit)."""
        self._number += 1
        request = {"id": self._number, "argv": argv, "limit_s": limit_s}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + limit_s + 60
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                break
        out, err = (base64.b64decode(answer[s]).decode("utf-8", "surrogateescape") for s in ("stdout", "stderr"))
        return Done(answer["status"], out, err)

    def sh(self, command: str, limit_s: float = 60) -> Done:
        """Runs a shell command in the machine; any status is fine."""
        return self.argv("sh", "-c", command, limit_s=limit_s)

    def must(self, command: str, limit_s: float = 60) -> str:
        """Runs a shell command that has to succeed, and returns what it printed."""
        done = self.sh(command, limit_s)
        assert done.status == 0, f"`{command}` in the machine: status {done.status}\n{done.stdout}{done.stderr}"
        return done.stdout

    def hostward(self, *arguments: str, limit_s: float = 120) -> Done:
        return self.argv("hostward", *arguments, limit_s=limit_s)

    def close(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.kill()
        self._process.wait()
        self._dir.cleanup()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prepare(role: str) -> None:
    """Makes what a boot needs, so that it begins at once: a fresh cache takes minutes, the agent a second or two."""
    debs.kernel(role)
    image.built()
    _agent()


def _agent() -> dict[str, Content]:
    """The agent of this checkout, as its package would lay it out."""
    files: dict[str, Content] = {
        "/usr/bin/hostward": '#!/bin/sh\nPYTHONPATH=/usr/lib/hostward exec python3 -m hostward "$@"\n',
    }
    for path in sorted((REPOSITORY / "agent" / "hostward").rglob("*.py")):
        name = f"/usr/lib/hostward/hostward/{path.relative_to(REPOSITORY / 'agent' / 'hostward')}"
        files[name] = path
        if sys.implementation.cache_tag == GUEST_PYTHON:
            compiled = f"{os.path.dirname(name)}/__pycache__/{path.stem}.{GUEST_PYTHON}.pyc"
            files[compiled] = _compiled(name, path.read_bytes())
    for path in sorted((REPOSITORY / "config").rglob("*.*")):
        files[f"/usr/share/hostward/{path.relative_to(REPOSITORY / 'config')}"] = path
    return files


@functools.cache
def _compiled(name: str, source: bytes) -> bytes:
    """A .pyc that is never held against its source, as a package brings it: compiling takes long under emulation."""
    code = compile(source, name, "exec", dont_inherit=True)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def _pack(stream: io.BufferedWriter, files: Mapping[str, Content]) -> None:
    with tarfile.open(fileobj=stream, mode="w") as tar:
        made = set()
        for name, content in files.items():
            parts = name.strip("/").split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                directory = "/".join(parts[:depth])
                if directory not in made:
                    made.add(directory)
                    entry = tarfile.TarInfo(directory)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            entry = tarfile.TarInfo(name.strip("/"))
            entry.mtime = int(time.time())
            if isinstance(content, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, content.target
                tar.addfile(entry)
                continue
            data = (
                content.read_bytes()
                if isinstance(content, Path)
                else os.fsencode(content)
                if isinstance(content, str)
                else content
            )
            entry.size, entry.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            tar.addfile(entry, io.BytesIO(data))
