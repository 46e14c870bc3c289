"""CSV reader: bytes to a table of strings exactly as they stand in the file, whole or in chunks."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.data.catalog import ID, LINK, PRICE, TEXT
from core.errors import UserError, suggestion

COLUMNS = (ID, TEXT, LINK, PRICE)
MAX_FIELD = 10_000_000
"""Characters of one field. Longer ones mostly come from a quote that is never closed, and would eat the memory."""
_QUOTES = 'close the quote; inside a quoted field, write each quote twice ("")'
_HEAD = 64
"""Bytes read to detect UTF-16."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """columns: name -> one string per data row, for all columns of the file in its order.

    lines: the line of the file (1-based) where each data row begins. before: how many rows of the file come before these.
    notes: for people, on how the file was read.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    before: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Place of the row at this 0-based position, for people: `row 3 (line 6)`."""
        return f"row {self.before + row + 1} (line {self.lines[row]})"


def read_table(path: Path, required: tuple[str, ...]) -> Table:
    """All columns of `path`, `required` ones among them. Raises UserError for anything that is no CSV.

    A name that stands in the header again gets a number, as pandas gives it (`note`, `note.1`); a required one is refused.
    Only separators, quotes and field counts are looked at here, never what the fields say. Names ending in `.gz` are
    unpacked. A byte order mark is skipped.
    """
    with _long_fields(path):
        text = _decoded(path, _bytes(path))
        (table,) = _tables(path, io.StringIO(text, newline=""), required, sys.maxsize)
        return table


def read_tables(path: Path, required: tuple[str, ...], rows: int) -> Iterator[Table]:
    """The same, `rows` rows at a time, without ever holding the whole file.

    Raises what `read_table` raises, but only once it comes to the place; of rows with too many or too few fields it names those
    of one table.
    """
    _check_file(path)
    with _long_fields(path):
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                head = stream.read(_HEAD)
                if not head.strip() or _is_utf16(head):
                    _decoded(path, _bytes(path))
                stream.seek(0)
                yield from _tables(path, io.TextIOWrapper(stream, "utf-8-sig", newline=""), required, rows)
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
            _decoded(path, _bytes(path))  # says where
            raise


@contextmanager
def _long_fields(path: Path) -> Iterator[None]:
    """Fields may be MAX_FIELD long in the block. The limit belongs to the whole process: it is given back."""
    previous = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    except csv.Error as error:
        raise _malformed(str(path), error) from None
    finally:
        csv.field_size_limit(previous)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: there is no such file", code="csv-missing", hint="check the path")
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, not a CSV file",
            code="csv-is-folder",
            hint=f"name the file in it, for example {path / 'train.csv'}",
        )


def _bytes(path: Path) -> bytes:
    _check_file(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(
            f"{path} is not a whole gzip file", code="csv-bad-gzip", hint="copy the file again, or unpack it first"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", code="csv-unreadable", hint="check the file's permissions"
        ) from None
    if not data.strip():
        raise UserError(
            f"{path} is empty", code="csv-empty", hint=f"it needs a header line ({','.join(COLUMNS)}) and rows below it"
        )
    return data


def _is_utf16(head: bytes) -> bool:
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or head[1::2].count(0) > 16 or head[0::2].count(0) > 16


def _decoded(path: Path, data: bytes) -> str:
    if _is_utf16(data[:_HEAD]):
        raise UserError(f"{path} is UTF-16, not UTF-8", code="csv-utf16", hint=_conversion(path, "UTF-16"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        begun = data[: error.start].decode("utf-8-sig", errors="replace")
        line = begun.count("\n") + 1
        fields = list(csv.reader(io.StringIO(begun, newline="")))
        header, last = fields[0], fields[-1]
        column = header[len(last) - 1] if len(fields) > 1 and len(last) <= len(header) else "the header"
        raise UserError(
            f"{path} is not UTF-8: row {len(fields) - 1} (line {line}), column {column}, has the byte "
            f"0x{data[error.start]:02x} after {begun[-20:]!r}",
            code="csv-not-utf8",
            hint=_conversion(path, "LATIN1"),
        ) from None


def _conversion(path: Path, encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 {path} > {path.stem}-utf8.csv (if that is the encoding it was saved in)"


def _tables(path: Path, text: Iterable[str], required: tuple[str, ...], most: int) -> Iterator[Table]:
    """At most `most` rows in each."""
    reader = csv.reader(text, strict=True)
    before, begins = 0, 1
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next(reader)
        _check_header(path, header, required)
        begins = reader.line_num + 1
        for fields in reader:
            if fields:  # a blank line is no row
                rows.append(fields)
                lines.append(begins)
            begins = reader.line_num + 1
            if len(rows) == most:
                yield _table(path, header, rows, lines, before)
                before += most
                rows, lines = [], []
    except csv.Error as error:
        raise _malformed(f"{path}, row {before + len(rows) + 1} (line {begins})", error) from None
    if not rows and not before:
        raise UserError(
            f"{path} has a header but no rows", code="csv-no-rows", hint="add one line per product below the header"
        )
    if rows:
        yield _table(path, header, rows, lines, before)


def _malformed(place: str, error: csv.Error) -> UserError:
    if "field larger than" in str(error):
        return UserError(
            f"{place}: a field has more than {MAX_FIELD:,} characters: a quote is never closed, or a text is really that long",
            code="csv-field-too-long",
            hint=f"{_QUOTES}, or shorten the text",
        )
    return UserError(
        f"{place}: {error}; a quote is opened or closed in the wrong place", code="csv-bad-quote", hint=_QUOTES
    )


def _table(path: Path, header: list[str], rows: list[list[str]], lines: list[int], before: int) -> Table:
    _check_widths(path, rows, lines, len(header), before)
    by_position = list(zip(*rows, strict=True))
    return Table(path, dict(zip(_distinct(header), map(list, by_position), strict=True)), lines, before)


def _distinct(header: list[str]) -> list[str]:
    """The names, each once: a repeated one with the next number that is free."""
    taken, names = set(header), list[str]()
    for name in header:
        number = 0
        unique = name
        while unique in names:
            number += 1
            unique = f"{name}.{number}" if f"{name}.{number}" not in taken else unique
        names.append(unique)
    return names


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in header]
    if missing and len(header) == 1:
        for separator, spoken in _SEPARATORS.items():
            if separator in header[0]:
                raise UserError(
                    f"{path}, line 1: the fields are separated by {spoken}, not commas",
                    code="csv-not-commas",
                    hint=f"save it with commas: python -c \"import pandas as p; p.read_csv('{path}', sep={separator!r}, "
                    "dtype=str, keep_default_na=False).to_csv('converted.csv', index=False)\"",
                )
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


def _check_widths(path: Path, rows: list[list[str]], lines: list[int], width: int, before: int) -> None:
    ragged = [row for row, fields in enumerate(rows) if len(fields) != width]
    if ragged:
        shown = [
            f"row {before + row + 1} (line {lines[row]}): {len(rows[row])} fields, starting {rows[row][0][:40]!r}"
            for row in ragged[:10]
        ]
        raise UserError(
            f"{path}: {len(ragged)} rows do not have the header's {width} fields:\n    " + "\n    ".join(shown),
            code="csv-ragged-rows",
            hint="put fields that contain commas or line breaks in quotes; a missing field still needs its comma",
        )
