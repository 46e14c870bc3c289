"""How a network is shown the fields of a product: the line before its text, scaled numbers, and places of words."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.cache import Cache
from core.data.catalog import Catalog
from core.fields import read_fields
from core.fields.field_inputs import BUCKETS, CATEGORIES, UNKNOWN, learn_fields, reader_from, table_of, with_line
from pricestack.testing.architectures import toy_catalog


def lines(*texts: str) -> list[str]:
    return with_line(texts, read_fields(texts))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return toy_catalog(tmp_path_factory.mktemp("images"))


def test_the_line_holds_the_fields_of_the_text() -> None:
    line, _, text = lines("Item Name: ACME Cola, 330 ml (Pack of 12)")[0].partition("\n")
    assert text == "Item Name: ACME Cola, 330 ml (Pack of 12)"
    parts = line.split(" · ")
    assert parts[0] == "brand acme"
    assert {"pack 12", "total 3960 ml"} <= set(parts)
    assert not any("nan" in part or part.endswith(" g") for part in parts)


@pytest.mark.parametrize(("width", "part"), [("74 cm", "longest 74 cm"), ("909.41 m", "longest 90940 cm")])
def test_numbers_have_no_exponents(width: str, part: str) -> None:
    assert part in lines(f"Item Name: Table\nBullet Point 1: width {width}")[0].partition("\n")[0].split(" · ")


def test_a_text_without_fields_has_an_empty_line() -> None:
    assert lines("") == ["\n"]


def test_numbers_are_scaled_and_missing_ones_flagged() -> None:
    fields = read_fields(["Item Name: Old malt, 40%", "Item Name: Old malt"] * 5)
    reader = learn_fields(fields)
    numbers = reader.read(fields).numbers
    assert numbers.shape == (10, reader.width)
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all()
    percent = reader.scale.fields.index("percent")
    assert numbers[:, reader.width // 2 + percent].tolist() == [0.0, 1.0] * 5
    assert (numbers[1::2, percent] == 0).all()


def test_words_that_the_training_rows_do_not_repeat_are_unknown() -> None:
    reader = learn_fields(read_fields(["ACME red chair", "ACME oak table", "Bolt iron shelf"]))
    words = reader.read(read_fields(["ACME red chair", "Bolt iron shelf", "", "Never seen"])).words
    assert words.shape == (4, len(CATEGORIES))
    brand = words[:, CATEGORIES.index("brand")]
    assert 1 <= brand[0] <= BUCKETS
    assert (brand[1:] == UNKNOWN).all()
    assert (words[2] == UNKNOWN).all()


def test_a_word_is_not_known_by_another_that_shares_its_place_which_is_the_same_in_every_process() -> None:
    def place(brand: str) -> int:
        return 1 + zlib.crc32(f"brand {brand}".encode()) % BUCKETS

    other = next(name for name in (f"x{number}" for number in range(100_000)) if place(name) == place("acme"))
    reader = learn_fields(read_fields(["ACME red chair", "ACME oak table", f"{other} iron shelf"]))
    words = reader.read(read_fields(["ACME stool", f"{other} stool"])).words[:, CATEGORIES.index("brand")]
    assert words.tolist() == [place("acme"), UNKNOWN]  # Python's own hash of a string would differ from run to run
    assert reader.known.tolist() == sorted(reader.known.tolist())


def test_a_reader_survives_json_and_reads_rows_alone(catalog: Catalog) -> None:
    reader = learn_fields(read_fields(catalog.texts))
    again = reader_from(json.loads(json.dumps(reader.record())))
    rows = np.array([5, 40])
    for name in ("numbers", "words"):
        together = getattr(reader.read(read_fields(catalog.texts)), name)
        np.testing.assert_array_equal(getattr(again.read(read_fields(catalog.texts)), name), together)
        np.testing.assert_array_equal(getattr(reader.read(read_fields(catalog.take(rows).texts)), name), together[rows])


def test_there_may_be_no_rows(catalog: Catalog) -> None:
    read = learn_fields(read_fields(catalog.texts)).read(read_fields([]))
    assert (len(read.numbers), len(read.words)) == (0, 0)


def test_the_cache_holds_the_fields_as_they_were_read(catalog: Catalog, tmp_path: Path) -> None:
    cache, read = Cache(tmp_path), read_fields(catalog.texts)
    reader = learn_fields(read)
    for _ in range(2):
        table = table_of(catalog, cache)
        np.testing.assert_array_equal(reader.read(table).numbers, reader.read(read).numbers)
        np.testing.assert_array_equal(reader.read(table).words, reader.read(read).words)
        assert with_line(catalog.texts, table) == with_line(catalog.texts, read)
    assert len(cache.paths("fields")) == 1
    table_of(catalog.take(np.array([1])), cache)
    assert len(cache.paths("fields")) == 2
