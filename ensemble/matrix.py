"""The matrix that a stack is made from: out-of-fold and test prices of every member, checked before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.catalog import Strings
from core.errors import UserError
from core.files import digest
from core.workspace import Facts, Workspace

Floats = NDArray[np.float64]
EXTERNAL = "external"
"""The `folds` of a member whose predictions were made outside, on folds that nobody here knows."""
MIN_ROWS = 10
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Matrix:
    """n training rows, t test rows, m members.

    ids, test_ids: (n,), (t,) str. prices: (n,) true prices. oof: (n, m), test: (t, m) prices in currency units; everything is
    finite and > 0. folds: (n,) the fold of each row. groups: (n,), rows of the same product share a number. names: m ids of
    members. seconds: what each member's training took, where known. catalog, folds_hash: which data this is. notes:
    what a user should know of how the matrix was made, one sentence each.
    """

    ids: Strings
    prices: Floats
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]
    oof: Floats
    test_ids: Strings
    test: Floats
    names: tuple[str, ...]
    catalog: str
    folds_hash: str
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """A hash of each member's predictions."""
        columns = zip(self.names, self.oof.T, self.test.T, strict=True)
        return {name: digest(_bytes(oof), _bytes(test)) for name, oof, test in columns}


@dataclass(frozen=True, eq=False)
class Column:
    """One member's predictions before they are checked. folds: the hash it was trained on."""

    name: str
    oof: Floats
    test: Floats
    seconds: float | None = None


def from_workspace(workspace: Workspace) -> Matrix:
    """All complete members of a workspace. Raises UserError where there is none, or one belongs to other data."""
    facts = workspace.facts
    train, test = workspace.train, workspace.test
    columns, notes = [], []
    for name in workspace.store.complete():
        member = workspace.store.read(name)
        _check_origin(name, member.record, facts, workspace)
        if member.record["folds"] == EXTERNAL:
            notes.append(
                f"member {name} was made outside: its folds are not known to be these, its score may be too good"
            )
        seconds = member.record.get("seconds")
        columns.append(Column(name, member.oof, member.test, None if seconds is None else float(seconds)))
    if not columns:
        raise UserError(
            f"the workspace {workspace.folder} has no complete member to stack",
            cure="run `python -m experiments.sweep` until it has cross-validated a member, or give more --minutes",
        )
    kept, left_out = select(columns, train.ids, test.ids)
    return assemble(
        kept,
        ids=train.ids,
        prices=train.known_prices,
        groups=workspace.folds.groups,
        folds=workspace.folds.assignment,
        test_ids=test.ids,
        catalog=facts.catalog,
        folds_hash=facts.folds,
        notes=(*notes, *left_out),
    )


def select(columns: Sequence[Column], ids: Strings, test_ids: Strings) -> tuple[list[Column], list[str]]:
    """(columns without holes, a note on each one left out). Raises UserError for infinite, zero or negative prices, for
    columns of the wrong length, and if every column has holes."""
    kept, notes = [], []
    for column in columns:
        parts = ((column.oof, ids, "out-of-fold", "training"), (column.test, test_ids, "test", "test"))
        holes = [_holes(values, names, what, rows, column.name) for values, names, what, rows in parts]
        if any(holes):
            notes.append(f"member {column.name} is left out: {' and '.join(hole for hole in holes if hole)}")
        else:
            kept.append(column)
    if not kept:
        raise UserError(
            "no member has a price for every row: " + "; ".join(notes),
            cure="finish the folds of at least one member (run the sweep again), or fill the holes in the files",
        )
    return kept, notes


def assemble(
    columns: Sequence[Column],
    *,
    ids: Strings,
    prices: Floats,
    groups: NDArray[np.int64],
    folds: NDArray[np.int64],
    test_ids: Strings,
    catalog: str,
    folds_hash: str,
    notes: tuple[str, ...] = (),
) -> Matrix:
    """The matrix of checked columns. Raises UserError for fewer than MIN_ROWS rows."""
    if len(ids) < MIN_ROWS:
        raise UserError(
            f"{len(ids)} training rows are too few to choose a combination by; at least {MIN_ROWS} are needed",
            cure="give more training rows, or submit the best single member",
        )
    return Matrix(
        ids=ids,
        prices=prices,
        groups=groups,
        folds=folds,
        oof=np.column_stack([column.oof for column in columns]),
        test_ids=test_ids,
        test=np.column_stack([column.test for column in columns]),
        names=tuple(column.name for column in columns),
        catalog=catalog,
        folds_hash=folds_hash,
        seconds={column.name: column.seconds for column in columns if column.seconds is not None},
        notes=notes,
    )


def _check_origin(name: str, record: dict[str, object], facts: Facts, workspace: Workspace) -> None:
    for what, expected in (("catalog", facts.catalog), ("folds", facts.folds)):
        found = record[what]
        if found != expected and not (what == "folds" and found == EXTERNAL):
            raise UserError(
                f"member {name} was made for {what} {found}, but the workspace {workspace.folder} has {what} {expected}",
                cure=f"move {workspace.store.folder / name} away, or stack it in the workspace that it was trained in",
            )


def _holes(values: Floats, ids: Strings, what: str, rows: str, member: str) -> str:
    """What is missing in one member's prices, or an empty string."""
    if len(values) != len(ids):
        raise UserError(
            f"member {member} has {len(values)} {what} prices for {len(ids)} {rows} rows",
            cure="remove that member and train it again",
        )
    missing = np.isnan(values)
    bad = np.flatnonzero(~missing & ~(np.isfinite(values) & (values > 0)))
    if len(bad):
        listed = ", ".join(f"row {row + 1} (sample_id {ids[row]}): {values[row]:g}" for row in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"member {member} has {what} prices that are no prices: {listed}{more}",
            cure="prices must be finite, greater than 0 and in currency units (undo the logarithm if it was not undone)",
        )
    if not missing.any():
        return ""
    first = np.flatnonzero(missing)[0]
    return f"{missing.sum()} of {len(ids)} {rows} rows have no {what} price (the first: row {first + 1}, sample_id {ids[first]})"


def _bytes(values: Floats) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()
