"""A test file read in parts is read as strictly as one read whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.reading import read_catalog, read_in_parts
from core.errors import UserError
from tests.errors import refused

HEADER = b"sample_id,catalog_content,image_link\n"
GOOD = b"1,tea,\n2,coffee,http://a/2.jpg\n"


def whole(path: Path, rows: int) -> list[list[object]]:
    parts = [part for part, _ in read_in_parts(path, rows)]
    assert all(len(part) == rows for part in parts[:-1])
    return [[value for part in parts for value in getattr(part, name)] for name in ("ids", "texts", "links")]


def refused_alike(path: Path) -> None:
    """Asserts that reading the file whole and in parts raises the same error."""
    with pytest.raises(UserError) as one:
        read_catalog(path, "test")
    with pytest.raises(UserError) as other:
        whole(path, 2)
    assert str(other.value) == str(one.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n ", id="blank"),
        pytest.param(b" " * 100 + b"\n" + HEADER + GOOD, id="blank beginning"),
        pytest.param(HEADER, id="no rows"),
        pytest.param(b"id,text\n1,tea\n", id="no columns"),
        pytest.param(b"sample_id;catalog_content\n1;tea;2\n", id="semicolons"),
        pytest.param(b"sample_id,sample_id,catalog_content\n1,1,tea\n", id="column twice"),
        pytest.param(HEADER + GOOD + b"3,tea\n", id="field missing"),
        pytest.param(HEADER + GOOD + b'3,"tea,\n', id="open quote"),
        pytest.param(HEADER + GOOD + b'3,"te"a,\n', id="stray quote"),
        pytest.param(HEADER + GOOD + b"1,again,\n", id="id twice"),
        pytest.param(HEADER + GOOD + b"3,tea,\n3,again,\n", id="id twice in one part"),
        pytest.param(HEADER + GOOD + b" ,tea,\n", id="no id"),
        pytest.param(HEADER + GOOD + b"3,te\0a,\n", id="NUL"),
        pytest.param(HEADER + GOOD + b"3,caf\xc3\xa9 cr\xc3\xa8me br\xfb,\n", id="damaged UTF-8"),
        pytest.param((HEADER + GOOD).decode().encode("utf-16")[:-1], id="half of UTF-16"),
    ],
)
def test_what_is_refused_whole_is_refused_in_parts_in_the_same_words(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_bytes(content)
    refused_alike(path)


def test_missing_files_folders_and_broken_archives(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(HEADER + GOOD * 1)[:-6])
    for name in ("missing.csv", ".", "a.csv.gz"):
        refused_alike(tmp_path / name)
    with refused("images-no-folder"):
        next(read_in_parts(tmp_path / "a.csv.gz", 2, images=tmp_path / "pictures"))


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@given(texts=st.lists(TEXTS, min_size=1, max_size=9), rows=st.integers(1, 10), packed=st.booleans())
def test_rows_are_the_same(texts: list[str], rows: int, packed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    import pandas as pd

    path = tmp_path_factory.mktemp("parts") / ("test.csv.gz" if packed else "test.csv")
    frame = pd.DataFrame(
        {"sample_id": [f"r{n}" for n in range(len(texts))], "catalog_content": texts, "image_link": ""}
    )
    frame.to_csv(path, index=False, quoting=1, encoding="utf-8-sig")
    expected, _ = read_catalog(path, "test")
    assert whole(path, rows) == [list(column) for column in (expected.ids, expected.texts, expected.links)]


def test_long_texts_are_cut_with_a_note_that_names_the_row_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_bytes(HEADER + GOOD + b"3," + b"x" * 200_000 + b",\n")
    parts = list(read_in_parts(path, 2))
    assert [len(part) for part, _ in parts] == [2, 1]
    assert len(parts[1][0].texts[0]) == 100_000 and "row 3 (line 4): 200,000" in parts[1][1][0]
    assert np.array_equal(parts[1][0].texts, read_catalog(path, "test")[0].texts[2:])
