"""/dev/kvm: whether it is there, who may use it, and whether KVM answers behind it."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from hostward.facts import fact
from hostward.host import Host, HostError, Missing
from hostward.model import NotApplicable

PATH = "/dev/kvm"


@dataclass(frozen=True)
class KvmDevice:
    """`api_version` is what KVM_GET_API_VERSION answered (12), None when it did not; `problem` says why.

    `mode` is the permission bits, `owner` and `group` names, or numbers where /etc has no name for them.
    """

    exists: bool
    mode: int = 0
    owner: str = ""
    group: str = ""
    api_version: int | None = None
    problem: str = ""

    @property
    def answers(self) -> bool:
        return self.api_version is not None


@fact
def kvm_device(host: Host) -> KvmDevice:
    """Raises NotApplicable under a root: only a running kernel has a device that answers."""
    if not host.live:
        raise NotApplicable("this tree is not running, so no kernel answers behind /dev/kvm")
    from hostward.host.kvm import api_version

    try:
        status = host.stat(PATH)
    except Missing:
        return KvmDevice(False, problem=f"{PATH} does not exist")
    owner = _name(host, "/etc/passwd", status.st_uid)
    group = _name(host, "/etc/group", status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    try:
        return KvmDevice(True, mode, owner, group, api_version(PATH))
    except HostError as error:
        return KvmDevice(True, mode, owner, group, None, str(error))


def _name(host: Host, path: str, number: int) -> str:
    """The name of a user or group in passwd(5) or group(5), else its number."""
    try:
        for line in host.text(path).splitlines():
            words = line.split(":")
            if len(words) > 2 and words[2] == str(number):
                return words[0]
    except HostError:
        pass
    return str(number)
