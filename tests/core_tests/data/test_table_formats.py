"""Tables in every format, encoding and separator read back the same, whole and in parts; files that are no table are refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from core.data import csv_table, typed_tables, unpacking
from core.data.table_reader import Table, is_row_number, read_table, read_tables
from core.errors import UserError
from tests.core_tests.data.xlsx import write_xlsx
from tests.errors import refused
from tests.paths import SHARED

DATA = SHARED / "data"
COLUMNS = {"sample_id": ["007", "8"], "title": ['Tea, "green"; 5|6', "Crème\nbrûlée €"], "price": ["1.50", "2"]}
CELL = st.text(st.characters(codec="cp1252", exclude_characters="\0", exclude_categories=("Cc",)), max_size=12)
_WESTERN = string.printable + "äöüéèñÄÖÜÉ"
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=7)
)


def as_csv(columns: dict[str, list[str]], separator: str = ",", encoding: str = "utf-8", first: str = "") -> bytes:
    text = io.StringIO(newline="")
    text.write(first)
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return text.getvalue().encode(encoding)


def as_parquet(columns: dict[str, list[str]]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream, row_group_size=3)
    return stream.getvalue()


def as_json_lines(columns: dict[str, list[str]]) -> bytes:
    rows = (dict(zip(columns, fields, strict=True)) for fields in zip(*columns.values(), strict=True))
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def as_excel(columns: dict[str, list[str]]) -> bytes:
    return write_xlsx([list(columns), *map(list, zip(*columns.values(), strict=True))])


def as_zip(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


FORMATS = {
    "comma": as_csv,
    "semicolon": lambda columns: as_csv(columns, ";"),
    "tab": lambda columns: as_csv(columns, "\t"),
    "bar": lambda columns: as_csv(columns, "|"),
    "sep=": lambda columns: as_csv(columns, ";", first="sep=;\r\n"),
    "carriage returns": lambda columns: as_csv(columns, ";", first="sep=;\r\n").replace(b"\r\n", b"\r"),
    "utf-8-sig": lambda columns: as_csv(columns, encoding="utf-8-sig"),
    "utf-16": lambda columns: as_csv(columns, "\t", "utf-16"),
    "utf-16-be": lambda columns: b"\xfe\xff" + as_csv(columns, ";", "utf-16-be"),
    "cp1252": lambda columns: as_csv(columns, ";", "cp1252"),
    "parquet": as_parquet,
    "json lines": as_json_lines,
    "gz": lambda columns: gzip.compress(as_csv(columns)),
    "parquet.gz": lambda columns: gzip.compress(as_parquet(columns)),
    "zip": lambda columns: as_zip(("a/train.csv", as_csv(columns, ";")), ("__MACOSX/._train.csv", b"x")),
    "xlsx": as_excel,
    "xlsx.zip": lambda columns: as_zip(("book.xlsx", as_excel(columns))),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path whose suffix says nothing."""
    return tmp_path / "table.dat"


def joined(parts: Iterator[Table]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for part in parts:
        for name, values in part.columns.items():
            columns.setdefault(name, []).extend(values)
    return columns


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_content(path: Path, name: str) -> None:
    path.write_bytes(FORMATS[name](COLUMNS))
    table = read_table(path, ("sample_id",))
    assert table.columns == COLUMNS
    assert joined(read_tables(path, ("sample_id",), 1)) == COLUMNS
    assert bool(table.notes) == (
        name not in {"comma", "utf-8-sig", "parquet", "json lines", "gz", "parquet.gz", "xlsx"}
    )


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None)
@given(rows=TABLES, chunk=st.integers(1, 8))
def test_any_table_reads_back_the_same(name: str, rows: list[list[str]], chunk: int) -> None:
    columns = {f"name {place}": list(values) for place, values in enumerate(zip(*rows, strict=True))}
    if name == "cp1252":  # letters above 0xc0 alone: with others, a few bytes can be right in UTF-8 as well
        columns = {key: ["x".join(filter(_WESTERN.__contains__, each)) for each in columns[key]] for key in columns}
    if "xlsx" in name:  # a row of empty cells is no row in a sheet
        columns["name 0"] = [f"x{value}" for value in columns["name 0"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(FORMATS[name](columns))
        assert read_table(path, ()).columns == columns
        assert joined(read_tables(path, (), chunk)) == columns


def test_typed_cells_are_written_as_csv_would_have_them(path: Path) -> None:
    frame = pd.DataFrame(
        {
            "sample_id": [12.0, None, 0.5],
            "big": [2**62 + 1, 3, 4],
            "yes": [True, False, True],
            "day": [date(2024, 1, 31), None, date(2024, 2, 1)],
            "moment": [datetime(2024, 1, 31), datetime(2024, 1, 31, 12, 5), None],
            "exact": [Decimal("12.00"), Decimal("12.50"), None],
            "list": [["a", "é"], [], None],
            "bytes": [b"\xff", b"", b""],
        }
    )
    frame.to_parquet(path)
    table = read_table(path, ("sample_id",))
    assert table.columns == {
        "sample_id": ["12", "", "0.5"],
        "big": [str(2**62 + 1), "3", "4"],
        "yes": ["true", "false", "true"],
        "day": ["2024-01-31", "", "2024-02-01"],
        "moment": ["2024-01-31", "2024-01-31T12:05:00", ""],
        "exact": ["12", "12.50", ""],
        "list": ['["a", "é"]', "[]", ""],
    }
    assert "bytes" in table.notes[0]
    assert table.place(1) == "row 2"
    with refused("parquet-nested-column"):
        read_table(path, ("list",))


def test_pandas_index_is_left_out(path: Path) -> None:
    frame = pd.DataFrame({"sample_id": ["a", "b"]}, index=[7, 3])
    frame.to_parquet(path)
    table = read_table(path, ())
    assert table.columns == {"sample_id": ["a", "b"]}
    assert "index" in table.notes[0]


@pytest.mark.parametrize(
    ("name", "values", "counts"),
    [
        ("Unnamed: 0", ["0", "1", "2"], True),
        ("index", ["1", "2"], True),
        ("Unnamed: 0", ["5", "6"], False),
        ("price", ["1", "2", "3"], False),
        ("price", [str(row) for row in range(300, 340)], True),
        ("index", ["0", "2"], False),
        ("index", ["0", "", "2"], False),
        ("index", ["00", "01"], False),
        ("index", [], False),
    ],
)
def test_row_numbers_are_recognised(name: str, values: list[str], counts: bool) -> None:
    assert is_row_number(name, values) is counts


def test_half_a_letter_becomes_the_replacement_character(path: Path) -> None:
    path.write_text('{"sample_id": "\\ud83d", "na\\udc00me": "mug \\ud83d\\ude00 \\ud800", "price": ["\\udfff"]}\n')
    table = read_table(path, ())
    assert table.columns == {"sample_id": ["\ufffd"], "na\ufffdme": ["mug \U0001f600 \ufffd"], "price": ['["\ufffd"]']}


def test_json_lines_with_other_keys_and_types(path: Path) -> None:
    path.write_text('{"sample_id": 12345678901234567890123, "price": 3.0}\n\n{"sample_id": "a", "tags": ["x", 1]}\n')
    table = read_table(path, ("sample_id",))
    assert table.columns == {
        "sample_id": ["12345678901234567890123", "a"],
        "price": ["3", ""],
        "tags": ["", '["x", 1]'],
    }
    assert table.place(1) == "row 2 (line 3)"


def test_a_sheet_is_named_or_the_first(path: Path) -> None:
    first, second = (
        [["sample_id", "price", None], [12, 0.5, None], [None, None, None], [True, 3, None]],
        [["other"], ["1"]],
    )
    path.write_bytes(write_xlsx(first, second))
    table = read_table(path, ("sample_id",))
    assert table.columns == {"sample_id": ["12", "true"], "price": ["0.5", "3"]}
    assert "'Sheet1' is read, the first of 'Sheet1', 'Sheet2'" in table.notes[0]
    assert table.place(1) == "row 2 (sheet row 4)"
    named = read_table(path, (), sheet="Sheet2")
    assert (named.columns, named.notes) == ({"other": ["1"]}, ())
    with refused("excel-no-such-sheet"):
        read_table(path, (), sheet="Shet2")
    path.write_bytes(as_csv(COLUMNS))
    with refused("sheet-without-excel"):
        read_table(path, (), sheet="Sheet1")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a;b\n1;2;\n3;4;\n", id="trailing separator"),
        pytest.param(b"sep=;\na;b\n1\n", id="narrow"),
        pytest.param(write_xlsx([["a", "b"], [1, 2, None, 3]]), id="sheet"),
    ],
)
def test_rows_of_another_width_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with refused("csv-ragged-rows") as caught:
        read_table(path, ("a",))
    assert "row 1" in caught.value.what


def no_table(name: str) -> bytes:
    contents = {
        "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "html": b"\n<!DOCTYPE html><html><body>Log in</body></html>",
        "old excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "tar": tarfile.TarInfo("a.csv").tobuf() + bytes(1_024),
        "json list": b'[\n  {"sample_id": 1}\n]',
        "random": bytes(range(254, 0, -1)) * 40,
        "no sheets": write_xlsx(),
        "empty sheet": write_xlsx([]),
        "no keys": b"{}\n{}\n",
        "control": b"id,\x01\x02\x03\x04\xe9\xe8\xff\n" * 40,
        "nul": bytes(5_000),
        "one line": b"x" * 10_000_000,
        "one line of commas": b"," * 1_000_000,
        "half parquet": as_parquet(COLUMNS)[:-9],
        "half zip": as_zip(("a.csv", as_csv(COLUMNS) * 50))[:-40],
        "empty zip": as_zip(),
        "two tables": as_zip(("a.csv", b"a,b\n1,2\n"), ("b.csv", b"a,b\n1,2\n")),
        "zip in zip": as_zip(("a.zip", as_zip(("a.csv", b"a,b\n1,2\n")))),
        "gz in zip": as_zip(("a.csv.gz", gzip.compress(b"a,b\n1,2\n"))),
        "half gz": gzip.compress(as_csv(COLUMNS) * 50)[:-20],
        "json": b'{"sample_id": 1}\n{"sample_id": \n',
        "deep json": b'{"sample_id": ' + b"[" * 200_000,
        "json, no object": b'{"sample_id": 1}\n[1]\n',
        "no sheet": as_zip(("xl/workbook.xml", b"<workbook/>")),
        "quote": b'sample_id,b\n1,"2\n',
    }
    return contents[name]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("png", "table-other-format"),
        ("pdf", "table-other-format"),
        ("html", "table-other-format"),
        ("old excel", "table-other-format"),
        ("tar", "table-other-format"),
        ("json list", "table-json-list"),
        ("random", "table-binary"),
        ("no sheets", "excel-no-sheet"),
        ("empty sheet", "csv-empty"),
        ("no keys", "csv-empty"),
        ("control", "table-binary"),
        ("nul", "table-no-header"),
        ("one line", "table-no-header"),
        ("one line of commas", "table-no-header"),
        ("half parquet", "parquet-broken"),
        ("half zip", "archive-broken"),
        ("empty zip", "archive-not-one-table"),
        ("two tables", "archive-not-one-table"),
        ("zip in zip", "archive-nested"),
        ("gz in zip", "archive-nested"),
        ("half gz", "csv-bad-gzip"),
        ("json", "json-lines-broken"),
        ("deep json", "json-lines-broken"),
        ("json, no object", "json-lines-no-object"),
        ("no sheet", "excel-broken"),
        ("quote", "csv-bad-quote"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(path: Path, name: str, code: str) -> None:
    path.write_bytes(no_table(name))
    with refused(code) as caught:
        read_table(path, ("sample_id",))
    assert len(caught.value.printed) < 700
    assert caught.value.hint


def with_sheet(*rows: str) -> bytes:
    """An Excel file whose sheet has these rows, written by hand."""
    content = write_xlsx([["x"]])
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        parts = {each: book.read(each) for each in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    before, _, rest = parts[sheet].partition(b"<row")
    after = rest.partition(b"</row>")[2]
    return as_zip(*(parts | {sheet: before + "".join(rows).encode() + after}).items())


FIRST = '<row r="1"><c r="A1" t="str"><v>sample_id</v></c></row>'


@pytest.mark.parametrize(
    "rows",
    [
        ['<row r="2"><c r="XFD1048576"><v>1</v></c></row>'],
        ["<row r='2'><c s='1' r='XFD1048576'><v>1</v></c></row>"],
        ["<row>", "<c><v>1</v></c>" * 16_000, '</row><row r="1048576"><c><v>1</v></c></row>'],
    ],
    ids=["far", "other quotes", "places left out"],
)
def test_a_sheet_of_few_cells_far_apart_is_refused(path: Path, rows: list[str]) -> None:
    path.write_bytes(with_sheet(FIRST, *rows))
    with refused("excel-too-large"):
        read_table(path, ("sample_id",))


def test_formatted_empty_cells_far_away_do_not_count(path: Path) -> None:
    path.write_bytes(
        with_sheet(FIRST, '<row r="7"><c r="A7"><v>12</v></c><c r="XFD7" s="1"/></row>', '<row r="1048576"/>')
    )
    table = read_table(path, ("sample_id",))
    assert (table.columns, table.place(0)) == ({"sample_id": ["12"]}, "row 1 (sheet row 7)")


@pytest.mark.parametrize("name", ["cp1252", "parquet", "json lines", "gz", "zip", "xlsx"])
@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray(FORMATS[name](COLUMNS))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table")
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        try:
            assert len(read_table(path, ())) > 0
        except UserError as error:
            assert error.code and error.hint and len(error.printed) < 1_000


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("чай чёрный", "cp1251"), ("τσάι πράσινο", "cp1253"), ("绿茶 陶瓷杯", "gb18030"), ("녹차 머그컵", "euc-kr")],
)
def test_encodings_that_are_not_western_are_refused(path: Path, text: str, encoding: str) -> None:
    path.write_bytes(as_csv({"sample_id": ["1", "2"], "title": [text, text * 9]}, encoding=encoding))
    with refused("csv-unknown-encoding") as caught:
        read_table(path, ())
    assert "iconv" in caught.value.hint
    western = {"sample_id": ["1"], "title": ["ações, corações, Größe, pão de açúcar, maçãs, “chá” – 5 €" * 9]}
    path.write_bytes(as_csv(western, encoding="cp1252"))
    assert read_table(path, ()).columns == western


def test_archives_are_bounded_by_what_they_unpack_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    bomb = b"a,b\n" + b"1,2\n" * 1_000_000
    for content in (as_zip(("a.csv", bomb)), gzip.compress(bomb)):
        path.write_bytes(content)
        with refused("archive-too-large"):
            read_table(path, ())
    declared = bytearray(as_zip(("a.csv", bomb)))
    size = len(bomb).to_bytes(4, "little")
    assert declared.count(size) == 2, "the size stands in the entry and in the directory"
    path.write_bytes(declared.replace(size, (100).to_bytes(4, "little")))
    with refused("archive-broken"):
        read_table(path, ())
    monkeypatch.setattr(typed_tables, "MOST_EXCEL_BYTES", 100)
    path.write_bytes(write_xlsx([["a"], [1]]))
    with refused("excel-too-large"):
        read_table(path, ())


def test_an_encrypted_zip(path: Path) -> None:
    content = bytearray(as_zip(("a.csv", b"a,b\n1,2\n")))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    path.write_bytes(content)
    with refused("archive-encrypted"):
        read_table(path, ())


def test_a_line_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_LINE", 1_000)
    for content in (b"a,b\n1," + b"x" * 1_000, b'{"a": "' + b"x" * 1_000):
        path.write_bytes(content)
        with refused("table-line-too-long"):
            read_table(path, ())


@pytest.mark.skipif(not DATA.exists(), reason="the real catalogs of ../shared/data are not there")
@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("ikea", ("semicolon", "xlsx", "json lines")),
        ("whisky", ("cp1252", "parquet", "zip")),
        ("books_in", ("tab", "parquet.gz", "json lines")),
        ("autos_de", ("utf-16", "parquet", "gz")),
        ("rumah_id", ("sep=", "xlsx.zip", "bar")),
        ("flipkart", ("utf-8-sig", "xlsx", "parquet")),
    ],
)
def test_real_catalogs_in_three_formats_each(path: Path, name: str, formats: tuple[str, ...]) -> None:
    expected = read_table(DATA / name / "test.csv", ()).columns
    for form in formats:
        columns = expected
        if form == "cp1252":
            columns = {
                key: [value.encode("cp1252", "ignore").decode("cp1252") for value in values]
                for key, values in expected.items()
            }
        path.write_bytes(FORMATS[form](columns))
        assert read_table(path, ("sample_id",)).columns == columns, form
        assert joined(read_tables(path, ("sample_id",), 500)) == columns, form
