"""Steps on guests, through libvirt: their stored definitions, which running guests do not feel, and their clocks."""

from __future__ import annotations

import shlex
from typing import Any

from hostward.host import Changed, Host, HostError
from hostward.model import SetGuestClock
from hostward.remedies.domain_edit import CantEdit, with_nic_model
from hostward.remedies.steps import CantUndo, Craft, Keep, Kept


def digest(xml: bytes) -> str:
    import hashlib

    return hashlib.sha256(xml).hexdigest()


class NicModelCraft(Craft):
    """The whole definition is kept, with its passwords, in the journal's own directory, which is root's alone."""

    def show(self, step: Any) -> str:
        edit = ["virt-xml", "--connect", step.uri, step.guest, "--edit", f"mac={step.mac}"]
        return shlex.join([*edit, "--network", f"model.type={step.model}", "--define"])

    def save(self, host: Host, step: Any, keep: Keep) -> dict[str, Any]:
        from hostward.host import libvirt

        before = libvirt.stored(step.uri, step.uuid)
        return {"kept": keep(before), "before": digest(before)}

    def do(self, host: Host, step: Any, saved: dict[str, Any]) -> str:
        from hostward.host import libvirt

        where = f"{step.uri} {step.guest}"
        before = libvirt.stored(step.uri, step.uuid)
        if digest(before) != saved["before"]:
            raise Changed(where, "not touched: somebody changed its definition just now")
        try:
            after = with_nic_model(before, step.mac, step.model)
        except CantEdit as error:
            raise HostError(where, f"not changed: {error}") from None
        if after == before:
            return "it was so already"
        libvirt.define(step.uri, after, validate=True)
        return ""

    def left(self, host: Host, step: Any, saved: dict[str, Any]) -> dict[str, Any]:
        from hostward.host import libvirt

        return {"after": digest(libvirt.stored(step.uri, step.uuid))}

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        from hostward.host import libvirt

        where = f"{step.uri} {step.guest}"
        before = kept(str(saved["kept"]))
        if digest(before) != saved["before"]:
            raise HostError(where, "not put back: what was kept of its definition is not what it was")
        now = libvirt.stored(step.uri, step.uuid)
        if now == before:
            return "it was so already"
        if left is None:
            # A kill came before it was recorded what libvirt made of it; only our own change may be taken back.
            try:
                ours = with_nic_model(now, step.mac, step.model) == now
            except CantEdit:
                ours = False
        else:
            ours = digest(now) == left["after"]
        if not ours:
            raise Changed(where, "not put back: somebody changed its stored definition since")
        # Not held against the schema: it was there before, whatever libvirt of today thinks of it.
        libvirt.define(step.uri, before, validate=False)
        again = libvirt.stored(step.uri, step.uuid)
        if again != before:
            raise HostError(where, "was put back, but libvirt stores it in other words than before")
        return ""


class GuestClockCraft(Craft):
    def show(self, step: Any) -> str:
        return shlex.join(["virsh", "--connect", step.uri, "domtime", step.guest, "--now"])

    def do(self, host: Host, step: SetGuestClock, saved: dict[str, Any]) -> str:
        from hostward.host import libvirt

        libvirt.set_time(step.uri, step.uuid)
        return ""

    def cant_undo(self, step: Any) -> str:
        return f"nothing takes back that the clock of {step.guest} was set"

    def undo(self, host: Host, step: Any, saved: dict[str, Any], left: dict[str, Any] | None, kept: Kept) -> str:
        raise CantUndo(self.cant_undo(step))
