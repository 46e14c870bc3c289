"""Catalog reading: files to checked catalogs, with every bad row named; the only entry for rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.data.catalog import ID, LINK, PRICE, TEXT, Catalog
from core.data.catalog_config import TableConfig
from core.data.column_mapping import NATIVE, ColumnMapping, TableColumns, native_table, parse_columns, parse_kinds
from core.data.column_selection import native_names, select_fields, unmapped
from core.data.price_format import PriceColumn, read_prices
from core.data.price_scale import MAX_PRICE
from core.data.table_reader import Table, read_table, read_tables
from core.errors import UserError, some

Role = Literal["train", "test"]
MAX_TEXT = 100_000
MIN_TRAIN_ROWS = 20
"""Four rows for each of five folds: with fewer, a fold's score says nothing and its price quantiles are empty."""
_REQUIRED: dict[str, tuple[str, ...]] = {"train": (ID, TEXT, PRICE), "test": (ID, TEXT)}


@dataclass(frozen=True)
class ReadResult:
    """Both catalogs, and notes for people on how they were read.

    columns: by which they were read. test_prices: (t,) of the test file, NaN where unknown; None without such a column. They
    are for a score at the end and for nothing else.
    """

    train: Catalog
    test: Catalog
    notes: list[str]
    columns: TableColumns = field(default_factory=TableColumns)
    test_prices: NDArray[np.float64] | None = None


def read_catalogs(
    train: Path,
    test: Path,
    images: Path | None,
    *,
    drop_bad: bool = False,
    table: TableConfig | None = None,
    columns: TableColumns | None = None,
) -> ReadResult:
    """Reads and checks both files; `images` is the pictures' folder (the pictures themselves are looked at elsewhere).

    Raises UserError that names file, row, column, value and hint for everything wrong with a file at once.
    `drop_bad` leaves bad training rows out, with a note; a test row is never dropped. columns: those that files of this
    workspace were read by before; None: the asked mapping, or the native names, and all other columns as fields.
    """
    _check_images(images)
    config = table or TableConfig()
    known, mapping = _training_table(train, config, columns)
    asked = read_table(test, mapping.required(priced=False), sheet=config.sheet)
    notes: list[str] = []
    if columns is None:
        columns, notes = select_fields(known, asked, mapping, config.ignored, parse_kinds(config.kinds or ""))
    known, train_cuts = native_table(known, columns)
    asked, test_cuts = native_table(asked, columns)
    prices = _prices(known, config)
    priced, train_notes = _checked(known, images, prices, drop_bad)
    unpriced, test_notes = _checked(asked, images)
    test_prices, score_notes = _test_prices(asked, config)
    notes = [*train_notes, *test_notes, *train_cuts, *test_cuts, *score_notes, *_in_both(priced, unpriced), *notes]
    return ReadResult(priced, unpriced, notes, columns, test_prices)


def _in_both(train: Catalog, test: Catalog) -> list[str]:
    """Note on products of both files. Equal ids alone say nothing: each file may count its rows from 0."""
    known = set(zip(train.ids, train.texts, strict=True))
    found = [name for name, text in zip(test.ids, test.texts, strict=True) if (name, text) in known]
    what = f"{len(found):,} of {len(test):,} test rows stand with the same id and text in the training file, so that"
    return [f"{what} their prices are known: {some(found)}"] if found else []


def check_training_columns(train: Path, config: TableConfig) -> None:
    """Raises UserError where the training file's columns are not as they must be, with a mapping to copy where it can."""
    _training_table(train, config, None)


def _training_table(train: Path, config: TableConfig, columns: TableColumns | None) -> tuple[Table, ColumnMapping]:
    if columns is not None or config.columns is not None:
        mapping = parse_columns(config.columns or "") if columns is None else columns.mapping
        return read_table(train, mapping.required(priced=True), sheet=config.sheet), mapping
    try:
        return read_table(train, _REQUIRED["train"], sheet=config.sheet), NATIVE
    except UserError as error:
        if error.code != "csv-missing-column":
            raise
        table = read_table(train, (), sheet=config.sheet)
        if native_names(list(table.columns)):
            raise
    raise unmapped(table)


def _test_prices(table: Table, config: TableConfig) -> tuple[NDArray[np.float64] | None, list[str]]:
    """(t,) prices of the test file, NaN where there is no usable one; None where there are none at all."""
    if PRICE not in table.columns:
        return None, []
    try:
        numbers = _prices(table, config).numbers
    except UserError as error:  # no reason to refuse rows that are to be priced
        return None, [f"{table.path}: column {table.named.get(PRICE, PRICE)} is not used for a score: {error.what}"]
    prices = np.where((numbers > 0) & (numbers < MAX_PRICE), numbers, np.nan)
    known = int(np.isfinite(prices).sum())
    if not known:
        return None, [f"{table.path}: no row has a usable {PRICE}: there will be no test score"]
    what = f"{table.path}: {PRICE} is known for {known:,} of {len(prices):,} test rows"
    return prices, [f"{what}: used for a score at the end, and for nothing else"]


def _prices(table: Table, config: TableConfig) -> PriceColumn:
    return read_prices(
        table.columns[PRICE], f"{table.path}: {table.named.get(PRICE, PRICE)}", table.place, config.price_format
    )


def read_catalog(
    path: Path,
    role: Role,
    *,
    images: Path | None = None,
    drop_bad: bool = False,
    table: TableConfig | None = None,
) -> tuple[Catalog, list[str]]:
    """One file and its notes. Raises UserError as `read_catalogs` does."""
    config = table or TableConfig()
    read = read_table(path, _REQUIRED[role], sheet=config.sheet)
    prices = _prices(read, config) if role == "train" else None
    return _checked(read, images, prices, drop_bad and role == "train")


def read_in_parts(
    path: Path, rows: int, *, images: Path | None = None, sheet: str | None = None, columns: TableColumns | None = None
) -> Iterator[tuple[Catalog, list[str]]]:
    """A test file of any size, `rows` rows at a time, with the notes of each part; only ids are kept in memory.

    Raises UserError as `read_catalogs` does, once it comes to the place; a caller that must not act on half a file reads all
    parts first. columns: those that the training file was read by.
    """
    _check_images(images)
    seen: set[str] = set()
    columns = columns or TableColumns()
    for read in read_tables(path, columns.mapping.required(priced=False), rows, sheet=sheet):
        table, notes = native_table(read, columns)
        part = _to_price(read, table, columns, images, notes)
        twice = [row for row, name in enumerate(table.columns[ID]) if name in seen]
        if twice:
            raise complaint(table, [Offence(ID, "id used before", np.array(twice, dtype=np.intp))], "test")
        seen.update(table.columns[ID])
        yield part


def rows_to_price(read: Table, columns: TableColumns, images: Path | None = None) -> tuple[Catalog, list[str]]:
    """A table in memory as a catalog of rows to be priced, and its notes.

    columns: those that the training rows were read by; the table has all that their mapping requires.
    """
    _check_images(images)
    table, notes = native_table(read, columns)
    return _to_price(read, table, columns, images, notes)


def _to_price(
    read: Table, table: Table, columns: TableColumns, images: Path | None, notes: list[str]
) -> tuple[Catalog, list[str]]:
    catalog, more = _checked(table, images)
    notes += [f"{read.path}: column {PRICE} is not used"] if PRICE in table.columns else []
    notes += [
        f"{read.path}: no column {each.name}: unknown" for each in columns.fields if each.name not in read.columns
    ]
    return catalog, [*more, *notes]


def _check_images(images: Path | None) -> None:
    if images is not None and not images.is_dir():
        kind = "is a file, not a folder" if images.exists() else "does not exist"
        raise UserError(
            f"the pictures' folder {images} {kind}",
            code="images-no-folder",
            hint="name the folder that holds the pictures with --images",
        )


def _checked(
    table: Table,
    images: Path | None,
    prices: PriceColumn | None = None,
    drop_bad: bool = False,
) -> tuple[Catalog, list[str]]:
    """The catalog of a training table, whose prices are given, or of a test table, and notes on it."""
    role: Role = "test" if prices is None else "train"
    found = offences(table, prices)
    if found and not drop_bad:
        raise complaint(table, found, role)
    dropped = bad_rows(found)
    notes = [*table.notes, *(prices.notes if prices else ())]
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
    ids, texts, links = (
        np.array(table.columns.get(name, [""] * len(table)), dtype=object) for name in (ID, TEXT, LINK)
    )
    return Catalog(ids, texts, links, None if prices is None else prices.numbers, images=images).take(kept), notes


def _cut(table: Table) -> list[str]:
    """Shortens texts over the limit in place; one note per file names the first ten."""
    texts = table.columns[TEXT]
    long = [row for row, text in enumerate(texts) if len(text) > MAX_TEXT]
    shown = ", ".join(f"{table.place(row)}: {len(texts[row]):,}" for row in long[:10])
    for row in long:
        texts[row] = texts[row][:MAX_TEXT]
    return [f"{table.path}: {len(long)} texts cut at {MAX_TEXT:,} characters: {shown}"] if long else []


SHOWN = 10
_CURES = {
    "empty id": "give every row an id",
    "id used before": "keep one row per id",
    "empty text": "fill in the text",
    "NUL byte": "remove the NUL bytes: tr -d '\\000' < FILE > CLEAN",
    "no price": "fill in the price",
    "not a number": "write all prices in one way, such as 1299.50 or 1.299,50 €; --price-format names it",
    "infinite": "correct the price",
    "negative": "correct the price",
    "zero": "correct the price",
    "over 1e100": "correct the price",
}


@dataclass(frozen=True)
class Offence:
    """rows: ascending 0-based positions of the rows with this kind of fault in this column."""

    column: str
    kind: str
    rows: NDArray[np.intp]


def offences(table: Table, prices: PriceColumn | None) -> list[Offence]:
    """Every fault of a training table, whose prices are given, or of a test table.

    An empty text is a fault in train only: a test row gets a price whatever its text says.
    """
    ids = pd.Series(table.columns[ID], dtype=object)
    found = [
        _where(ID, "empty id", ids.str.strip() == ""),
        _where(ID, "id used before", ids.duplicated() & (ids.str.strip() != "")),
    ]
    found += [
        _where(column, "NUL byte", np.array(["\0" in value for value in table.columns[column]]))
        for column in (ID, TEXT, LINK)
        if column in table.columns
    ]
    if prices is not None:
        blank = [row in table.textless or not text.strip() for row, text in enumerate(table.columns[TEXT])]
        found.append(_where(TEXT, "empty text", np.array(blank)))
        found += _price_offences(table.columns[PRICE], prices.numbers)
    return [offence for offence in found if len(offence.rows)]


def _price_offences(texts: list[str], prices: NDArray[np.float64]) -> list[Offence]:
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
        "over 1e100": (prices > MAX_PRICE) & np.isfinite(prices),
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
        f"{table.place(row)}, column {table.named.get(column, column)}: {kind}: {_short(table.columns[column][row])}"
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
