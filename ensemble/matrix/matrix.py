"""Level-one matrix: out-of-fold and test predictions of every member, aligned and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.data.catalog import Strings
from core.data.price_scale import UNSCALED
from core.errors import UserError
from core.protocols.architecture import LEVELS
from core.quality.leaks import read_leak_notes
from core.store.oof_store import EXTERNAL
from core.store.workspace import Workspace, WorkspaceFacts
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.matrix.row_features import RowFeatureReader, RowFeatures, of_catalog
from ensemble.matrix.screening import Column, ScreeningConfig, Targets, select

MIN_STACK_ROWS = 10


@dataclass(frozen=True, eq=False)
class Matrix:
    """n training rows, t test rows, m members, f features.

    ids, test_ids: (n,), (t,) str. prices: (n,) true prices. oof: (n, m), test: (t, m) predicted prices; all prices are divided by
    `scale` (`core.data.price_scale`), finite and > 0. folds: (n,) the fold of each row. groups: (n,), rows of the same
    product share a number. names: m ids of members. catalog, folds_hash: which data this is. features: (n, f), test_features:
    (t, f) numbers about each row, NaN where unknown, under feature_names; f may be 0. external: names of members made
    outside, on unknown folds. left_out: names of members that the checks or the user left out. seconds: what each member's
    training took, where known. quantiles: of the training and of the test rows, by the members that give any; None where none
    does. reader: gives new rows these features, None where they are columns of tables. notes: what a user should know of how
    the matrix was made, one sentence each.
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
    features: Floats
    test_features: Floats
    feature_names: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    reader: RowFeatureReader | None = None
    quantiles: tuple[MemberQuantiles, MemberQuantiles] | None = None
    notes: tuple[str, ...] = ()
    scale: float = UNSCALED

    @property
    def train_rows(self) -> Rows:
        """The training rows, which combinations are fitted to."""
        return Rows(self.oof, self.features, None if self.quantiles is None else self.quantiles[0])

    @property
    def test_rows(self) -> Rows:
        """The test rows, which the submission prices."""
        return Rows(self.test, self.test_features, None if self.quantiles is None else self.quantiles[1])

    @property
    def fingerprints(self) -> dict[str, str]:
        """A hash of each member's predictions."""
        columns = zip(self.names, self.oof.T, self.test.T, strict=True)
        return {name: Column(name, oof, test).fingerprint for name, oof, test in columns}


class DataHashes(NamedTuple):
    """Hashes of the catalog and of the folds that predictions were made for."""

    catalog: str
    folds: str


def from_workspace(workspace: Workspace, rules: ScreeningConfig | None = None) -> Matrix:
    """The complete members of a workspace that pass the checks, beside the fields of its texts.

    Raises UserError where there is none, where one belongs to other data, and for what `select` refuses.
    """
    facts = workspace.facts
    train, test = workspace.train, workspace.test
    columns = []
    for name in workspace.store.complete():
        member = workspace.store.read(name)
        _check_origin(name, member.record, facts, workspace)
        seconds = member.record.get("seconds")
        columns.append(
            Column(
                name,
                member.oof,
                member.test,
                seconds=None if seconds is None else float(seconds),
                kind=member.record.get("architecture", "member"),
                external=member.record["folds"] == EXTERNAL,
                quantiles=stored_quantiles(workspace, name),
            )
        )
    if not columns:
        raise UserError(
            f"the workspace {workspace.folder} has no complete member to stack",
            code="stack-no-member",
            hint="run `python -m experiments.sweep` until it has cross-validated a member, or give more --minutes",
        )
    targets = Targets(train.ids, train.known_prices, workspace.folds.groups, test.ids, facts.scale)
    kept, notes = select(columns, targets, rules or ScreeningConfig())
    taken = {column.name for column in kept}
    outside = [
        f"member {column.name} was made outside: its folds are not known to be these, its score may be too good"
        for column in kept
        if column.external
    ]
    return assemble(
        kept,
        targets=targets,
        folds=workspace.folds.assignment,
        hashes=DataHashes(facts.catalog, facts.folds),
        features=of_catalog(train, test, workspace.cache()),
        left_out=tuple(column.name for column in columns if column.name not in taken),
        notes=(*read_leak_notes(workspace), *outside, *notes),
    )


def assemble(
    columns: Sequence[Column],
    *,
    targets: Targets,
    folds: NDArray[np.int64],
    hashes: DataHashes,
    features: RowFeatures,
    left_out: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Matrix:
    """The matrix of checked columns. Raises UserError for fewer than MIN_STACK_ROWS rows."""
    if len(targets.ids) < MIN_STACK_ROWS:
        raise UserError(
            f"{len(targets.ids)} training rows are too few to choose a combination by; at least {MIN_STACK_ROWS} are needed",
            code="stack-too-few-rows",
            hint="give more training rows, or submit the best single member",
        )
    return Matrix(
        ids=targets.ids,
        prices=targets.prices,
        groups=targets.groups,
        folds=folds,
        oof=np.column_stack([column.oof for column in columns]),
        test_ids=targets.test_ids,
        test=np.column_stack([column.test for column in columns]),
        names=tuple(column.name for column in columns),
        catalog=hashes.catalog,
        folds_hash=hashes.folds,
        features=features.train,
        test_features=features.test,
        feature_names=features.names,
        external=tuple(column.name for column in columns if column.external),
        seconds={column.name: column.seconds for column in columns if column.seconds is not None},
        left_out=left_out,
        reader=features.reader,
        quantiles=_quantiles(columns),
        notes=notes,
        scale=targets.scale,
    )


def stored_quantiles(workspace: Workspace, name: str) -> tuple[Floats, Floats] | None:
    """A member's quantiles of the training and of the test rows. Raises UserError for others than those of LEVELS."""
    parts = [workspace.store.quantiles(name, part) for part in ("oof", "test")]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    for part, rows in zip(found, (len(workspace.train), len(workspace.test)), strict=True):
        if part.shape != (rows, len(LEVELS)):
            raise UserError(
                f"member {name} has quantiles of shape {part.shape} where {rows} rows have {len(LEVELS)} each",
                code="member-quantiles-shape",
                hint="remove that member and train it again",
            )
    return found[0], found[1]


def _quantiles(columns: Sequence[Column]) -> tuple[MemberQuantiles, MemberQuantiles] | None:
    """Of the columns whose quantiles are prices everywhere: where a fold is missing there is no distribution to complete."""
    given = [
        (place, column.quantiles)
        for place, column in enumerate(columns)
        if column.quantiles is not None
        and all(np.isfinite(part).all() and (part > 0).all() for part in column.quantiles)
    ]
    if not given:
        return None
    places = [place for place, _ in given]
    train, test = (MemberQuantiles.of(places, [parts[side] for _, parts in given]) for side in (0, 1))
    return train, test


def _check_origin(name: str, record: dict[str, object], facts: WorkspaceFacts, workspace: Workspace) -> None:
    for what, expected in (("catalog", facts.catalog), ("folds", facts.folds)):
        found = record[what]
        if found != expected and not (what == "folds" and found == EXTERNAL):
            raise UserError(
                f"member {name} was made for {what} {found}, but the workspace {workspace.folder} has {what} {expected}",
                code="member-other-data",
                hint=f"move {workspace.store.folder / name} away, or stack it in the workspace that it was trained in",
            )
