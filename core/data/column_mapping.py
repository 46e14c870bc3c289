"""Column mapping of a shop's table: id, text, image and price columns; every other one becomes a labelled line of the text.

A line is `Brand: acme`: all that reads labelled lines (`core.fields.learnt_fields`), and text encoders, see the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from core.data.catalog import ID, LINK, PRICE, TEXT
from core.data.table_reader import Table
from core.errors import UserError, suggestion

ROW_NUMBERS = "#"
"""In place of an id column: rows are called by their numbers, from 1."""
CELL_CHARS, TEXT_CHARS, TEXT_LINES = 300, 10_000, 150
"""Bounds of a cell that becomes a line, and of what stands above such lines: readers of labelled lines look no further."""
_LABEL_CHARS, _LABEL_WORDS = 40, 5
_BLANK = frozenset({"", "nan", "na", "n/a", "null", "none", "nat"})
_NATIVE_LINE = re.compile(r"^[ \t]*(?:item name|bullet ?points?(?: ?\d{1,3})?|value|unit)[ \t]*:", re.I | re.M)
_TAKEN = re.compile(
    r"(?:item name|bullet ?points?|features?|highlights?|product description|description|value|unit) *\d*"
)
"""Labels that mean something else in a native text."""
_PARTS = ("id", "text", "image", "price")


class FieldKind(StrEnum):
    """Kinds of columns, by content."""

    NUMBER = "number"
    YES_NO = "yes/no"
    CATEGORY = "category"
    DATE = "date"
    LIST = "list"
    TEXT = "short text"


KIND_WORDS = {
    "number": FieldKind.NUMBER,
    "yes-no": FieldKind.YES_NO,
    "category": FieldKind.CATEGORY,
    "date": FieldKind.DATE,
    "text": FieldKind.TEXT,
    "list": FieldKind.LIST,
}
"""Kinds as `--as` takes them."""


@dataclass(frozen=True)
class ColumnMapping:
    """Names of the columns that a catalog needs. image: None where there are none."""

    id: str
    text: tuple[str, ...]
    image: str | None
    price: str

    @property
    def flag(self) -> str:
        """As `--columns` takes it."""
        image = f",image={self.image}" if self.image else ""
        return f"id={self.id},text={'+'.join(self.text)}{image},price={self.price}"

    def required(self, *, priced: bool) -> tuple[str, ...]:
        """Columns that a table must have. priced: the price too."""
        native = (LINK,) if self.image == LINK else ()
        wanted = (self.id, *self.text, self.image, self.price if priced else None)
        return tuple(name for name in wanted if name is not None and name not in (ROW_NUMBERS, *native))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(filter(None, (self.id, *self.text, self.image, self.price)))


NATIVE = ColumnMapping(ID, (TEXT,), LINK, PRICE)


@dataclass(frozen=True)
class FieldColumn:
    """A column that becomes a labelled line. missing: share of rows without it. example: one of its values.

    asked: the kind is the user's (`--as`), whatever the values look like.
    """

    name: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    missing: float = 0.0
    example: str = ""
    asked: bool = False

    def record(self) -> dict[str, Any]:
        """For JSON; `asked` only where it is so, as older versions wrote it."""
        return {name: value for name, value in asdict(self).items() if name != "asked" or value}


@dataclass(frozen=True)
class TableColumns:
    """The columns that a workspace's catalog was read by."""

    mapping: ColumnMapping = NATIVE
    fields: tuple[FieldColumn, ...] = ()

    def record(self) -> dict[str, Any] | None:
        """For JSON; None for a native table without more columns, as older versions wrote it."""
        if self == TableColumns():
            return None
        return {"mapping": asdict(self.mapping), "fields": [each.record() for each in self.fields]}

    @property
    def asked_kinds(self) -> dict[str, str]:
        """Label in lower case -> kind, for the columns whose kind the user named."""
        return {each.label.lower(): each.kind for each in self.fields if each.asked}

    def text_with(self, text: str, cells: Mapping[str, str]) -> str:
        """The text with a labelled line of each of the row's cells below its first line, the name; blank cells have none.

        In a native text they stand below all and a line of its own, as its last label would go on.
        """
        if not self.fields:
            return text
        values = ((each.label, cell_value(cells.get(each.name, ""))) for each in self.fields)
        lines = [f"{label}: {value}" for label, value in values if value]
        text = _bounded(text)
        if _NATIVE_LINE.search(text):
            return "\n".join([text.rstrip("\n"), *(["Product Description:"] if lines else []), *lines])
        name, line_break, rest = text.partition("\n")
        return "\n".join([name, *lines, *([rest] if line_break else [])])


def columns_from(record: Mapping[str, Any] | None) -> TableColumns:
    """Reads back what `TableColumns.record` gave."""
    if record is None:
        return TableColumns()
    mapping = ColumnMapping(**{**record["mapping"], "text": tuple(record["mapping"]["text"])})
    fields = (FieldColumn(**{**each, "kind": FieldKind(each["kind"])}) for each in record["fields"])
    return TableColumns(mapping, tuple(fields))


def parse_columns(text: str) -> ColumnMapping:
    """The mapping written as `id=sku,text=title+description,image=photo,price=final_price`. Raises UserError."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (each.strip() for each in part.partition("="))
        if key not in _PARTS or not equals or not value:
            raise UserError(
                f"--columns: {part!r} maps no column; {suggestion(key, _PARTS)}",
                code="columns-unreadable",
                hint="write --columns id=sku,text=title+description,image=photo,price=final_price",
            )
        if key in given:
            raise UserError(f"--columns names {key} twice", code="columns-key-twice", hint=f"keep one {key}=...")
        given[key] = value
    if missing := {"id", "text"} - given.keys():
        raise UserError(
            f"--columns has no {' and no '.join(sorted(missing))}",
            code="columns-incomplete",
            hint="add id=COLUMN and text=COLUMN+COLUMN; id=# calls rows by their numbers",
        )
    texts = tuple(each.strip() for each in given["text"].split("+"))
    mapping = ColumnMapping(given["id"], texts, given.get("image"), given.get("price", PRICE))
    used = [each for each in (mapping.id, *texts, mapping.image, mapping.price) if each is not None]
    if twice := sorted({each for each in used if used.count(each) > 1}):
        raise UserError(
            f"--columns uses the column `{twice[0]}` twice",
            code="columns-used-twice",
            hint="give each of id, text, image and price columns of its own",
        )
    return mapping


def parse_kinds(text: str) -> dict[str, FieldKind]:
    """Column -> kind, written as `price_tag=category,released=date`. Raises UserError."""
    kinds: dict[str, FieldKind] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, word = (each.strip() for each in part.rpartition("="))
        name, word = (name, word) if equals else (word, "")
        if word not in KIND_WORDS or not name:
            raise UserError(
                f"--as {part}: {f'{word!r} is no kind of column' if word else 'it names no kind'}",
                code="column-kind-unknown",
                hint=f"{suggestion(word, KIND_WORDS)}; write --as {name or 'COLUMN'}=KIND",
            )
        if name in kinds and kinds[name] is not KIND_WORDS[word]:
            raise UserError(f"--as names two kinds for {name}", code="column-kind-twice", hint=f"keep one {name}=KIND")
        kinds[name] = KIND_WORDS[word]
    return kinds


def is_blank_cell(value: str) -> bool:
    """True for an empty cell, and for the words that programs write for one."""
    return value.strip().lower() in _BLANK


def cell_value(value: str) -> str:
    """A cell as it stands in a line: on one line, at most CELL_CHARS characters; "" for a blank one."""
    return "" if is_blank_cell(value) else " ".join(value[: 4 * CELL_CHARS].split())[:CELL_CHARS].strip()


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """Column -> label, each once whatever its case: short, beginning with a letter, without colons."""
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        words = re.sub(r"[:;=\s]+", " ", name).split()[:_LABEL_WORDS]
        label = re.sub(r"^[\W\d_]+", "", " ".join(words))[: _LABEL_CHARS - 10].strip() or "column"
        if _TAKEN.fullmatch(label.lower()):
            label = f"{label} column"
        number, unique = 1, label
        while unique.lower() in taken:
            number += 1
            unique = f"{label} {number}"
        taken.add(unique.lower())
        labels[name] = unique
    return labels


def native_table(table: Table, columns: TableColumns) -> tuple[Table, list[str]]:
    """The table with native columns alone, made by `columns`, and notes. A native table without more columns stays as it is."""
    mapping, given = columns.mapping, table.columns
    if columns == TableColumns():
        return table, []
    texts = _joined([(name, given[name]) for name in mapping.text])
    shown = f"{TEXT_CHARS:,} characters or {TEXT_LINES} lines"
    textless = frozenset(row for row, text in enumerate(texts) if not text.strip())
    notes = []
    if columns.fields:
        cut = sum(_bounded(one) != one for one in texts)
        notes += [f"{table.path}: {cut:,} texts cut at {shown}, so that the other columns are read"] if cut else []
        names = [each.name for each in columns.fields if each.name in given]
        rows = zip(*(given[name] for name in names), strict=True) if names else ([],) * len(table)
        texts = [
            columns.text_with(text, dict(zip(names, row, strict=True))) for text, row in zip(texts, rows, strict=True)
        ]
    made = {TEXT: texts}
    made[ID] = (
        [str(table.before + row + 1) for row in range(len(table))] if mapping.id == ROW_NUMBERS else given[mapping.id]
    )
    if mapping.image in given:
        made[LINK] = given[mapping.image]
    if mapping.price in given:
        made[PRICE] = given[mapping.price]
    named = {ID: mapping.id, TEXT: "+".join(mapping.text), LINK: mapping.image or LINK, PRICE: mapping.price}
    return replace(table, columns=made, named=named, textless=textless), notes


def _joined(columns: Sequence[tuple[str, list[str]]]) -> list[str]:
    """The texts; the first column stays as it is, as the product's name, and others are labelled by their column."""
    (_, first), *others = columns
    texts = list(first)
    for name, cells in others:
        label = " ".join(re.sub(r"[:;=]", " ", name).split())
        texts = [
            text if is_blank_cell(cell) else f"{text}\n{label}: {cell}" for text, cell in zip(texts, cells, strict=True)
        ]
    return texts


def _bounded(text: str) -> str:
    """The text, what stands above labelled lines cut to its bounds: of a native one all of it, else the first line."""
    if not _NATIVE_LINE.search(text):
        name, line_break, rest = text.partition("\n")
        return name[:TEXT_CHARS] + line_break + rest
    lines = text[:TEXT_CHARS].split("\n")
    if len(lines) <= TEXT_LINES:
        return text[:TEXT_CHARS]
    return "\n".join([*lines[: TEXT_LINES - 1], " ".join(lines[TEXT_LINES - 1 :])])
