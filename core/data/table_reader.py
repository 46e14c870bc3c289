"""Table reader: a file of any format to columns of strings, whole or in chunks; its header and widths are checked."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.data.catalog import ID, LINK, PRICE, TEXT
from core.data.csv_table import read_csv
from core.data.row_source import RowSource
from core.data.text_encoding import is_blank
from core.data.typed_tables import read_excel, read_json_lines, read_parquet
from core.data.unpacking import OpenTable, TableFormat, open_table
from core.errors import UserError, suggestion

COLUMNS = (ID, TEXT, LINK, PRICE)
UNNAMED = "Unnamed: "
"""Beginning of the names of columns without a name, as pandas writes it."""
MAX_NAME, MAX_COLUMNS = 1_000, 10_000
"""Characters of a column's name, and columns: beyond them a first line is no header."""


@dataclass(frozen=True)
class Table:
    """columns: name -> one string per data row, for all columns of the file in its order.

    lines: the place in the file (1-based) where each data row begins. before: how many rows of the file come before these.
    notes: for people, on how the file was read. counted: what `lines` counts; empty where rows have no place but their number.
    repeated: names that stand in the header more than once. named: native column -> its name in the file, where it has another.
    textless: positions of rows without a text of their own, before other columns were added to it as lines.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    before: int = 0
    notes: tuple[str, ...] = ()
    counted: str = "line"
    repeated: frozenset[str] = frozenset()
    textless: frozenset[int] = frozenset()
    named: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Place of the row at this 0-based position, for people: `row 3 (line 6)`."""
        return _place(self.before + row, self.lines[row], self.counted)


def _place(row: int, line: int, counted: str) -> str:
    return f"row {row + 1} ({counted} {line})" if counted else f"row {row + 1}"


def read_table(path: Path, required: tuple[str, ...], *, sheet: str | None = None) -> Table:
    """All columns of `path`, `required` ones among them: CSV, Parquet, JSON Lines or Excel, in one .gz or .zip or not.

    The format, the encoding and the separator are detected by content; notes name them where they are not plain CSV's. A
    name that stands in the header again gets a number, and a column without one is `Unnamed: 0`, as pandas names them; a required
    name that stands there twice is refused. Raises UserError.
    """
    (table,) = read_tables(path, required, sys.maxsize, sheet=sheet)
    return table


def read_tables(path: Path, required: tuple[str, ...], rows: int, *, sheet: str | None = None) -> Iterator[Table]:
    """The same, `rows` rows at a time, without ever holding the whole file (but for an Excel sheet).

    Raises what `read_table` raises, but only once it comes to the place; of rows with too many or too few fields it names those
    of one table.
    """
    with open_table(path) as opened:
        source = _source(opened, required, sheet)
        if not source.header:
            raise _empty(path)
        source.header = [name.strip() for name in source.header]
        notes, before = (*opened.notes, *source.notes), 0
        held: list[list[str]] = []
        lines: list[int] = []
        again: list[int] = []
        for line, fields in source.rows:
            if not before and not held:
                _check_title(path, source.header, fields)
                _check_header(path, source.header, required)
            if len(fields) > 1 and [field.strip() for field in fields] == source.header:
                again.append(line)
                continue
            held.append(fields)
            lines.append(line)
            if len(held) == rows:
                yield _table(path, source, held, Places(lines, before), (*notes, *_header_again(path, source, again)))
                before += rows
                held, lines, again = [], [], []
        if not held and not before:
            _check_header(path, source.header, required)
            raise UserError(
                f"{path} has a header but no rows", code="csv-no-rows", hint="add one line per product below the header"
            )
        if held:
            yield _table(path, source, held, Places(lines, before), (*notes, *_header_again(path, source, again)))


def _header_again(path: Path, source: RowSource, again: list[int]) -> tuple[str, ...]:
    """Note on rows that are the header once more, as in files put one behind the other."""
    what = f"{source.counted or 'row'} {', '.join(map(str, again[:10]))}"
    return (f"{path}: the header stands there again and is no row: {what}",) if again else ()


def _check_title(path: Path, header: list[str], first: list[str]) -> None:
    """Raises UserError where a title or a comment stands above the header: one name alone over rows of several fields."""
    names = [name for name in header if name]
    if len(names) == 1 and max(len(header), len(first)) >= _FEWEST_BELOW_TITLE:
        raise UserError(
            f"{path}: the first line is no header: {names[0][:60]!r} stands alone above rows of {len(first)} fields",
            code="table-title-row",
            hint="delete the lines above the header",
        )


_FEWEST_BELOW_TITLE = 3
"""Fields of a row below which a lone name may be the header of a table with a missing name."""


def _source(opened: OpenTable, required: tuple[str, ...], sheet: str | None) -> RowSource:
    path, stream = opened.path, opened.stream
    if sheet is not None and opened.format is not TableFormat.EXCEL:
        raise UserError(
            f"--sheet {sheet}: {path} is {opened.format}, which has no sheets",
            code="sheet-without-excel",
            hint="leave the flag out",
        )
    if opened.format is TableFormat.EXCEL:
        return read_excel(path, stream, sheet)
    if opened.format is TableFormat.PARQUET:
        return read_parquet(path, stream, required)
    if is_blank(stream):
        raise _empty(path)
    return read_json_lines(path, stream) if opened.format is TableFormat.JSON_LINES else read_csv(path, stream)


def _empty(path: Path) -> UserError:
    return UserError(
        f"{path} is empty", code="csv-empty", hint=f"it needs a header line ({','.join(COLUMNS)}) and rows below it"
    )


@dataclass(frozen=True)
class Places:
    """Places of the rows of a chunk. lines: of each in the file. before: rows of the file that come before."""

    lines: list[int]
    before: int


def _table(path: Path, source: RowSource, rows: list[list[str]], places: Places, notes: tuple[str, ...]) -> Table:
    _check_widths(path, source, rows, places)
    columns = dict(zip(_distinct(source.header), map(list, zip(*rows, strict=True)), strict=True))
    repeated = frozenset(name for name, count in Counter(source.header).items() if count > 1)
    return Table(path, columns, places.lines, places.before, notes, source.counted, repeated)


def _distinct(header: list[str]) -> list[str]:
    """The names, each once: a repeated one with the next number that is free."""
    taken, names = set(header), list[str]()
    for place, given in enumerate(header):
        name = given or f"{UNNAMED}{place}"
        number = 0
        unique = name
        while unique in names:
            number += 1
            unique = f"{name}.{number}" if f"{name}.{number}" not in taken else unique
        names.append(unique)
    return names


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    if len(header) > MAX_COLUMNS or any(len(name) > MAX_NAME or "\0" in name for name in header):
        raise UserError(
            f"{path}: its first line is no header: it has more than {MAX_COLUMNS:,} names, one of more than {MAX_NAME:,} "
            "characters, or one with a NUL byte",
            code="table-no-header",
            hint="name the columns in the first line",
        )
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(
            "\n  ".join(f"{path}, line 1: no column `{name}`; {suggestion(name, header)}" for name in missing),
            code="csv-missing-column",
            hint=f"name the columns in the first line {', '.join(f'`{name}`' for name in required)}",
        )
    twice = sorted({name for name in header if name in {*COLUMNS, *required} and header.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}, line 1: column `{twice[0]}` stands there twice",
            code="csv-doubled-column",
            hint="keep one of them",
        )


def _check_widths(path: Path, source: RowSource, rows: list[list[str]], places: Places) -> None:
    width = len(source.header)
    ragged = [row for row, fields in enumerate(rows) if len(fields) != width]
    if ragged:
        shown = [
            f"{_place(places.before + row, places.lines[row], source.counted)}: {len(rows[row])} fields, "
            f"starting {rows[row][0][:40]!r}"
            for row in ragged[:10]
        ]
        above = "delete lines that stand above the header; " if width == 1 else ""
        raise UserError(
            f"{path}: {len(ragged)} rows do not have the header's {width} fields:\n    " + "\n    ".join(shown),
            code="csv-ragged-rows",
            hint=f"{above}put fields that contain separators or line breaks in quotes; a missing field still needs its separator",
        )


_INDEX = re.compile(UNNAMED + r"\d+|index|row|rownames?|row_number|", re.IGNORECASE)
_FEW_ROWS = 20


def is_row_number(name: str, values: Sequence[str]) -> bool:
    """True for a column that counts the rows by ones: from 0 or 1 under a name that says so, from anywhere in a longer table."""
    if not values or not values[0].isdecimal() or not values[-1].isdecimal():
        return False
    first = int(values[0])
    if len(values) < _FEW_ROWS and (first > 1 or not _INDEX.fullmatch(name)):
        return False
    return all(value == str(row) for row, value in enumerate(values, first))
