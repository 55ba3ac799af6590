"""The file that node_exporter's textfile collector reads: always whole, under its own name alone."""

from __future__ import annotations

import os
import stat

from hostward.host.errors import HostError, NotRegular, from_oserror

#: Where Prometheus' node_exporter looks for such files: upstream's and RHEL's place, Debian's and Ubuntu's.
DIRECTORIES = ("/var/lib/node_exporter/textfile_collector", "/var/lib/prometheus/node-exporter")
NAME = "hostward.prom"
#: Beside it while it is written; the collector takes only names that end in .prom.
_PART = ".hostward.prom.part"


def target(setting: str) -> str:
    """The file that prometheus.textfile means: "auto" is the first of DIRECTORIES that is there, "" none."""
    if setting != "auto":
        return setting
    return next((f"{directory}/{NAME}" for directory in DIRECTORIES if os.path.isdir(directory)), "")


def publish(path: str, text: str) -> None:
    """Writes the file so that a reader sees the old one or the new one.  Raises HostError; then the old one stands."""
    place, name = os.path.split(path)
    try:
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_oserror(place, error) from None
    part = _PART if name == NAME else f".{name}.part"
    try:
        _must_be_replaceable(path, directory, name)
        try:
            os.unlink(part, dir_fd=directory)  # one that a kill left behind
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(part, flags, 0o644, dir_fd=directory)
        try:
            os.fchmod(file, 0o644)  # whatever the umask is: the exporter is another user
            left = memoryview(text.encode("utf-8", "backslashreplace"))
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        try:
            os.unlink(part, dir_fd=directory)
        except OSError:
            pass
        raise HostError(path, f"can't be written: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(directory)


def _must_be_replaceable(path: str, directory: int, name: str) -> None:
    """Only a plain file is replaced: a device or a directory of that name is a slip of the configuration."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(path, "not written: something other than a file stands there")
