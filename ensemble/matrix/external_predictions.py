"""Reader of external predictions: two tables with ids, true prices and one column per member."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.atomic_files import digest
from core.data.catalog import ID, PRICE, Strings
from core.data.catalog_config import FileFormatConfig, PriceFormat
from core.data.folds import inner_folds
from core.data.price_format import read_prices
from core.data.price_scale import choose_scale, to_scale
from core.data.row_source import cell_text
from core.data.table_reader import UNNAMED, is_row_number
from core.data.table_reader import read_table as read_texts
from core.data.unpacking import TableFormat, open_table
from core.errors import UserError, some, suggestion
from ensemble.matrix.matrix import DataHashes, Matrix, assemble
from ensemble.matrix.row_features import RowFeatures, codes, frequent, from_columns
from ensemble.matrix.screening import Column, ScreeningConfig, Targets, select

_FOLDS = 5
"""Default number of folds, if there are as many groups."""
_FLOAT_ID = re.compile(r"\d+\.0+")
_PLAIN = "give prices as plain numbers"


@dataclass(frozen=True)
class PredictionTable:
    """frame: the columns of a file, texts as they are, or Parquet's types. notes: for people, on how it was read.

    price_format: how its prices are written; None: found by the column.
    """

    path: Path
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    price_format: PriceFormat | None = None

    def not_predictions(self, others: Collection[str]) -> list[str]:
        """Columns beside these that only number the rows, as an index that pandas or R wrote, or that have neither name nor value
        (a separator at each line's end); they are noted."""
        found = []
        for name in self.frame.columns:
            if name in others:
                continue
            texts = [cell_text(value) for value in self.frame[name].tolist()]
            if is_row_number(str(name), texts) or (str(name).startswith(UNNAMED) and not any(texts)):
                found.append(name)
        if found:
            self.notes.append(f"{self.path}: left out, for they number the rows or are empty: {some(map(repr, found))}")
        return found


@dataclass(frozen=True)
class FoldSplit:
    """Number of folds (five, or one per group where there are fewer) and the seed they are made by."""

    folds: int | None = None
    seed: int = 0


def from_files(
    oof: Path,
    test: Path,
    *,
    split: FoldSplit | None = None,
    groups: str | None = None,
    features: Sequence[str] = (),
    rules: ScreeningConfig | None = None,
    table: FileFormatConfig | None = None,
) -> Matrix:
    """The matrix of two tables.

    groups: name of a column of `oof` whose equal values are the same product; such rows stay in one fold. features: names of
    columns of both that are no members but describe the row. Folds are made here, because the tables do not say
    which fold a row was in. Raises UserError for whatever in the tables is not as it must be.
    """
    left, right = read_table(oof, table), read_table(test, table)
    ids, test_ids = read_ids(left), read_ids(right)
    prices = _true_prices(left, ids)
    labels = _labels(left.frame, groups, oof)
    known = _features(left, right, features)
    reserved = {ID, PRICE, *features} | ({groups} if groups else set())
    others = {*left.not_predictions(reserved), *right.not_predictions(reserved)}
    names = _members(left, right, reserved | others)
    hint = f"{_PLAIN}; name a column that is no member with --features or --groups"
    columns = [Column(name, read_numbers(left, name, hint), read_numbers(right, name, hint)) for name in names]
    _check_other_rows((oof, ids), (test, test_ids), columns)
    targets = Targets(ids, prices, labels, test_ids)
    rules = rules or ScreeningConfig()
    dropped = tuple(name for name in rules.drop if name not in others)
    kept, notes = select(columns, targets, rules.model_copy(update={"drop": dropped}))
    scale = choose_scale(prices)
    kept = [replace(each, oof=to_scale(each.oof, scale), test=to_scale(each.test, scale)) for each in kept]
    notes = [*left.notes, *right.notes, *notes]
    if PRICE in right.frame:
        notes.append(f"the column '{PRICE}' of {test} is not used")
    notes += [
        f"the feature {name!r} is not used: it separates no training rows (one value, or words of fewer than 5 rows)"
        for name in features
        if name not in known.names
    ]
    split = split or FoldSplit()
    folds = split.folds or min(_FOLDS, len(np.unique(labels)))
    assignment = group_folds(labels, folds, split.seed)
    return assemble(
        kept,
        targets=replace(targets, prices=to_scale(prices, scale), scale=scale),
        folds=assignment,
        hashes=DataHashes(
            digest("\x1f".join(ids), prices.astype("<f8").tobytes(), "\x1f".join(test_ids)),
            digest(assignment.astype("<i8").tobytes()),
        ),
        features=known,
        notes=tuple(notes),
    )


def _check_other_rows(left: tuple[Path, Strings], right: tuple[Path, Strings], columns: Sequence[Column]) -> None:
    """Raises UserError where rows of both files have the same id and the same predictions: one file stands for the other.

    Equal ids alone say nothing: each file may count its rows from 0.
    """
    rows = [
        {(name, *values) for name, *values in zip(ids, *parts, strict=True)}
        for ids, parts in ((left[1], [each.oof for each in columns]), (right[1], [each.test for each in columns]))
    ]
    if shared := sorted(name for name, *_ in rows[0] & rows[1]):
        raise UserError(
            f"{len(shared)} rows have the same {ID} and predictions in {left[0]} and {right[0]}: {some(shared)}",
            code="predictions-shared-ids",
            hint="--oof takes predictions for the training rows, --test those for the rows without a price",
        )


def group_folds(labels: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    """(n,) fold numbers 0..k-1; groups stay whole: largest first, each to the smallest fold, equal ones in seeded order.

    Raises UserError for fewer than 2 folds and for more folds than groups.
    """
    count = len(np.unique(labels))
    if not 2 <= k <= count:
        raise UserError(
            f"{k} folds cannot be made of {count} groups of rows",
            code="predictions-too-few-groups",
            hint=f"choose --folds between 2 and {count}" if count > 1 else "give rows of more than one product",
        )
    return inner_folds(labels, k, seed)


def read_table(path: Path, config: FileFormatConfig | None = None) -> PredictionTable:
    """A table of any format that catalogs may have. Raises UserError for what is none."""
    config = config or FileFormatConfig()
    if not path.is_file():
        raise UserError(f"{path} is not a file", code="predictions-missing-file", hint="check the path")
    with open_table(path) as opened:
        if opened.format is TableFormat.PARQUET and config.sheet is None:
            try:
                frame = pd.read_parquet(opened.stream)
                return PredictionTable(path, frame, opened.notes, config.price_format)
            except (ValueError, OSError) as error:  # what pyarrow raises for contents that it cannot read
                raise UserError(
                    f"{path} cannot be read: {error}",
                    code="predictions-unreadable",
                    hint="write or copy the file again",
                ) from None
    table = read_texts(path, (), sheet=config.sheet)
    if table.repeated:
        raise UserError(
            f"{path} has two columns named {min(table.repeated)!r}",
            code="predictions-doubled-column",
            hint="give each member a name of its own",
        )
    return PredictionTable(path, pd.DataFrame(table.columns), list(table.notes), config.price_format)


def _check_column(table: PredictionTable, name: str, what: str, code: str) -> None:
    """Raises UserError, with the nearest column, where the table has none of that name."""
    if name not in table.frame:
        raise UserError(what, code=code, hint=suggestion(name, map(str, table.frame.columns)))


def read_ids(table: PredictionTable) -> Strings:
    """The sample_id of each row as text. Raises UserError where one is missing or doubled, and for a table without rows."""
    path, frame = table.path, table.frame
    _check_column(table, ID, f"{path} has no column '{ID}'", "predictions-no-id-column")
    if not len(frame):
        raise UserError(f"{path} has a header and no rows", code="predictions-no-rows", hint="give one row per product")
    missing = frame[ID].isna().to_numpy()
    ids = np.array(
        ["" if none else cell_text(value) for value, none in zip(frame[ID].tolist(), missing, strict=True)],
        dtype=object,
    )
    if len(ids) and all(map(_FLOAT_ID.fullmatch, ids)):
        ids = np.array([each.partition(".")[0] for each in ids], dtype=object)
        table.notes.append(f"{path}: every {ID} is a whole number written as {frame[ID].iloc[0]}: read as {ids[0]}")
    empty = np.flatnonzero(ids == "")
    if len(empty):
        raise UserError(
            f"{path}: row {empty[0] + 1} has no {ID}", code="predictions-row-without-id", hint="give every row its id"
        )
    doubled = [name for name, count in Counter(ids).items() if count > 1]
    if doubled:
        raise UserError(
            f"{path}: {len(doubled)} {ID} stand on more than one row: {some(doubled)}",
            code="predictions-doubled-ids",
            hint="keep one row of each",
        )
    return ids


def _members(left: PredictionTable, right: PredictionTable, reserved: set[str]) -> list[str]:
    oof, test = left.path, right.path
    found = [name for name in left.frame.columns if name not in reserved]
    expected = set(found)
    given = {name for name in right.frame.columns if name not in reserved}
    if not found:
        raise UserError(
            f"{oof} has no column with predictions",
            code="predictions-no-member",
            hint=f"add one column per member beside {ID} and {PRICE}",
        )
    for missing, path, other in ((expected - given, test, oof), (given - expected, oof, test)):
        if missing:
            name = min(missing)
            raise UserError(
                f"{path} has no column {name!r}, which {other} has",
                code="predictions-member-missing",
                hint=f"give the same members in both files; {suggestion(name, given if path == test else expected)}",
            )
    return found


def _true_prices(table: PredictionTable, ids: Strings) -> NDArray[np.float64]:
    path = table.path
    _check_column(table, PRICE, f"{path} has no column '{PRICE}' with the true prices", "predictions-no-true-prices")
    prices = read_numbers(table, PRICE)
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(bad):
        listed = some([f"row {row + 1} ({ID} {ids[row]}): {table.frame[PRICE].iloc[row]}" for row in bad])
        raise UserError(
            f"{path}, column '{PRICE}': {listed}",
            code="predictions-bad-true-prices",
            hint="true prices must be finite and greater than 0",
        )
    return prices


def read_numbers(table: PredictionTable, name: str, hint: str = _PLAIN) -> NDArray[np.float64]:
    """A column as numbers; empty cells are NaN. Cells that are no plain numbers are read as a catalog's prices are, with a note.

    Raises UserError for a cell that is no number.
    """
    column, path = table.frame[name], table.path
    numbers = _as_numbers(column)
    unread = (np.isnan(numbers) & ~_empty(column)).any() or table.price_format is not None
    if unread and pd.api.types.is_string_dtype(column):
        texts = column.fillna("").tolist()
        prices = read_prices(texts, f"{path}, column {name!r}", lambda row: f"row {row + 1}", table.price_format)
        numbers = prices.numbers
        table.notes.extend(filter(None, [prices.rule]))
    bad = np.flatnonzero(np.isnan(numbers) & ~_empty(column))
    if len(bad):
        listed = some([f"row {row + 1}: {column.iloc[row]!r}" for row in bad])
        raise UserError(f"{path}, column {name!r}: no number on {listed}", code="predictions-not-numbers", hint=hint)
    return numbers


def _as_numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """NaN for whatever is no number."""
    texts = column.astype(str) if pd.api.types.is_datetime64_any_dtype(column) else column
    return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _empty(column: pd.Series[Any]) -> NDArray[np.bool_]:
    texts = column.astype(str).str.strip().str.lower()
    return np.asarray(column.isna() | texts.isin(["", "nan", "na", "null"]), dtype=bool)


def _features(left: PredictionTable, right: PredictionTable, names: Sequence[str]) -> RowFeatures:
    """The named columns of both tables: numbers as they are, anything else as codes."""
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for name in names:
        if name in (ID, PRICE):
            raise UserError(
                f"--features {name}: the column '{name}' is no feature",
                code="predictions-no-feature",
                hint="name another column",
            )
        for table in (left, right):
            _check_column(
                table, name, f"--features: {table.path} has no column {name!r}", "predictions-feature-missing"
            )
        parts = left.frame[name], right.frame[name]
        numbers = [_as_numbers(part) for part in parts]
        if all((np.isnan(values) <= _empty(part)).all() for values, part in zip(numbers, parts, strict=True)):
            found[name] = (numbers[0], numbers[1])
        else:
            first, second = (np.where(_empty(part), "", part.astype(str)) for part in parts)
            known = frequent(first)
            found[name] = codes(first, known), codes(second, known)
    return from_columns(found, len(left.frame), len(right.frame))


def _labels(table: pd.DataFrame, groups: str | None, path: Path) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(len(table), dtype=np.int64)
    if groups not in table or groups in (ID, PRICE):
        raise UserError(
            f"{path} has no column {groups!r} for --groups",
            code="predictions-no-group-column",
            hint=suggestion(groups, map(str, table.columns)),
        )
    labels, known = pd.factorize(table[groups].replace("", None))
    alone = labels < 0  # an empty cell names no product
    labels[alone] = len(known) + np.arange(alone.sum())
    return labels.astype(np.int64)
