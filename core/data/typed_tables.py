"""Readers of tables whose cells have types: Parquet in batches, JSON Lines line by line, one sheet of an Excel file."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from core.data.csv_table import checked_lines
from core.data.row_source import RowSource, cell_text
from core.data.text_encoding import open_text
from core.data.unpacking import BROKEN
from core.errors import UserError, some, suggestion

_BATCH = 8_192
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
MOST_CELLS = 50_000_000
"""Cells of the rectangle that a sheet's filled cells span, at most: the library holds all of it, empty ones too."""
_TAG = re.compile(rb"<(?:\w{1,30}:)?(row|c)\b([^>]{0,300})>")
_PLACE = re.compile(rb"""\br=["']([A-Z]{0,3})([0-9]{0,7})["']""")
_BLOCK = 1 << 20
MOST_EXCEL_BYTES = 4 << 30


def read_parquet(path: Path, stream: IO[bytes], required: tuple[str, ...]) -> RowSource:
    """The rows of a Parquet file; columns of bytes that are no text are left out with a note. Raises UserError."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream)
        schema, names = file.schema_arrow, file.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None
    bytes_ = [each.name for each in schema if _holds_bytes(each.type)]
    index = [name for name in names if _PANDAS_INDEX.fullmatch(name)]
    nested = [each.name for each in schema if pa.types.is_nested(each.type) and each.name in required]
    if nested:
        raise UserError(
            f"{path}: column `{nested[0]}` holds lists or records, not one value a row",
            code="parquet-nested-column",
            hint="write it as text or numbers",
        )
    notes = [f"{path}: columns of bytes are left out: {some(bytes_)}"] if bytes_ else []
    notes += [f"{path}: pandas' index is left out"] if index else []
    kept = [place for place, name in enumerate(names) if name not in {*bytes_, *index}]
    return RowSource([names[place] for place in kept], _parquet_rows(path, file, kept), notes, counted="")


def _holds_bytes(kind: Any) -> bool:
    """True for bytes, and for lists and records with bytes in them."""
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _parquet_rows(path: Path, file: Any, kept: list[int]) -> Iterator[tuple[int, list[str]]]:
    import pyarrow as pa

    row = 0
    try:
        for batch in file.iter_batches(_BATCH):
            columns = [[cell_text(value) for value in batch.column(place).to_pylist()] for place in kept]
            for fields in zip(*columns, strict=True):
                row += 1
                yield row, list(fields)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is no whole Parquet file: {str(error).splitlines()[0][:200]}",
        code="parquet-broken",
        hint="write or copy the file again",
    )


def read_json_lines(path: Path, stream: IO[bytes]) -> RowSource:
    """The rows of a JSON Lines file; its columns are the keys of all its objects, in the order in which they come up."""
    text, notes = open_text(path, stream)
    names = list(dict.fromkeys(name for _, record in _records(path, text) for name in record))
    header = [cell_text(name) for name in names]

    def rows() -> Iterator[tuple[int, list[str]]]:
        for line, record in _records(path, text):
            yield line, [cell_text(record.get(name)) for name in names]

    return RowSource(header, rows(), notes)


def _records(path: Path, text: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    text.seek(0)
    for number, line in enumerate(checked_lines(path, text), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number} is not one JSON object: {str(error)[:120]}",
                code="json-lines-broken",
                hint="write one whole object on each line",
            ) from None
        if not isinstance(record, dict):
            raise UserError(
                f"{path}, line {number} is no JSON object: {line.strip()[:60]!r}",
                code="json-lines-no-object",
                hint='write an object on each line, as {"sample_id": "1", ...}',
            )
        yield number, record


def read_excel(path: Path, stream: IO[bytes], sheet: str | None) -> RowSource:
    """The rows of one sheet: the named one, else the first, with a note where there are others.

    Raises UserError for a file that is broken, or whose sheet would not fit into the memory.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    _check_excel(path, stream)
    try:
        book = CalamineWorkbook.from_filelike(stream)
        sheets = [each for each in book.sheets_metadata if each.typ is SheetTypeEnum.WorkSheet]
        names = [each.name for each in sorted(sheets, key=lambda each: each.visible is not SheetVisibleEnum.Visible)]
        if sheet is not None and sheet not in names:
            raise UserError(f"{path} has no sheet {sheet!r}", code="excel-no-such-sheet", hint=suggestion(sheet, names))
        if not names:
            raise UserError(f"{path} has no sheet", code="excel-no-sheet", hint="give a file with a table in it")
        name = sheet if sheet is not None else names[0]
        cells = book.get_sheet_by_name(name)
    except (CalamineError, OSError) as error:
        raise _broken_excel(path, str(error)) from None
    notes = [f"{path}: sheet {name!r} is read, the first of {some(map(repr, names))}"]
    rows = _excel_rows(cells)
    _, header = next(rows, (0, []))
    width = max((place for place, field in enumerate(header, 1) if field), default=0)
    return RowSource(
        header[:width],
        ((line, _trimmed(fields, width)) for line, fields in rows),
        notes if sheet is None and len(names) > 1 else [],
        counted="sheet row",
    )


def _excel_rows(cells: Any) -> Iterator[tuple[int, list[str]]]:
    for line, row in enumerate(cells.iter_rows(), 1):
        fields = [cell_text(value) for value in row]
        if any(fields):
            yield line, fields


def _trimmed(fields: list[str], width: int) -> list[str]:
    """Without empty cells beyond the header; filled ones stay, and make the row wider than the header."""
    filled = max((place for place, field in enumerate(fields, 1) if field), default=0)
    return fields[: max(width, filled)]


def _check_excel(path: Path, stream: IO[bytes]) -> None:
    """Raises UserError where unpacking would take too much memory. Each part is read through: a declared size may be a lie."""
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            if sum(each.file_size for each in archive.infolist()) > MOST_EXCEL_BYTES:
                raise _too_large(path)
            for each in archive.infolist():
                _check_part(path, archive, each)
    except BROKEN as error:
        raise _broken_excel(path, str(error)) from None
    stream.seek(0)


def _check_part(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    row = column = last_row = last_column = 0
    rest = b""
    with archive.open(entry) as part:
        while block := part.read(_BLOCK):
            if not entry.filename.startswith("xl/worksheets/"):
                continue
            whole, tag, rest = (rest + block).rpartition(b"<")
            rest = tag + rest
            for kind, attributes in _TAG.findall(whole):
                place = _PLACE.search(attributes)
                if kind == b"row":
                    row, column = int(place[2]) if place and place[2] else row + 1, 0
                    continue
                column = _column_number(place[1]) if place and place[1] else column + 1
                row = int(place[2]) if place and place[2] else row
                if not attributes.endswith(b"/"):  # an empty cell is not held
                    last_row, last_column = max(row, last_row), max(column, last_column)
    if last_row * last_column > MOST_CELLS:
        raise _too_large(path)


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path} is too large for an Excel file: cells from A1 to its last filled one are more than {MOST_CELLS:,}, or its parts "
        f"unpack to more than {MOST_EXCEL_BYTES >> 30} GiB",
        code="excel-too-large",
        hint="delete stray cells far from the table, or save the table as CSV or Parquet",
    )


def _broken_excel(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} cannot be read as an Excel file: {what[:200]}",
        code="excel-broken",
        hint="open it and save it again, or save it as CSV",
    )
