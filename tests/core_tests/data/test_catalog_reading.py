"""Every bad input of a user as a real file: the error, and that nothing is silently changed."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from core.data import csv_table
from core.data.reading import MAX_TEXT, MIN_TRAIN_ROWS, ReadResult, read_catalog, read_catalogs
from core.data.table_reader import read_table
from tests.errors import refused
from tests.paths import SHARED

HEADER = ["sample_id", "catalog_content", "image_link", "price"]
DATA = SHARED / "data"


def good_rows(count: int = 30) -> list[list[str]]:
    return [
        [f"{row:03}", f'Item {row}, "large"\nValue: {row}', f"http://x/{row}.jpg", f"{row + 0.5}"]
        for row in range(count)
    ]


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER, encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    return write(tmp_path / "test.csv", [["t1", "a", ""], ["t2", "b", ""]], HEADER[:3])


def read(train: Path, test: Path, drop_bad: bool = False) -> ReadResult:
    return read_catalogs(train, test, None, drop_bad=drop_bad)


def refused_reading(code: str, train: Path, test: Path, *facts: str) -> str:
    """Message of the error with this code, which names the facts."""
    with refused(code) as caught:
        read(train, test)
    message = str(caught.value)
    for fact in facts:
        assert fact in message
    assert caught.value.hint
    return message


def test_a_good_file_is_read_as_it_stands(tmp_path: Path, test_file: Path) -> None:
    rows = good_rows()
    rows[1][0], rows[1][1] = "NA", "NA"
    result = read(write(tmp_path / "train.csv", rows), test_file)
    assert result.train.ids[:3].tolist() == ["000", "NA", "002"]
    assert result.train.texts[:2].tolist() == [rows[0][1], "NA"]
    assert result.train.known_prices[:2].tolist() == [0.5, 1.5]
    assert result.test.prices is None
    assert result.notes == []


@pytest.mark.parametrize(
    ("price", "kind"),
    [
        ("cheap", "not a number"),
        ("1,299.00 kg", "not a number"),
        ("-3", "negative"),
        ("0", "zero"),
        ("NaN", "no price"),
        ("", "no price"),
        ("inf", "infinite"),
        ("1e101", "over 1e100"),
    ],
)
def test_bad_prices(tmp_path: Path, test_file: Path, price: str, kind: str) -> None:
    rows = good_rows()
    rows[2][3] = price
    train = write(tmp_path / "train.csv", rows)
    facts = ("train.csv", "row 3 (line 6), column price", kind, repr(price), "--drop-bad")
    refused_reading("catalog-bad-rows", train, test_file, *facts)
    result = read(train, test_file, drop_bad=True)
    assert len(result.train) == 29
    assert "002" not in result.train.ids
    assert f"1 {kind}" in result.notes[0]


def test_all_kinds_are_reported_at_once_and_the_first_ten_are_shown(tmp_path: Path, test_file: Path) -> None:
    rows = good_rows(40)
    for row in range(12):
        rows[row][3] = "0"
    rows[20][1] = "  "
    rows[21][0] = "020"
    train = write(tmp_path / "train.csv", rows)
    kinds = ("12 zero", "1 empty text", "1 id used before")
    message = refused_reading("catalog-bad-rows", train, test_file, "14 bad rows", *kinds, "... and 4 more")
    assert message.count("column price") == 10
    assert len(read(train, test_file, drop_bad=True).train) == 26


def test_ids_of_the_two_files_may_be_equal_and_only_equal_texts_too_are_noted(tmp_path: Path) -> None:
    rows = good_rows()
    train = write(tmp_path / "train.csv", rows)
    test = write(tmp_path / "test.csv", [[row[0], f"other {row[1]}", ""] for row in rows], HEADER[:3])
    result = read(train, test)
    assert len(result.train) == len(result.test) == len(rows)
    assert not [note for note in result.notes if "same id" in note]
    write(test, [rows[3][:3], ["004", "something else", ""]], HEADER[:3])
    (note,) = (note for note in read(train, test).notes if "same id" in note)
    assert note.startswith("1 of 2 test rows") and note.endswith(rows[3][0])


def test_a_test_row_is_never_dropped(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", good_rows())
    test = write(tmp_path / "test.csv", [["t1", "", ""], ["t2", "☃" * 10, ""]], HEADER[:3])
    assert len(read(train, test, drop_bad=True).test) == 2
    write(test, [["t1", "a", ""], ["t1", "b", ""]], HEADER[:3])
    with refused("catalog-bad-rows") as caught:
        read(train, test, drop_bad=True)
    assert "test.csv" in caught.value.what
    assert "row 2 (line 3), column sample_id: id used before: 't1'" in caught.value.what


@pytest.mark.parametrize(
    ("wrong", "right"), [("Price", "price"), ("catalog_contents", "catalog_content"), ("sampleid", "sample_id")]
)
def test_a_column_with_another_name_is_suggested(tmp_path: Path, test_file: Path, wrong: str, right: str) -> None:
    header = [wrong if name == right else name for name in HEADER]
    train = write(tmp_path / "train.csv", good_rows(), header)
    refused_reading("csv-missing-column", train, test_file, f"`{right}`", f"'{wrong}'")


def test_files_without_usable_rows_or_prices(tmp_path: Path, test_file: Path) -> None:
    refused_reading("csv-missing", tmp_path / "none.csv", test_file, "none.csv")
    refused_reading("csv-is-folder", tmp_path, test_file)
    (tmp_path / "empty.csv").touch()
    refused_reading("csv-empty", tmp_path / "empty.csv", test_file, "empty.csv")
    refused_reading("csv-no-rows", write(tmp_path / "header.csv", []), test_file)
    few = write(tmp_path / "few.csv", good_rows(3))
    refused_reading("catalog-too-few-rows", few, test_file, str(MIN_TRAIN_ROWS))
    unpriced = write(tmp_path / "train.csv", [row[:3] for row in good_rows()], HEADER[:3])
    refused_reading("csv-missing-column", unpriced, test_file, "train.csv, line 1", "`price`")


def test_long_text_is_cut_with_a_note(tmp_path: Path, test_file: Path) -> None:
    rows = good_rows()
    rows[4][1] = "x" * 200_000
    result = read(write(tmp_path / "train.csv", rows), test_file)
    assert result.train.texts[4] == "x" * MAX_TEXT
    assert "train.csv" in result.notes[0]
    assert "row 5 (line 10): 200,000" in result.notes[0]


def test_damaged_utf8_and_nul_bytes_are_located(tmp_path: Path, test_file: Path) -> None:
    rows = good_rows()
    rows[1][1] = "Crème brûlée"
    train = write(tmp_path / "train.csv", rows)
    train.write_bytes(train.read_bytes().replace("û".encode(), b"\xfb"))
    refused_reading("csv-not-utf8", train, test_file, "line 4", "0xfb", "Crème br")
    rows[0][1] = "a\0b"
    refused_reading(
        "catalog-bad-rows", write(train, rows), test_file, "row 1 (line 2), column catalog_content", "tr -d"
    )


def test_utf8_with_a_mark(tmp_path: Path, test_file: Path) -> None:
    assert read(write(tmp_path / "train.csv", good_rows(), encoding="utf-8-sig"), test_file).train.ids[0] == "000"


@pytest.mark.parametrize(
    ("text", "code", "fact"), [('"open', "csv-bad-quote", ""), ("x" * 1_001, "csv-field-too-long", "1,000 characters")]
)
def test_open_quotes_and_fields_that_are_too_long(
    tmp_path: Path, test_file: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str, fact: str
) -> None:
    monkeypatch.setattr(csv_table, "MAX_FIELD", 1_000)
    train = write(tmp_path / "train.csv", good_rows())
    train.write_text(train.read_text() + f"999,{text},,3\n")
    refused_reading(code, train, test_file, "row 31 (line 62)", fact)


def test_ragged_rows(tmp_path: Path, test_file: Path) -> None:
    rows = good_rows()
    rows[1].append("more")
    rows[3].pop()
    facts = "row 2 (line 4): 5 fields", "row 4 (line 8): 3 fields"
    refused_reading("csv-ragged-rows", write(tmp_path / "train.csv", rows), test_file, *facts)


def test_gzip_and_the_pictures_folder(tmp_path: Path, test_file: Path) -> None:
    train = write(tmp_path / "train.csv", good_rows())
    packed = tmp_path / "train.csv.gz"
    packed.write_bytes(gzip.compress(train.read_bytes()))
    assert read(packed, test_file).train.fingerprint == read(train, test_file).train.fingerprint
    packed.write_bytes(packed.read_bytes()[:50])
    refused_reading("csv-bad-gzip", packed, test_file)
    with refused("images-no-folder"):
        read_catalogs(train, test_file, tmp_path / "nowhere")
    assert read_catalogs(train, test_file, tmp_path).train.images == tmp_path


def test_a_missing_link_column_means_no_links(tmp_path: Path) -> None:
    rows = [[row[0], row[1], row[3]] for row in good_rows()]
    catalog, notes = read_catalog(
        write(tmp_path / "train.csv", rows, ["sample_id", "catalog_content", "price"]), "train"
    )
    assert set(catalog.links) == {""}
    assert notes == []


@pytest.mark.skipif(not DATA.exists(), reason="the real catalogs of ../shared/data are not there")
@pytest.mark.parametrize(("name", "rows"), [("ikea", (2929, 765)), ("whisky", (1798, 449)), ("grocery", (200, 100))])
def test_real_catalogs(name: str, rows: tuple[int, int]) -> None:
    result = read(DATA / name / "train.csv", DATA / name / "test.csv")
    assert (len(result.train), len(result.test)) == rows
    assert result.notes == []


def test_a_table_carries_all_columns_and_numbers_repeated_names(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", [["1", "a", "b", "c", "d"]], ["sample_id", "note", "note", "note.1", ""])
    table = read_table(path, ("sample_id",))
    assert table.columns == {"sample_id": ["1"], "note": ["a"], "note.2": ["b"], "note.1": ["c"], "Unnamed: 4": ["d"]}
    assert table.repeated == {"note"}
    with refused("csv-doubled-column"):
        read_table(path, ("sample_id", "note"))
