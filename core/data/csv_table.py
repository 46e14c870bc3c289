"""CSV reader: text to rows of strings exactly as they stand in the file; the separator is found by the first rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from core.data.row_source import RowSource
from core.data.text_encoding import open_text
from core.errors import UserError

MAX_FIELD = 10_000_000
"""Characters of one field. Longer ones mostly come from a quote that is never closed, and would eat the memory."""
MAX_LINE = 100_000_000
"""Characters of one line: of a file that is no table, all of it may be one."""
_QUOTES = 'close the quote; inside a quoted field, write each quote twice ("")'
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_EXCEL_LINE = re.compile(r'"?sep=(.)"?(?=[\r\n]|\Z)')
"""First line that declares the separator to Excel."""
_MARK = "\ufeff"
"""Byte order mark: in the middle of a file where several were put one behind the other."""
_SAMPLE, _SAMPLE_ROWS = 1 << 17, 50


def read_csv(path: Path, stream: IO[bytes]) -> RowSource:
    """The rows of a CSV file. Only separators and quotes are looked at, never what the fields say. Raises UserError."""
    text, notes = open_text(path, stream)
    sample = text.read(_SAMPLE)
    text.seek(0)
    lines = checked_lines(path, text)
    skipped = 0
    declared = _EXCEL_LINE.match(sample)
    if declared:
        separator, skipped = declared[1], 1
        next(lines)
    else:
        separator = _separator(sample)
    if separator != ",":
        notes.append(f"{path}: fields are separated by {_SEPARATORS.get(separator, repr(separator))}")
    with _long_fields():
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise _malformed(f"{path}, line {skipped + 1}", error) from None
    return RowSource(header, _rows(path, reader, skipped), notes)


def _rows(path: Path, reader: Any, skipped: int) -> Iterator[tuple[int, list[str]]]:
    row, begins = 0, skipped + reader.line_num + 1
    with _long_fields():
        try:
            for fields in reader:
                if fields:  # a blank line is no row
                    row += 1
                    fields[0] = fields[0].removeprefix(_MARK)
                    yield begins, fields
                begins = skipped + reader.line_num + 1
        except csv.Error as error:
            raise _malformed(f"{path}, row {row + 1} (line {begins})", error) from None


def checked_lines(path: Path, text: TextIO) -> Iterator[str]:
    """The lines with their ends. Raises UserError for one of more than MAX_LINE characters before it fills the memory."""
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE), ""), 1):
        if len(line) == MAX_LINE:
            raise UserError(
                f"{path}, line {number} has more than {MAX_LINE:,} characters",
                code="table-line-too-long",
                hint="give a table with one row a line",
            )
        yield line


def _separator(sample: str) -> str:
    """The candidate by which most of the first rows are as wide as the header; among equals, that of the widest header."""
    best, most = ",", (0.0, 1)
    for candidate in _SEPARATORS:
        rows = _sample_rows(sample, candidate)
        if not rows or len(rows[0]) < 2:
            continue
        fitting = sum(len(fields) == len(rows[0]) for fields in rows[1:]) / max(1, len(rows) - 1)
        if (fitting, len(rows[0])) > most:
            best, most = candidate, (fitting, len(rows[0]))
    return best


def _sample_rows(sample: str, separator: str) -> list[list[str]]:
    """The first whole rows; none after a quote that this separator leaves open."""
    with _long_fields():
        rows = list[list[str]]()
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
        try:
            rows.extend(fields for fields in islice(reader, _SAMPLE_ROWS) if fields)
        except csv.Error:
            return rows
        return rows[:-1] if len(sample) == _SAMPLE and len(rows) > 1 else rows


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields may be MAX_FIELD long in the block. The limit belongs to the whole process: it is given back."""
    previous = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(previous)


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
