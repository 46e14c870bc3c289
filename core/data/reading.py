"""Catalog reading: CSV files to checked catalogs, with every bad row named; the only entry for rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.data.catalog import ID, LINK, PRICE, TEXT, Catalog
from core.data.table_reader import Table, read_table, read_tables
from core.errors import UserError

Role = Literal["train", "test"]
MAX_TEXT = 100_000
MIN_TRAIN_ROWS = 20
"""Four rows for each of five folds: with fewer, a fold's score says nothing and its price quantiles are empty."""
_REQUIRED: dict[str, tuple[str, ...]] = {"train": (ID, TEXT, PRICE), "test": (ID, TEXT)}


@dataclass(frozen=True)
class ReadResult:
    """Both catalogs, and notes for people on how they were read."""

    train: Catalog
    test: Catalog
    notes: list[str]


def read_catalogs(train: Path, test: Path, images: Path | None, *, drop_bad: bool = False) -> ReadResult:
    """Reads and checks both files; `images` is the pictures' folder (the pictures themselves are looked at elsewhere).

    Raises UserError that names file, row, column, value and hint for everything wrong with a file at once.
    `drop_bad` leaves bad training rows out, with a note; a test row is never dropped.
    """
    _check_images(images)
    tables = read_table(train, _REQUIRED["train"]), read_table(test, _REQUIRED["test"])
    known, train_notes = _checked(tables[0], "train", images, drop_bad, set(tables[1].columns[ID]))
    asked, test_notes = _checked(tables[1], "test", images, False, ())
    return ReadResult(known, asked, train_notes + test_notes)


def read_catalog(
    path: Path, role: Role, *, images: Path | None = None, drop_bad: bool = False, taken: Collection[str] = ()
) -> tuple[Catalog, list[str]]:
    """One file and its notes. `taken`: ids that a training file may not use. Raises UserError as `read_catalogs` does."""
    return _checked(read_table(path, _REQUIRED[role]), role, images, drop_bad and role == "train", taken)


def read_in_parts(path: Path, rows: int, *, images: Path | None = None) -> Iterator[tuple[Catalog, list[str]]]:
    """A test file of any size, `rows` rows at a time, with the notes of each part; only ids are kept in memory.

    Raises UserError as `read_catalogs` does, once it comes to the place; a caller that must not act on half a file reads all
    parts first.
    """
    _check_images(images)
    seen: set[str] = set()
    for table in read_tables(path, _REQUIRED["test"], rows):
        part = _checked(table, "test", images, False, ())
        twice = [row for row, name in enumerate(table.columns[ID]) if name in seen]
        if twice:
            raise complaint(table, [Offence(ID, "id used before", np.array(twice, dtype=np.intp))], "test")
        seen.update(table.columns[ID])
        yield part


def _check_images(images: Path | None) -> None:
    if images is not None and not images.is_dir():
        kind = "is a file, not a folder" if images.exists() else "does not exist"
        raise UserError(
            f"the pictures' folder {images} {kind}",
            code="images-no-folder",
            hint="name the folder that holds the pictures with --images",
        )


def _checked(
    table: Table, role: Role, images: Path | None, drop_bad: bool, taken: Collection[str]
) -> tuple[Catalog, list[str]]:
    found = offences(table, role, taken)
    if found and not drop_bad:
        raise complaint(table, found, role)
    dropped = bad_rows(found)
    notes = list(table.notes)
    notes += [f"{table.path}: {len(dropped)} bad rows dropped ({counts(found)})"] if found else []
    kept = np.delete(np.arange(len(table)), dropped)
    if role == "train" and len(kept) < MIN_TRAIN_ROWS:
        raise UserError(
            f"{table.path}: {len(kept)} usable training rows; at least {MIN_TRAIN_ROWS} are needed, "
            "so that each of five folds has four to be evaluated on",
            code="catalog-too-few-rows",
            hint="give more rows with known prices",
        )
    notes += _cut(table)
    if role == "test" and PRICE in table.columns:
        notes.append(f"{table.path}: column {PRICE} of the test file is not used")
    ids, texts, links = (
        np.array(table.columns.get(name, [""] * len(table)), dtype=object) for name in (ID, TEXT, LINK)
    )
    prices = parsed_prices(table.columns[PRICE]) if role == "train" else None
    return Catalog(ids, texts, links, prices, images=images).take(kept), notes


def _cut(table: Table) -> list[str]:
    """Shortens texts over the limit in place; one note per file names the first ten."""
    texts = table.columns[TEXT]
    long = [row for row, text in enumerate(texts) if len(text) > MAX_TEXT]
    shown = ", ".join(f"{table.place(row)}: {len(texts[row]):,}" for row in long[:10])
    for row in long:
        texts[row] = texts[row][:MAX_TEXT]
    return [f"{table.path}: {len(long)} texts cut at {MAX_TEXT:,} characters: {shown}"] if long else []


MAX_PRICE = 1e7
SHOWN = 10
_CURES = {
    "empty id": "give every row an id",
    "id used before": "keep one row per id",
    "id also in the test file": "remove the rows from one of the two files",
    "empty text": "fill in the text",
    "NUL byte": "remove the NUL bytes: tr -d '\\000' < FILE > CLEAN",
    "no price": "fill in the price",
    "not a number": "write prices as plain numbers such as 1299.50, without currency or thousands separators",
    "infinite": "correct the price",
    "negative": "correct the price",
    "zero": "correct the price",
    "over 1e7": "correct the price, or give all prices in a larger unit",
}


@dataclass(frozen=True)
class Offence:
    """rows: ascending 0-based positions of the rows with this kind of fault in this column."""

    column: str
    kind: str
    rows: NDArray[np.intp]


def parsed_prices(texts: list[str]) -> NDArray[np.float64]:
    """(n,) numbers; NaN for what is no number."""
    return pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)


def offences(table: Table, role: str, taken: Collection[str] = ()) -> list[Offence]:
    """Every fault of a `train` or `test` table. `taken`: ids that train may not use because the test file does.

    An empty text is a fault in train only: a test row gets a price whatever its text says.
    """
    ids = pd.Series(table.columns[ID], dtype=object)
    found = [
        _where(ID, "empty id", ids.str.strip() == ""),
        _where(ID, "id used before", ids.duplicated() & (ids.str.strip() != "")),
        _where(ID, "id also in the test file", ids.isin(set(taken)) & (ids.str.strip() != "")),
    ]
    found += [
        _where(column, "NUL byte", np.array(["\0" in value for value in table.columns[column]]))
        for column in (ID, TEXT, LINK)
        if column in table.columns
    ]
    if role == "train":
        found.append(_where(TEXT, "empty text", np.array([not text.strip() for text in table.columns[TEXT]])))
        found += _price_offences(table.columns[PRICE])
    return [offence for offence in found if len(offence.rows)]


def _price_offences(texts: list[str]) -> list[Offence]:
    prices = parsed_prices(texts)
    unread = np.isnan(prices)
    blank = np.zeros(len(texts), dtype=bool)
    blank[unread] = [
        texts[row].strip().lower() in {"", "nan", "na", "n/a", "null", "none"} for row in np.flatnonzero(unread)
    ]
    kinds = {
        "no price": blank,
        "not a number": unread & ~blank,
        "infinite": np.isinf(prices),
        "negative": (prices < 0) & np.isfinite(prices),
        "zero": prices == 0,
        "over 1e7": (prices > MAX_PRICE) & np.isfinite(prices),
    }
    return [_where(PRICE, kind, mask) for kind, mask in kinds.items()]


def _where(column: str, kind: str, mask: object) -> Offence:
    return Offence(column, kind, np.flatnonzero(np.asarray(mask, dtype=bool)))


def bad_rows(found: list[Offence]) -> NDArray[np.intp]:
    """Positions of all rows with a fault, ascending, each once."""
    return np.unique(np.concatenate([offence.rows for offence in found])) if found else np.array([], dtype=np.intp)


def counts(found: list[Offence]) -> str:
    """`3 zero, 1 empty text`: how many rows have each kind of fault."""
    totals: Counter[str] = Counter()
    for offence in found:
        totals[offence.kind] += len(offence.rows)
    return ", ".join(f"{count} {kind}" for kind, count in totals.most_common())


def complaint(table: Table, found: list[Offence], role: str) -> UserError:
    """One error for all faults of a file: the first ten offenders in file order, the total of each kind, the cures."""
    offenders = [(int(row), offence.column, offence.kind) for offence in found for row in offence.rows[:SHOWN]]
    shown = [
        f"{table.place(row)}, column {column}: {kind}: {_short(table.columns[column][row])}"
        for row, column, kind in sorted(offenders)[:SHOWN]
    ]
    total = sum(len(offence.rows) for offence in found)
    more = [f"... and {total - len(shown)} more"] if total > len(shown) else []
    cures = list(dict.fromkeys(_CURES[offence.kind] for offence in found))
    dropping = ["or leave these rows out with --drop-bad"] if role == "train" else []
    return UserError(
        f"{table.path}: {len(bad_rows(found))} bad rows ({counts(found)})\n    " + "\n    ".join(shown + more),
        code="catalog-bad-rows",
        hint="; ".join(cures + dropping),
    )


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")
