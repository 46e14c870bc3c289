"""Odd files, as spreadsheets, shops and interrupted downloads make them: read right, or refused with what to do."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from core.data.catalog_config import TableConfig
from core.data.reading import ReadResult, read_catalogs
from core.errors import UserError
from core.fields.column_kinds import describe_columns
from tests.core_tests.data.xlsx import write_xlsx

NAMES = ["sample_id", "catalog_content", "price", "weight"]
CELLS = [[row, f"thing number {row}", row + 1.5, 10 * row + 5] for row in range(40)]
HEADER = ",".join(NAMES)
ROWS = [f"{row},thing number {row},{row + 1}.50,{10 * row + 5}" for row in range(40)]
MORE = [f"{row},thing number {row},{row + 1}.50,{10 * row + 5}" for row in range(40, 60)]
TEXT = "\n".join([HEADER, *ROWS]) + "\n"


def lines(objects: list[object]) -> bytes:
    return "\n".join(map(json.dumps, objects)).encode()


def parquet_bytes() -> bytes:
    columns = {
        "sample_id": pa.array([float(row) for row in range(40)]),
        "catalog_content": pa.array([f"thing {row % 3}" for row in range(40)]).dictionary_encode(),
        "price": pa.array([Decimal(row + 1) / 4 for row in range(40)], pa.decimal128(10, 2)),
        "weight": pa.array([datetime(2024, 1, 1 + row % 20, row % 2) for row in range(40)], pa.timestamp("us")),
    }
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.csv", content)
    return stream.getvalue()


def read(folder: Path, content: bytes | str, **table: str) -> ReadResult:
    """The file as a training file beside a test file with the same columns."""
    train, test = folder / "odd.csv", folder / "test.csv"
    train.write_bytes(content.encode() if isinstance(content, str) else content)
    test.write_text(
        "sample_id,catalog_content,weight,released\n" + "\n".join(f"t{row},thing,1{row},2" for row in range(9))
    )
    return read_catalogs(train, test, None, table=TableConfig(**table))


RIGHT: dict[str, tuple[bytes | str, Callable[[ReadResult], bool]]] = {
    "Excel's sep=": ("sep=;\n" + TEXT.replace(",", ";"), lambda read: read.train.ids[1] == "1"),
    "cp1252": (
        TEXT.replace("number 3,", "número €,").encode("cp1252"),
        lambda read: "número €" in read.train.texts[3] and "Windows-1252" in read.notes[0],
    ),
    "UTF-16 with tabs": (TEXT.replace(",", "\t").encode("utf-16"), lambda read: read.train.known_prices[39] == 40.5),
    "mark in the middle": (
        TEXT.encode() + b"\xef\xbb\xbf" + "\n".join(MORE).encode(),
        lambda read: read.train.ids[40] == "40",
    ),
    "header in the middle": (
        TEXT.encode() + b"\xef\xbb\xbf" + "\n".join([HEADER, *MORE]).encode(),
        lambda read: len(read.train) == 60 and any("again and is no row: line 42" in note for note in read.notes),
    ),
    "mixed line ends": (TEXT.replace("\n", "\r\n", 9).replace("5\n", "5\r", 9), lambda read: len(read.train) == 40),
    "doubled names": (
        TEXT.replace("weight", "weight,weight").replace("5\n", "5,x\n"),
        lambda read: [each.name for each in read.columns.fields] == ["weight"],
    ),
    "spaces around names": (TEXT.replace(HEADER, " sample_id ,catalog_content , price,weight "), lambda _: True),
    "empty column": (
        TEXT.replace("weight", "weight,released").replace("5\n", "5,\n"),
        lambda read: "empty: released" in read.notes[-1],
    ),
    "dates as serials": (
        write_xlsx([[*NAMES, "released"], *([*row, 45_000 + 3 * row[0] % 17] for row in CELLS)]),
        lambda read: "released: 45003" in read.train.texts[1],
    ),
    "percent signs": (TEXT.replace("5\n", "5 %\n"), lambda read: "weight: 15 %" in read.train.texts[1]),
    "ja and nein": (
        re.sub(r"\d+\n", lambda cell: "ja\n" if len(cell[0]) < 4 else "nein\n", TEXT),
        lambda read: describe_columns(read.train, read.columns.fields)[0].kind == "yes/no",
    ),
    "JSON Lines with objects": (
        lines([{**dict(zip(NAMES, row, strict=True)), "weight": {"net": {"g": row[0]}}} for row in CELLS]),
        lambda read: 'weight: {"net": {"g": 1}}' in read.train.texts[1],
    ),
    "Parquet's types": (
        parquet_bytes(),
        lambda read: read.train.ids[7] == "7" and "weight: 2024-01-08T01:00:00" in read.train.texts[7],
    ),
    "xlsm": (write_xlsx([NAMES, *CELLS]), lambda read: read.train.known_prices[1] == 2.5),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_odd_files_that_are_read(tmp_path: Path, name: str) -> None:
    content, right = RIGHT[name]
    found = read(tmp_path, content)
    assert len(found.train) >= 40
    assert right(found), found.notes


REFUSED: dict[str, tuple[bytes | str, str, str, str]] = {
    "other case": (
        TEXT.replace(HEADER, HEADER.upper()),
        "catalog-columns-unmapped",
        "catalog_content",
        "--columns id=SAMPLE_ID,text=CATALOG_CONTENT,price=PRICE",
    ),
    "title above": ("Export of 2024,,,\n" + TEXT, "table-title-row", "'Export of 2024'", "delete the lines"),
    "title alone": ("Export of 2024\n\n" + TEXT, "table-title-row", "'Export of 2024'", "delete the lines"),
    "comments above": ("# by x\n# on Monday\n" + TEXT, "csv-ragged-rows", "row 2 (line 3)", "above the header"),
    "title in Excel": (write_xlsx([["Export"], NAMES, *CELLS]), "table-title-row", "'Export'", "delete the lines"),
    "totals below": (TEXT + "Total,,860.00,7800\n", "catalog-bad-rows", "row 41 (line 42), column", "--drop-bad"),
    "NUL bytes": (TEXT.replace("number 3,", "number\0 3,"), "catalog-bad-rows", "row 4 (line 5), column", "tr -d"),
    "open quote": (TEXT.replace("7,thing", '7,"thing', 1), "csv-bad-quote", "row 8 (line 9)", "close the quote"),
    "price twice": (TEXT.replace("weight", "price"), "csv-doubled-column", "`price`", "keep one"),
    "percent as price": (TEXT.replace("2.50,", "2.50%,", 1), "catalog-bad-rows", "column price", "1299.50"),
    "formula errors": (TEXT.replace("2.50,", "#REF!,", 1), "catalog-bad-rows", "row 2 (line 3), column price", "1299.50"),
    "JSON list": (json.dumps([{"sample_id": 1}, {"sample_id": 2}]), "table-json-list", "JSON list", "lines=True"),
    "xls or password": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "table-other-format", ".xls", ".xlsx"),
    "zip of two": (zipped(a=TEXT.encode(), b=TEXT.encode()), "archive-not-one-table", "a.csv, b.csv", "one table"),
    "zip bomb": (zipped(a=bytes(300 << 20)), "archive-too-large", "256 MiB", "unpack it"),
    "half a gzip": (gzip.compress(TEXT.encode())[:200], "csv-bad-gzip", "not a whole gzip", "copy"),
    "empty": ("", "csv-empty", "is empty", "header line"),
    "blank lines": ("  \n\n\n", "csv-empty", "is empty", "header line"),
    "header only": (HEADER + "\n", "csv-no-rows", "no rows", "below the header"),
    "one row": (f"{HEADER}\n{ROWS[0]}\n", "catalog-too-few-rows", "1 usable", "more rows"),
    "web page": ("<html><table><tr><td>1</td></tr></table></html>", "table-other-format", "web page", "CSV"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_odd_files_that_are_refused(tmp_path: Path, name: str) -> None:
    content, code, words, hint = REFUSED[name]
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    assert caught.value.code == code, caught.value
    assert "odd.csv" in caught.value.what and words in caught.value.what
    assert hint in caught.value.hint


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_catalogs(tmp_path, tmp_path / "test.csv", None)
    assert caught.value.code == "csv-is-folder"
