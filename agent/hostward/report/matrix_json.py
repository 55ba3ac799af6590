"""The matrix of modules and kernels for programs: versioned, described by config/schema/modules.schema.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hostward.engine import Engine
from hostward.facts.module_matrix import Cell, Row
from hostward.facts.verdicts import JudgedModule
from hostward.model import as_json
from hostward.report.json import envelope
from hostward.report.matrix import Column, counts

if TYPE_CHECKING:
    from hostward.facts.module_story import Story


def document(
    engine: Engine,
    columns: Sequence[Column],
    rows: Sequence[Row],
    shown: Sequence[Row],
    problems: Sequence[str],
    status: int,
    explain: Callable[[Row, Cell], Story] | None,
) -> dict[str, Any]:
    """`rows` are all that were judged, `shown` those to be told; with `explain` each cell gets its whole story."""
    profiles = engine.fact("KernelProfiles")
    kernels = []
    for column in columns:
        files = profiles.of(column.release)
        kernels.append(
            {
                "release": as_json(column.release),
                "running": "running" in column.marks,
                "next": "next" in column.marks,
                "missing": as_json(files.kernel.missing),
                "sources": as_json(files.profile.sources),
                "cannot_tell": as_json(files.profile.cannot_tell),
            }
        )
    return {
        **envelope(engine.host),
        "status": status,
        "kernels": kernels,
        "summary": {"modules": len(rows), **counts(rows)},
        "problems": as_json(list(problems)),
        "modules": [_row(row, explain) for row in shown],
    }


def _row(row: Row, explain: Callable[[Row, Cell], Story] | None) -> dict[str, Any]:
    return {
        "name": as_json(row.name),
        "asked": as_json(row.asked),
        "how": row.how,
        "file": as_json(row.file),
        "cells": [_cell(row, cell, explain) for cell in row.cells],
    }


def _cell(row: Row, cell: Cell, explain: Callable[[Row, Cell], Story] | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kernel": as_json(cell.release),
        "outcome": cell.state,
        "by": "insmod" if cell.by_insmod else "modprobe",
        "verdict": None if cell.judged is None else judged_json(cell.judged),
        "passed_over": as_json([other.path for other in cell.others]),
        "notes": as_json(cell.notes),
    }
    if explain is not None:
        from hostward.report.story import story_json

        found["story"] = story_json(explain(row, cell))
    return found


def judged_json(judged: JudgedModule) -> dict[str, Any]:
    """A judged module, and the outcome of each that it pulls in."""
    return {
        "path": as_json(judged.path),
        "file": as_json(judged.file),
        "chosen": judged.chosen,
        "instead": as_json(judged.instead),
        "errno": judged.verdict.errno,
        "taints": judged.verdict.taints,
        "reasons": [as_json(reason._asdict()) for reason in judged.verdict.reasons],
        "cannot_tell": as_json(judged.verdict.cannot_tell),
        "providers": [
            {"name": as_json(p.name), "path": as_json(p.path), "outcome": p.verdict.outcome, "errno": p.verdict.errno}
            for p in judged.providers
        ],
    }
