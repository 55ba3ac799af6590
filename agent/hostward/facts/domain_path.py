"""The path expressions of known issues: the part of XPath 1.0 that is said here, the same with every Python.

    devices/interface/model[@type='rtl8139']     elements below <domain>, step by step
    .//model[@type='qxl']                        at any depth
    devices/disk[@device='lun'][source]          more conditions: an attribute, a child, a child's text, a position
    metadata/libosinfo:libosinfo/libosinfo:os    the prefixes qemu, libosinfo, lxc and xen
    devices/disk/driver/@type                    at the end, the attribute itself
    .[@type='qemu']                              <domain> itself

A condition is [@name], [@name='value'], [child], [child='text'], [.='text'] or [number]; `*` is any element, `..` the
one above. That is what xml.etree understands in Python 3.9 and later, so nothing is evaluated that was not checked.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from hostward.facts.domain_xml import NAMESPACES

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAME = r"(?:[A-Za-z_]\w*:)?[A-Za-z_][\w.-]*"
_TEXT = r"(?:'[^'\]\[]*'|\"[^\"\]\[]*\")"
_CONDITION = rf"\[(?:@{_NAME}(?:={_TEXT})?|{_NAME}(?:={_TEXT})?|\.={_TEXT}|[1-9]\d{{0,3}})\]"
_STEP = rf"(?:\.\.|\*(?:{_CONDITION})*|{_NAME}(?:{_CONDITION})*)"
_PATH = re.compile(rf"(?:\.(?:{_CONDITION})+|(?:\.//?)?{_STEP}(?://?{_STEP})*)(?:/@{_NAME})?")


def wrong_with(path: str) -> str:
    """What is wrong with an expression, "" for a good one."""
    if len(path) > 500:
        return "longer than 500 characters"
    if not _PATH.fullmatch(path):
        return f"not a path such as devices/interface/model[@type='rtl8139']: {path!r}"
    for prefix in re.findall(r"([A-Za-z_]\w*):", re.sub(_TEXT, "''", path)):
        if prefix not in NAMESPACES:
            return f"no namespace has the prefix {prefix}; known: {', '.join(sorted(NAMESPACES))}"
    return ""


def split(path: str) -> tuple[str, str]:
    """The path of the elements, and the attribute at its end or ""."""
    head, at, name = path.rpartition("/@")
    return (head, name) if at and re.fullmatch(_NAME, name) else (path, "")


def find(domain: Element, path: str) -> list[Element]:
    """The elements that an expression names; with an attribute at its end, those that have it."""
    elements, attribute = split(path)
    found = domain.findall(elements, NAMESPACES)
    return [e for e in found if attribute in e.attrib] if attribute else found


def text_of(element: Element, path: str) -> str:
    """The text that an expression means of an element that it named: the attribute at its end, else its text."""
    attribute = split(path)[1]
    return (element.get(attribute, "") if attribute else element.text or "").strip()


@functools.lru_cache(maxsize=4096)
def literals(path: str) -> tuple[bytes, ...]:
    """The names and texts that a document in UTF-8 must contain for an expression to match in it, the rarest first."""
    words = re.findall(r"'([^']*)'|\"([^\"]*)\"", path)
    names = re.findall(r"[A-Za-z_][\w.-]*", re.sub(_TEXT, "", re.sub(r"\w+:", "", path)))
    return tuple(word.encode() for word in [*(a or b for a, b in words if a or b), *reversed(names)])


def shown(element: Element) -> str:
    """An element in a line: its tag, its attributes, its text if that is short."""
    tag = element.tag.rpartition("}")[2]
    attributes = "".join(f" {key}='{value[:80]}'" for key, value in list(element.attrib.items())[:6])
    text = (element.text or "").strip()
    return f"<{tag}{attributes}>{text}</{tag}>" if text and len(text) <= 80 else f"<{tag}{attributes}/>"
