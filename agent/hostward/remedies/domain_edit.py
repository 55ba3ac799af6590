"""Changes to a stored definition of a guest, as text: all of it but the change stays byte for byte."""

from __future__ import annotations


class CantEdit(Exception):
    """The definition is not what the change is for; says why."""


def with_nic_model(xml: bytes, mac: str, model: str) -> bytes:
    """The definition with another model for the network card that has this MAC address.

    The card keeps its place on the bus, so that what the guest names it by its slot stays.  Raises CantEdit where not
    exactly one card has that address.
    """
    found = _Interfaces(xml, mac.lower())
    if len(found.hits) != 1:
        raise CantEdit(f"{len(found.hits)} network cards have the address {mac} in its stored definition, not one")
    (hit,) = found.hits
    element = b"<model type='" + model.encode("ascii") + b"'/>"
    if hit.model is not None:
        start, end = hit.model
        return xml[:start] + element + xml[end:]
    # Where libvirt itself writes it: after the address, with the same indentation.
    line = xml.rfind(b"\n", 0, hit.mac[0])
    indent = xml[line : hit.mac[0]] if line >= 0 and not xml[line : hit.mac[0]].strip() else b""
    return xml[: hit.mac[1]] + indent + element + xml[hit.mac[1] :]


class _Hit:
    def __init__(self) -> None:
        self.address = ""
        self.mac: tuple[int, int] = (0, 0)
        self.model: tuple[int, int] | None = None


class _Interfaces:
    """Where in the bytes of a definition the <mac> and <model> of its network cards stand."""

    def __init__(self, xml: bytes, mac: str) -> None:
        from xml.parsers import expat

        self.hits: list[_Hit] = []
        parser = expat.ParserCreate()
        path: list[str] = []
        started: list[int] = []
        current = _Hit()

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal current
            path.append(tag)
            started.append(parser.CurrentByteIndex)
            if path == ["domain", "devices", "interface"]:
                current = _Hit()
            elif path == ["domain", "devices", "interface", "mac"]:
                current.address = attributes.get("address", "").lower()

        def end(tag: str) -> None:
            begin = started.pop()
            if path[:3] == ["domain", "devices", "interface"] and len(path) == 4 and tag in ("mac", "model"):
                # The end of <x></x> is told where its closing tag begins, that of <x/> where it is over.
                close = parser.CurrentByteIndex
                if xml.startswith(b"</" + tag.encode(), close):
                    close = xml.index(b">", close) + 1
                setattr(current, tag, (begin, close))
            elif path == ["domain", "devices", "interface"] and current.address == mac:
                self.hits.append(current)
            path.pop()

        def doctype(*_: object) -> None:
            raise CantEdit("its definition has a document type declaration, which no domain has")

        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.StartDoctypeDeclHandler = doctype
        try:
            parser.Parse(xml, True)
        except expat.ExpatError as error:
            raise CantEdit(f"its definition is not XML: {expat.ErrorString(error.code)}") from None


__all__ = ["CantEdit", "with_nic_model"]
