"""What a catalog's fields may say. Every kind of bad row of a file is found at once, vectorised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import ID, LINK, PRICE, TEXT
from core.catalog_table import Table
from core.errors import UserError

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
        cure="; ".join(cures + dropping),
    )


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")
