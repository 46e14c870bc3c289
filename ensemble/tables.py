"""Predictions made anywhere: two tables, CSV or Parquet, `sample_id`, `price` (out-of-fold only), one column per member."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import ID, PRICE, Strings
from core.errors import UserError, suggestion
from core.files import digest
from ensemble.matrix import Column, Matrix, assemble, select

_PARQUET = {".parquet", ".pq"}
_SHOWN = 3


def from_files(oof: Path, test: Path, *, folds: int = 5, groups: str | None = None, seed: int = 0) -> Matrix:
    """The matrix of two tables.

    groups: name of a column of `oof` whose equal values are the same product; such rows stay in one fold. Folds are made here,
    because the tables do not say which fold a row was in. Raises UserError for whatever in the tables is not as it must be.
    """
    left, right = _read(oof), _read(test)
    ids, test_ids = _ids(left, oof), _ids(right, test)
    shared = sorted(set(ids) & set(test_ids))
    if shared:
        raise UserError(
            f"{len(shared)} sample_id are in both {oof} and {test}: {_some(shared)}",
            cure="--oof takes predictions for the training rows, --test those for the rows without a price",
        )
    prices = _true_prices(left, ids, oof)
    labels = _labels(left, groups, oof)
    names = _members(left, right, oof, test, {ID, PRICE} | ({groups} if groups else set()))
    columns = [Column(name, _numbers(left, name, oof), _numbers(right, name, test)) for name in names]
    kept, notes = select(columns, ids, test_ids)
    if PRICE in right:
        notes.append(f"the column '{PRICE}' of {test} is not used")
    assignment = group_folds(labels, folds, seed)
    return assemble(
        kept,
        ids=ids,
        prices=prices,
        groups=labels,
        folds=assignment,
        test_ids=test_ids,
        catalog=digest("\x1f".join(ids), prices.astype("<f8").tobytes(), "\x1f".join(test_ids)),
        folds_hash=digest(assignment.astype("<i8").tobytes()),
        notes=tuple(notes),
    )


def group_folds(labels: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    """(n,) fold numbers 0..k-1; groups stay whole: largest first, each to the smallest fold, equal ones in seeded order.

    Raises UserError for fewer than 2 folds and for more folds than groups.
    """
    _, owners, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if not 2 <= k <= len(sizes):
        raise UserError(
            f"{k} folds cannot be made of {len(sizes)} groups of rows",
            cure=f"choose --folds between 2 and {len(sizes)}"
            if len(sizes) > 1
            else "give rows of more than one product",
        )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(k, dtype=np.int64)
    places = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        places[group] = filled.argmin()
        filled[places[group]] += sizes[group]
    return places[owners]


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is not a file", cure="check the path")
    try:
        if path.suffix.lower() in _PARQUET:
            return pd.read_parquet(path)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
        _check_header(header, path)
        return pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    except (ValueError, csv.Error) as error:  # what pandas, pyarrow and the decoder raise for contents they cannot read
        raise UserError(
            f"{path} cannot be read: {error}",
            cure="give a CSV file in UTF-8 with commas, or a Parquet file (.parquet)",
        ) from None


def _check_header(header: Sequence[str], path: Path) -> None:
    if not header:
        raise UserError(f"{path} is empty", cure="give a table with a header and one row per product")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise UserError(f"{path} is not separated by commas: its header is {header[0]!r}", cure="save it with commas")
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if doubled:
        raise UserError(f"{path} has two columns named {doubled[0]!r}", cure="give each member a name of its own")


def _ids(table: pd.DataFrame, path: Path) -> Strings:
    if ID not in table:
        raise UserError(f"{path} has no column '{ID}'", cure=suggestion(ID, map(str, table.columns)))
    if not len(table):
        raise UserError(f"{path} has a header and no rows", cure="give one row per product")
    ids = np.array([str(value) for value in table[ID].tolist()], dtype=object)
    empty = np.flatnonzero((ids == "") | table[ID].isna().to_numpy())
    if len(empty):
        raise UserError(f"{path}: row {empty[0] + 1} has no {ID}", cure="give every row its id")
    doubled = [name for name, count in Counter(ids).items() if count > 1]
    if doubled:
        raise UserError(
            f"{path}: {len(doubled)} {ID} stand on more than one row: {_some(doubled)}", cure="keep one row of each"
        )
    return ids


def _members(left: pd.DataFrame, right: pd.DataFrame, oof: Path, test: Path, reserved: set[str]) -> list[str]:
    found = [name for name in left.columns if name not in reserved]
    expected = set(found)
    given = {name for name in right.columns if name not in reserved}
    if not found:
        raise UserError(
            f"{oof} has no column with predictions", cure=f"add one column per member beside {ID} and {PRICE}"
        )
    for missing, path, other in ((expected - given, test, oof), (given - expected, oof, test)):
        if missing:
            name = min(missing)
            raise UserError(
                f"{path} has no column {name!r}, which {other} has",
                cure=f"give the same members in both files; {suggestion(name, given if path == test else expected)}",
            )
    return found


def _true_prices(table: pd.DataFrame, ids: Strings, path: Path) -> NDArray[np.float64]:
    if PRICE not in table:
        raise UserError(
            f"{path} has no column '{PRICE}' with the true prices", cure=suggestion(PRICE, map(str, table.columns))
        )
    prices = _numbers(table, PRICE, path)
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(bad):
        listed = _some([f"row {row + 1} ({ID} {ids[row]}): {table[PRICE].iloc[row]}" for row in bad])
        raise UserError(f"{path}, column '{PRICE}': {listed}", cure="true prices must be finite and greater than 0")
    return prices


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    """A column as numbers; empty cells are NaN. Raises UserError for a cell that is no number."""
    column = table[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = (
        column.isna().to_numpy() | column.astype(str).str.strip().str.lower().isin(["", "nan", "na", "null"]).to_numpy()
    )
    bad = np.flatnonzero(np.isnan(numbers) & ~empty)
    if len(bad):
        listed = _some([f"row {row + 1}: {column.iloc[row]!r}" for row in bad])
        raise UserError(f"{path}, column {name!r}: no number on {listed}", cure="give prices as plain numbers")
    return numbers


def _labels(table: pd.DataFrame, groups: str | None, path: Path) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(len(table), dtype=np.int64)
    if groups not in table or groups in (ID, PRICE):
        raise UserError(
            f"{path} has no column {groups!r} for --groups", cure=suggestion(groups, map(str, table.columns))
        )
    return pd.factorize(table[groups].astype(str))[0].astype(np.int64)


def _some(items: Iterable[object]) -> str:
    """The first few of `items`, and how many more there are."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
