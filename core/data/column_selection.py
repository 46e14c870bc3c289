"""Column selection: proposes a mapping for a table by names and content, and leaves out columns that say nothing of a product."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from core.data.catalog import ID, TEXT
from core.data.column_mapping import (
    NATIVE,
    ROW_NUMBERS,
    ColumnMapping,
    FieldColumn,
    FieldKind,
    TableColumns,
    is_blank_cell,
    labels_of,
)
from core.data.table_reader import UNNAMED, Table, is_row_number
from core.errors import UserError, some, suggestion

MOST_FIELDS = 200
"""Columns that become lines; more than the readers of labelled lines keep."""
_SAMPLE = 1_000
_MOST = 0.9
_ID = re.compile(r"(?:sku|asin|ean|gtin|upc|isbn|handle|mpn|(?:\w*[_ ])?(?:u?uid|id|code|number)|artikelnummer)", re.I)
_NAME = re.compile(r"(?:(?:product|item)?[_ ]?(?:title|name)|titel|titre|titulo|título|judul|bezeichnung|nama)", re.I)
_PROSE = re.compile(r".*(?:description|beschreibung|descripci|deskripsi|details|about|body|text|content).*", re.I)
_PRICE = re.compile(r".*(?:price|preis|prix|precio|preço|prezzo|harga|giá|amount|cost).*", re.I)
_FINAL = re.compile(r".*(?:final|sale|selling|current|discounted).*", re.I)
_OTHER_PRICE = re.compile(r".*(?:retail|list|old|original|msrp|rrp|regular|compare|before|per).*", re.I)
_LINK = re.compile(r"\s*\[?\"?(?:https?://\S+|\S+\.(?:jpe?g|png|webp|gif)\b)", re.I)
_DIGIT = re.compile(r"\d")


class UnmappedColumns(UserError):
    """A table without the native columns, and the mapping that its names and content suggest."""

    @property
    def line(self) -> str:
        """The flag to copy."""
        return self.hint.partition(": ")[2]


def unmapped(table: Table) -> UnmappedColumns:
    """The error for a table without native columns; its `line` is the mapping to copy."""
    what = f"{table.path} does not have the columns {ID}, {TEXT} and price"
    proposal = propose(table)
    if proposal.id == ROW_NUMBERS:
        what += "; no column looks like an id, and id=# calls rows by their numbers"
    return UnmappedColumns(
        what,
        code="catalog-columns-unmapped",
        hint=f"add this to the command if it is right: --columns {_quoted(proposal.flag)}",
    )


def _quoted(flag: str) -> str:
    import shlex

    return shlex.quote(flag)


def propose(table: Table) -> ColumnMapping:
    """The mapping that names and content suggest. Raises UserError where no column can be a text or a price."""
    full = {
        name: cells
        for name, cells in _sampled(table).items()
        if cells and (_ID.fullmatch(name) or not _counts_rows(name, table.columns[name]))
    }
    links = [name for name, cells in full.items() if _share(cells, _LINK) >= _MOST]
    prices = [name for name, cells in full.items() if _PRICE.fullmatch(name) and _share(cells, _DIGIT) >= _MOST]
    prices.sort(key=lambda name: (_OTHER_PRICE.fullmatch(name) is not None, _FINAL.fullmatch(name) is None))
    texts = _texts({name: cells for name, cells in full.items() if name not in {*links, *prices}})
    if not texts or not prices:
        raise UserError(
            f"{table.path}: no column looks like a {'price' if texts else 'text'}: {some(table.columns, 20)}",
            code="catalog-columns-unknown",
            hint="name them: --columns id=COLUMN,text=COLUMN+COLUMN,image=COLUMN,price=COLUMN",
        )
    ids = [
        name
        for name, cells in full.items()
        if name not in {*links, *prices, *texts}
        and _all_distinct(table.columns[name])
        and (_ID.fullmatch(name) or _is_id(name, table.columns[name]))
    ]
    ids.sort(key=lambda name: _ID.fullmatch(name) is None)
    return ColumnMapping(ids[0] if ids else ROW_NUMBERS, tuple(texts), links[0] if links else None, prices[0])


def propose_texts(table: Table) -> tuple[str, ...]:
    """Columns that name or describe the products, by names and content; none where all are numbers and single words."""
    return tuple(
        _texts({name: cells for name, cells in _sampled(table).items() if cells and _share(cells, _LINK) < _MOST})
    )


def _sampled(table: Table) -> dict[str, list[str]]:
    """The filled cells of each column's first rows."""
    return {
        name: [cell for cell in cells[:_SAMPLE] if not is_blank_cell(cell)] for name, cells in table.columns.items()
    }


def _texts(columns: Mapping[str, Sequence[str]]) -> list[str]:
    found = [name for name in columns if _NAME.fullmatch(name)][:1]
    wordy = [name for name, cells in columns.items() if _words(cells) >= 2 and name not in found]
    found += [name for name in wordy if _PROSE.fullmatch(name)][:2]
    return found or sorted(wordy, key=lambda name: -_words(columns[name]))[:1]


def check_ignored(ignored: Sequence[str], table: Table) -> None:
    """Raises UserError for a column to ignore that the table does not have."""
    for name in ignored:
        if name not in table.columns:
            raise UserError(
                f"--ignore {name}: {table.path} has no such column",
                code="ignored-column-unknown",
                hint=suggestion(name, table.columns),
            )


def check_kinds(kinds: Mapping[str, FieldKind], train: Table, mapping: ColumnMapping, ignored: Sequence[str]) -> None:
    """Raises UserError for a kind asked for a column that the table does not have, or that is no field."""
    fields = [name for name in train.columns if name not in mapping.names]
    for name in kinds:
        if name not in fields or name in ignored:
            used = "has no such column"
            if name in mapping.names:
                used = f"uses it by --columns {mapping.flag}"
            elif name in ignored:
                used = "is read without it, by --ignore"
            raise UserError(
                f"--as {name}: {train.path} {used}",
                code="kind-column-unknown",
                hint=suggestion(name, [each for each in fields if each not in ignored]),
            )


def select_fields(
    train: Table,
    test: Table,
    mapping: ColumnMapping,
    ignored: Sequence[str],
    kinds: Mapping[str, FieldKind] | None = None,
) -> tuple[TableColumns, list[str]]:
    """The columns that become lines, and notes on all that are left out. kinds: those that the user named.

    Raises UserError for unknown names to ignore or to read as a kind.
    """
    kinds = kinds or {}
    check_ignored(ignored, train)
    check_kinds(kinds, train, mapping, ignored)
    names = [name for name in train.columns if name not in mapping.names]
    reasons: dict[str, list[str]] = {}
    kept = []
    for name in names:
        reason = "ignored" if name in ignored else _useless(name, train, test)
        if reason and not (name in kinds and reason in _MAY_BE_ASKED):
            reasons.setdefault(reason, []).append(name)
        else:
            kept.append(name)
    if len(kept) > MOST_FIELDS:
        reasons[f"beyond {MOST_FIELDS} columns"] = kept[MOST_FIELDS:]
    if only := [name for name in test.columns if name not in {*train.columns, *mapping.names}]:
        reasons["only in the test file"] = only
    notes = [f"columns left out, {reason}: {some(left, 10)}" for reason, left in reasons.items()]
    labels = labels_of(kept[:MOST_FIELDS])
    fields = tuple(
        FieldColumn(name, label, kinds[name], asked=True) if name in kinds else FieldColumn(name, label)
        for name, label in labels.items()
    )
    return TableColumns(mapping, fields), notes


_ROW_NUMBERS, _IDS = "row numbers", "ids"
_MAY_BE_ASKED = frozenset({_ROW_NUMBERS, _IDS})
"""Reasons to leave a column out that a kind named by the user overrules."""


def _useless(name: str, train: Table, test: Table) -> str:
    """Why a column is left out; "" for one that is kept."""
    if name not in test.columns:
        return "only in the training file"
    cells = train.columns[name]
    filled = [cell for cell in cells if not is_blank_cell(cell)]
    if not filled:
        return "empty"
    if len(set(filled)) == 1 and len(filled) == len(cells):
        return "constant"
    if _counts_rows(name, cells):
        return _ROW_NUMBERS
    return _IDS if _is_id(name, cells) else ""


def _counts_rows(name: str, cells: Sequence[str]) -> bool:
    return is_row_number(name, cells) or (name.startswith(UNNAMED) and _all_distinct(cells))


def _is_id(name: str, cells: list[str]) -> bool:
    """All distinct single words: codes, links, whole numbers named like ids. Other numbers and dates may be measures."""
    if not _all_distinct(cells) or any(" " in cell.strip() for cell in cells):
        return False
    numbers = sum(re.fullmatch(r"[-+]?\d[\d.,:/TZ+-]*\D{0,5}", cell.strip()) is not None for cell in cells)
    return numbers < _MOST * len(cells) or (
        _ID.fullmatch(name) is not None and all(re.fullmatch(r"[\d-]+", cell) for cell in cells)
    )


def _all_distinct(cells: Sequence[str]) -> bool:
    return len(set(cells)) == len(cells) and not any(map(is_blank_cell, cells))


def _share(cells: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(
        pattern.match(cell) is not None if pattern is _LINK else pattern.search(cell) is not None for cell in cells
    ) / len(cells)


def _words(cells: Sequence[str]) -> float:
    return sum(len(cell.split()) for cell in cells) / len(cells)


def native_names(table_names: Sequence[str]) -> bool:
    """True where a file has a native column that no other format has: faults of others are spelling."""
    return bool({*NATIVE.text, NATIVE.id} & set(table_names))
