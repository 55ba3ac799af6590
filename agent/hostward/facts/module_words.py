"""What a word of a person means: a module's name, an alias, a module file, or a package."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from hostward.facts.module_matrix import ABSENT, Matrix, Row
from hostward.facts.packages import Packages
from hostward.host import Host

_FILE = re.compile(r"\.ko(?:\.(?:gz|xz|zst))?$")


def rows_of(word: str, matrix: Matrix, packages: Callable[[], Packages | None], here: str) -> list[Row]:
    """The rows that a word means on the kernels of the matrix; `here` is the directory that a relative path begins at.

    Raises LookupError, with what is called nearly so, for a word that means nothing on any of them; HostError for a
    file that can't be read.
    """
    if "/" in word or _FILE.search(word):
        return [replace(_file(word, matrix, here), asked=word, how="file")]
    names: dict[str, str] = {}
    for release in matrix.releases:
        modprobe = matrix.modprobes.of(release)
        if modprobe is not None:
            meaning = modprobe.meaning(word)
            for name in meaning.modules:
                names.setdefault(name, meaning.how)
    plain = word.replace("-", "_")
    if plain in matrix.outside_names():
        names.setdefault(plain, "name")
    rows = [replace(row, asked=word, how=names[row.name]) for row in matrix.rows(list(names))]
    rows = [row for row in rows if any(cell.state != ABSENT for cell in row.cells)]
    if rows:
        return rows
    owned = packages()
    owners = {} if owned is None else owned.owners
    of_package = {
        module.name
        for release in matrix.releases
        for module in matrix.outside(release)
        if (module.file or module.path) in owners and owners[module.file or module.path].package == word
    }
    if of_package:
        return [replace(row, asked=word, how="package") for row in matrix.rows(sorted(of_package))]
    raise LookupError(_unknown(word, plain, matrix, {owner.package for owner in owners.values()}))


def _file(word: str, matrix: Matrix, here: str) -> Row:
    """A file of the host first, named from inside it or by its whole path out here; else one of this machine."""
    host = matrix.host
    outer = word if word.startswith("/") else f"{here.rstrip('/')}/{word}"
    inner = outer[len(host.root.rstrip("/")) :] if outer.startswith(host.root.rstrip("/") + "/") else ""
    for path in (inner, word if word.startswith("/") else ""):
        if path and (host.exists(path) or host.is_link(path)):
            return matrix.file_row(path, host)
    if not host.live:
        machine = Host.running()
        if machine.exists(outer):
            return matrix.file_row(outer, machine)
    raise LookupError(f"{word}: no such file" + ("" if host.live else f", neither in {host.root} nor on this machine"))


def _unknown(word: str, plain: str, matrix: Matrix, packages: set[str]) -> str:
    import difflib

    names = matrix.all_names()
    near = difflib.get_close_matches(plain, names, 3, 0.6) or difflib.get_close_matches(word, sorted(packages), 3, 0.6)
    where = f"kernel {matrix.releases[0]} has" if len(matrix.releases) == 1 else "any of these kernels has"
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{word}: no module, alias or package that {where} is called so{hint}"
