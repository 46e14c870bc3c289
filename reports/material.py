"""What a report is made from: everything that it reads of a workspace, read once and checked against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import ID, Catalog
from core.errors import UserError
from core.files import read_json
from core.folds import Folds
from core.predictions import Member
from core.workspace import Facts, Workspace

Floats = NDArray[np.float64]
Record = dict[str, Any]

STACK_FORMAT = 2
"""Of the `stack.json` that a report can read."""


@dataclass(frozen=True, eq=False)
class Material:
    """trials: records of finished trials in the order they finished. members: complete ones of this catalog. stack: what
    `stack.json` holds, or None. stack_oof: (n,) nested prices of the training rows, or None. submission: whether there is
    one. notes: what of the workspace is not shown, and why.
    """

    folder: Path
    facts: Facts
    train: Catalog
    test: Catalog
    folds: Folds
    trials: tuple[Record, ...]
    members: tuple[Member, ...]
    stack: Record | None
    stack_oof: Floats | None
    submission: bool
    notes: tuple[str, ...]


def read_material(workspace: Workspace) -> Material:
    """Reads a workspace. Raises UserError for a folder that is none, and for a file in it that is damaged."""
    facts, notes = workspace.facts, list[str]()
    members = tuple(_members(workspace, notes))
    stack = _stack(workspace, notes)
    return Material(
        workspace.folder,
        facts,
        workspace.train,
        workspace.test,
        workspace.folds,
        tuple(_record(path) for path in _by_time(workspace.path("trials"))),
        members,
        stack,
        None if stack is None else _stack_oof(workspace, notes),
        workspace.path("submission.csv").exists(),
        tuple(notes),
    )


def _by_time(trials: Path) -> list[Path]:
    """Records of trials, the first written first: a trial's record does not say when it finished, its file does."""
    return sorted(trials.glob("*/trial.json"), key=lambda path: (path.stat().st_mtime_ns, path.parent.name))


def _record(path: Path) -> Record:
    try:
        record: Record = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is damaged: {error}", cure=f"move {path.parent} away; what it held can be made again"
        ) from None
    return record


def _members(workspace: Workspace, notes: list[str]) -> Iterator[Member]:
    for name in workspace.store.complete():
        _record(workspace.store.folder / name / "member.json")  # names a damaged file before the store trips over it
        member = workspace.store.read(name)
        if member.record["catalog"] != workspace.facts.catalog or len(member.oof) != len(workspace.train):
            notes.append(f"member {name} is not shown: it was made for another catalog")
        elif not np.isfinite(member.oof).any():
            notes.append(f"member {name} is not shown: it has no out-of-fold price at all")
        else:
            yield member


def _stack(workspace: Workspace, notes: list[str]) -> Record | None:
    path = workspace.path("stack.json")
    if not path.exists():
        return None
    stack = _record(path)
    if stack["format"] != STACK_FORMAT:
        notes.append("stack.json is not shown: another version wrote it; run `python -m ensemble.stack` again")
        return None
    if stack["catalog"] != workspace.facts.catalog or stack["folds"] != workspace.facts.folds:
        notes.append("stack.json is not shown: it was made for another catalog or other folds")
        return None
    return stack


def _stack_oof(workspace: Workspace, notes: list[str]) -> Floats | None:
    path = workspace.path("stack_oof.parquet")
    if not path.exists():
        notes.append("stack_oof.parquet is missing: the rows below are judged by the best member's prices")
        return None
    frame = pd.read_parquet(path)
    if frame[ID].tolist() != workspace.train.ids.tolist():
        notes.append("stack_oof.parquet has other rows than the catalog: the rows below are judged by the best member")
        return None
    return frame["stack"].to_numpy(np.float64)
