"""Version comparison exactly as rpm does it (rpmio/rpmvercmp.c, rpm-version(7))."""

from __future__ import annotations

import functools
import re

_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+")
_NOISE = re.compile(r"[^0-9a-zA-Z~^]+")


def rpmvercmp(a: str, b: str) -> int:
    """-1, 0 or 1 as version or release `a` is older than, equal to or newer than `b`.

    Runs of digits compare as numbers, runs of letters as text, digits are newer than letters;
    everything else only separates.  `~` sorts before the end of the text, `^` after it but before
    anything else that could follow.
    """
    if a == b:
        return 0
    while a or b:
        a = _NOISE.sub("", a, count=1) if a and _NOISE.match(a) else a
        b = _NOISE.sub("", b, count=1) if b and _NOISE.match(b) else b
        if a.startswith("~") or b.startswith("~"):
            if not a.startswith("~"):
                return 1
            if not b.startswith("~"):
                return -1
            a, b = a[1:], b[1:]
            continue
        if a.startswith("^") or b.startswith("^"):
            if not a:
                return -1
            if not b:
                return 1
            if not a.startswith("^"):
                return 1
            if not b.startswith("^"):
                return -1
            a, b = a[1:], b[1:]
            continue
        if not a or not b:
            break
        one, two = _SEGMENT.match(a), _SEGMENT.match(b)
        assert one and two, "separators were skipped and neither side is at its end"
        x, y = one.group(), two.group()
        if x[0].isdigit() != y[0].isdigit():
            return 1 if x[0].isdigit() else -1
        a, b = a[len(x) :], b[len(y) :]
        if x[0].isdigit():
            x, y = x.lstrip("0"), y.lstrip("0")
            if len(x) != len(y):
                return 1 if len(x) > len(y) else -1
        if x != y:
            return 1 if x > y else -1
    if not a and not b:
        return 0
    return 1 if a else -1


def parse_evr(evr: str) -> tuple[str, str, str]:
    """`[epoch:]version[-release]` as its three parts; a missing epoch is "0", a missing release is ""."""
    head, colon, rest = evr.partition(":")
    epoch, version = (head or "0", rest) if colon and (head.isdigit() or not head) else ("0", evr)
    version, _, release = version.rpartition("-") if "-" in version else (version, "", "")
    return epoch, version, release


def compare_evr(a: str, b: str) -> int:
    """-1, 0 or 1 by epoch, then version, then release.

    As in a package's dependencies, the release counts only where both sides name one:
    `2.6.18` equals `2.6.18-203.el5`.
    """
    (ea, va, ra), (eb, vb, rb) = parse_evr(a), parse_evr(b)
    order = rpmvercmp(ea.lstrip("0"), eb.lstrip("0")) or rpmvercmp(va, vb)
    if order or not ra or not rb:
        return order
    return rpmvercmp(ra, rb)


version_key = functools.cmp_to_key(compare_evr)


def satisfies(version: str, condition: str) -> bool:
    """Whether `version` meets a condition such as `< 2.6.18-203.el5` or `>= 5.14, < 6.0` (all must hold).

    Raises ValueError for a condition that is not one.
    """
    for term in condition.split(","):
        match = re.fullmatch(r"\s*(<=|>=|<|>|==|=|!=)\s*(\S+)\s*", term)
        if not match:
            raise ValueError(f"not a version condition: {condition!r} (want e.g. '< 2.6.18-203.el5')")
        order, wanted = compare_evr(version, match.group(2)), match.group(1)
        met = {
            "<": order < 0,
            "<=": order <= 0,
            ">": order > 0,
            ">=": order >= 0,
            "=": order == 0,
            "==": order == 0,
            "!=": order != 0,
        }
        if not met[wanted]:
            return False
    return True
