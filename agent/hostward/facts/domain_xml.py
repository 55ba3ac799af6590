"""XML of a libvirt domain, read as if its author meant harm: no DTD, no entities of its own, everything bounded.

libvirt itself writes these files, but a guest's definition also comes from whoever may define guests, and a tree
under --root from anybody. expat does the reading; a document type declaration, which is the only place where XML
can name a file, a URL or an entity, ends it before anything in it was looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

BYTES_MAX = 4 << 20  # libvirt's own RPC carries no longer string (VIR_NET_MESSAGE_STRING_MAX)
DEPTH_MAX = 64  # libvirt's schema needs about 12
ELEMENTS_MAX = 50_000
ATTRIBUTES_MAX = 64  # of one element; the schema knows at most about 20
TEXT_MAX = 256 << 10  # characters of one attribute or text

#: Namespaces of elements that are looked at, by the prefix they have in the expressions of known issues.
NAMESPACES = {
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
    "lxc": "http://libvirt.org/schemas/domain/lxc/1.0",
    "xen": "http://libvirt.org/schemas/domain/xen/1.0",
}


class BadXml(Exception):
    """Not a document that can be used; says the line and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)


def parse(data: bytes) -> Element:
    """The root element.  Tags of a namespace are `{namespace}tag`.  Raises BadXml, for anything that is not so."""
    from xml.etree.ElementTree import Element
    from xml.parsers import expat

    if len(data) > BYTES_MAX:
        raise BadXml(0, f"{len(data)} bytes, more than the {BYTES_MAX} a domain's XML can have")
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    stack: list[Element] = []
    roots: list[Element] = []
    count = 0
    # in no encoding that expat reads has a character less than a byte, so no text of a shorter document is too long
    long = len(data) > TEXT_MAX

    def refuse(reason: str) -> BadXml:
        return BadXml(parser.CurrentLineNumber, reason)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > ELEMENTS_MAX:
            raise refuse(f"more than {ELEMENTS_MAX} elements")
        if attributes:
            if len(attributes) > ATTRIBUTES_MAX:
                raise refuse(f"an element with more than {ATTRIBUTES_MAX} attributes")
            if long:
                for value in attributes.values():
                    if len(value) > TEXT_MAX:
                        raise refuse(f"an attribute of {len(value)} characters")
        element = Element("{" + tag if "}" in tag else tag, attributes)
        if stack:
            if len(stack) >= DEPTH_MAX:
                raise refuse(f"nested more than {DEPTH_MAX} deep")
            stack[-1].append(element)
        else:
            roots.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        if data.isspace() or not stack:
            return
        element = stack[-1]
        if not len(element):  # what follows a child (mixed content) carries nothing in a domain
            whole = (element.text or "") + data
            if len(whole) > TEXT_MAX:
                raise refuse(f"a text of more than {TEXT_MAX} characters")
            element.text = whole

    def doctype(*_: Any) -> None:
        raise refuse("a document type declaration: refused, no domain has one")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadXml(error.lineno, f"not XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, ValueError) as error:  # an encoding= that Python has no 8-bit codec for
        raise BadXml(1, f"not XML: {error}") from None
    return roots[0]


__all__ = ["NAMESPACES", "BadXml", "parse"]
