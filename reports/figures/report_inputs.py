"""Report inputs: everything read from a workspace, once, and checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.arrays import Floats, Ints
from core.atomic_files import read_json
from core.data.catalog import ID, PRICE, Catalog
from core.data.folds import Folds
from core.errors import UserError
from core.fields import read_fields
from core.quality.label_noise import FILE as LABELS
from core.quality.label_noise import SuspectLabel, read_findings
from core.quality.leaks import FILE as LEAKS
from core.quality.leaks import read_leak_notes
from core.store.oof_store import EXTERNAL, Member
from core.store.workspace import Workspace, WorkspaceFacts
from reports.figures.study_records import Record, read_studies

STACK_FORMAT = 2
"""Of the `stack.json` that a report can read."""


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """All prices are in the units of the catalog's files.

    trials: records of finished trials in the order they finished. studies: what `history.json` holds of each, trials that
    were stopped or failed too; a study made of `trials` alone where there is no history. members: complete ones of this catalog.
    stack: what `stack.json` holds, or None. stack_oof: (n,) nested prices of the training rows, or None. submitted: (t,) prices
    of the test rows, or None. timings: seconds of the stack by step. labels: rows whose price looks wrong, `labels.csv`; leaks:
    notes of possible leaks; None where nobody has looked. notes: what of the workspace is not shown, and why.
    """

    folder: Path
    facts: WorkspaceFacts
    train: Catalog
    test: Catalog
    folds: Folds
    trials: tuple[Record, ...]
    studies: tuple[Record, ...]
    members: tuple[Member, ...]
    stack: Record | None
    stack_oof: Floats | None
    submitted: Floats | None
    timings: Record
    labels: tuple[SuspectLabel, ...] | None
    leaks: tuple[str, ...] | None
    notes: tuple[str, ...]


def read_report_inputs(workspace: Workspace) -> ReportInputs:
    """Reads a workspace. Raises UserError for a folder that is none, and for a file in it that is damaged."""
    facts, notes = workspace.facts, list[str]()
    if facts.images is not None and not Path(facts.images).is_dir():
        notes.append(f"images are not shown: {facts.images} is not there any more")
    members = tuple(_members(workspace, notes))
    stack = _stack(workspace, notes)
    trials = tuple(_trial(path) for path in _by_time(workspace.path("trials")))
    return ReportInputs(
        workspace.folder,
        facts,
        workspace.train_in_units,
        workspace.test,
        workspace.folds,
        trials,
        read_studies(workspace, trials, notes),
        members,
        stack,
        None if stack is None else _stack_oof(workspace, notes),
        _submitted(workspace, notes),
        _record(path) if (path := workspace.path("timings.json")).exists() else {},
        tuple(read_findings(path)) if (path := workspace.path(LABELS)).exists() else None,
        read_leak_notes(workspace) if workspace.path(LEAKS).exists() else None,
        tuple(notes),
    )


def _by_time(trials: Path) -> list[Path]:
    """Records of trials, the first written first: a trial's record does not say when it finished, its file does."""
    return sorted(trials.glob("*/trial.json"), key=lambda path: (path.stat().st_mtime_ns, path.parent.name))


def _trial(path: Path) -> Record:
    record = _record(path, "architecture", "settings", "metrics", "seconds")
    return {**record, "config": path.parent.name, "ended": path.stat().st_mtime}


def _record(path: Path, *keys: str) -> Record:
    """Contents of the file, which must have these keys."""
    try:
        record: Record = read_json(path)
        if missing := set(keys) - set(record):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except ValueError as error:  # JSON's and UTF-8's too
        whole = path.parent if path.parent.parent.name in ("trials", "members") else path
        raise UserError(
            f"{path} is damaged: {error}",
            code="record-damaged",
            hint=f"move {whole} away; what it held can be made again",
        ) from None
    return record


def _members(workspace: Workspace, notes: list[str]) -> Iterator[Member]:
    for name in workspace.store.complete():
        _record(workspace.store.folder / name / "member.json", "catalog", "folds")  # before the store trips over it
        member = workspace.store.read(name)
        if member.record["folds"] not in (workspace.facts.folds, EXTERNAL):
            notes.append(f"member {name} is not shown: it was made on other folds")
        elif member.record["catalog"] != workspace.facts.catalog or len(member.oof) != len(workspace.train):
            notes.append(f"member {name} is not shown: it was made for another catalog")
        elif not np.isfinite(member.oof).any():
            notes.append(f"member {name} is not shown: it has no out-of-fold price at all")
        else:
            yield Member(name, workspace.in_units(member.oof), workspace.in_units(member.test), member.record)


def _stack(workspace: Workspace, notes: list[str]) -> Record | None:
    path = workspace.path("stack.json")
    if not path.exists():
        return None
    stack = _record(path, "format")
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
        notes.append("stack_oof.parquet is missing: the rows below are evaluated on the best member's prices")
        return None
    try:
        frame = pd.read_parquet(path, columns=[ID, "stack"])
        if frame[ID].tolist() == workspace.train.ids.tolist():
            return frame["stack"].to_numpy(np.float64)
        why = "has other rows than the catalog"
    except (ValueError, KeyError, OSError) as error:  # Arrow's errors are among them
        why = f"cannot be read ({str(error).partition(chr(10))[0]})"
    notes.append(
        f"stack_oof.parquet {why}: the rows below are evaluated on the best member's prices; run `python -m ensemble.stack` again"
    )
    return None


def _submitted(workspace: Workspace, notes: list[str]) -> Floats | None:
    path = workspace.path("submission.csv")
    if not path.exists():
        return None
    try:
        frame = pd.read_csv(path, dtype={ID: str, PRICE: np.float64}, usecols=[ID, PRICE], keep_default_na=False)
        prices = frame[PRICE].to_numpy(np.float64)
        if frame[ID].tolist() == workspace.test.ids.tolist() and (prices > 0).all():
            return prices
        why = "has other rows than the test file, or non-finite prices"
    except ValueError as error:  # pandas' errors are among them
        why = f"cannot be read ({str(error).partition(chr(10))[0]})"
    notes.append(f"submission.csv {why}: its prices are not shown")
    return None


MOST_FIELD_ROWS = 20_000
"""Training rows whose fields are read; of more rows so many are drawn."""
MOST_VALIDATION_ROWS = 5_000
"""Rows of each file in adversarial validation: an AUC is then known to half a point."""


@dataclass(frozen=True, eq=False)
class FieldTables:
    """Fields (`core.fields`) of `train_rows` and of `test_rows`, which rise."""

    train: pd.DataFrame
    train_rows: Ints
    test: pd.DataFrame
    test_rows: Ints

    def validation_sample(
        self, train: Catalog, test: Catalog
    ) -> tuple[Catalog, Catalog, tuple[pd.DataFrame, pd.DataFrame]]:
        """Rows of each file for adversarial validation, with their fields."""
        places = _drawn(len(self.train_rows), MOST_VALIDATION_ROWS)
        return (
            train.take(self.train_rows[places]),
            test.take(self.test_rows),
            (self.train.iloc[places].reset_index(drop=True), self.test),
        )


def read_tables(train: Catalog, test: Catalog) -> FieldTables:
    """Of all rows, or of as many as a report has time for."""
    inside, outside = _drawn(len(train), MOST_FIELD_ROWS), _drawn(len(test), MOST_VALIDATION_ROWS)
    return FieldTables(read_fields(train.texts[inside]), inside, read_fields(test.texts[outside]), outside)


def _drawn(rows: int, most: int) -> Ints:
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False)).astype(np.int64)
