"""Fields: tables of examples as catalogs write them, and any text at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.fields import NUMBERS, WORDS, read_fields
from core.fields.units import UNITS, number_of, unit_of


def read(text: str) -> dict[str, float | str]:
    return read_fields([text]).iloc[0].to_dict()


def named(name: str) -> dict[str, float | str]:
    return read(f"Item Name: {name}\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Tomatoes Puree 28.0 OZ (Pack of 6)", {"pack": 6, "unit_g": 793.787, "total_g": 4762.72}),
        ("Cola 6x0,33 l", {"pack": 6, "unit_ml": 330, "total_ml": 1980}),
        ("Olive oil 2 pck 500ml", {"pack": 2, "unit_ml": 500, "total_ml": 1000}),
        ("Chips 12/14 oz", {"pack": 12, "unit_g": 396.893, "total_g": 4762.72}),
        ("Rice, 1/2 lb", {"unit_g": 226.796, "total_g": 226.796}),
        ("Rice, 1 ½ lb", {"unit_g": 680.389}),
        ("Black Tea (50 tea bags, ZIN: 534656) - 2 Pack", {"pack": 2, "unit_count": 50, "total_count": 100}),
        ("Eggs, 3 dozen", {"unit_count": 36}),
        ("Apfelsaft 1 Liter, 4 stück", {"unit_ml": 1000, "unit_count": 4}),
        ("Juice, 64 fl. oz", {"unit_ml": 1892.706}),
        ("Juice, 64 Fl Oz.", {"unit_ml": 1892.706}),
        ("Flour 1,200 g", {"unit_g": 1200}),
        ("Saffron 0,5 g", {"unit_g": 0.5}),
        ("TOFTERYD Coffee table, 95x60 cm", {"side_1": 95, "side_2": 60, "area": 5700, "longest": 95}),
        ("PAX Wardrobe, 150x60x236 cm", {"side_3": 236, "volume": 150 * 60 * 236}),
        ("Shelf 20 x 10 inch", {"side_1": 50.8, "side_2": 25.4}),
        ("Blair Athol 23 year old, 58.4%", {"age": 23, "percent": 58.4}),
        ("Glenfiddich, Cask #4414, 1977 Vintage, 54.1%", {"year": 1977, "percent": 54.1}),
        ("Gin 43.5% ABV", {"percent": 43.5}),
        ("Bourbon, 86 proof", {"percent": 43}),
        ("Rye 100-proof", {"percent": 50}),
        ("Dough, 51 percent whole grain", {"percent": 51}),
        ("Vodka 40 % 80 proof", {"percent": 40}),
        ("Rum 12-year-old", {"age": 12}),
        ("Rum 12 yo", {"age": 12}),
        ("Cognac 12 ans", {"age": 12}),
        ("Brandy 12 Jahre", {"age": 12}),
        ("Brandy 12 años", {"age": 12}),
        ("Grappa 12 anni", {"age": 12}),
        ("Emergency bucket, 204 servings", {"servings": 204}),
        ("Nest of tables, set of 3", {"set_of": 3}),
        ("SSD 2 TB", {"terabytes": 2}),
        ("𝟏𝟐 oz 𝐁𝐨𝐥𝐝", {"unit_g": 340.194}),
    ],
)
def test_numbers_in_names(name: str, expected: dict[str, float]) -> None:
    fields = named(name)
    assert {key: fields[key] for key in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("Fruit cake, 12 oz", "pack"),
        ("Plain chair", "side_1"),
        ("Cask #1995 bottling", "year"),
        ("Model 7 lamp", "unit_g"),
        ("Grand 2.5 guide", "unit_g"),
        ("Compendium 1st chapter", "unit_count"),
        ("Kettle, 2 year warranty", "age"),
        ("Bulletproof 12 coffee", "percent"),
    ],
)
def test_what_the_text_lacks_is_missing(name: str, absent: str) -> None:
    assert np.isnan(named(name)[absent])


def test_labelled_lines() -> None:
    fields = read(
        "Item Name: GRÖNLID 3-seat sofa, outdoor\nBullet Point 1: Sofas & armchairs\n"
        "Bullet Point 2: width 247 cm, depth 98 cm, height 104 cm\nBullet Point 3: Review points 91\n"
        "Product Description: A soft sofa (5,514 pieces). £1,250 new.\nValue: 2.0\nUnit: Fl. Oz\n"
    )
    assert (fields["brand"], fields["kind"], fields["unit"]) == ("grönlid", "sofas & armchairs", "fl. oz")
    assert fields["name"] == "grönlid 3-seat sofa, outdoor"
    expected = {"width": 247, "depth": 98, "height": 104, "points": 91, "edition": 5514, "money": 1250, "bullets": 3}
    expected |= {"value": 2, "value_ml": 59.14706, "volume": 247 * 98 * 104, "longest": 247, "description_words": 7}
    assert {key: fields[key] for key in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "brand", "head"),
    [
        ("TOFTERYD Coffee table, 95x95 cm", "tofteryd", "coffee table"),
        ("NORDVIKEN / RÖNNINGE Table and 4 chairs", "nordviken / rönninge", "table and chairs"),
        ("Gordon & MacPhail Cask #15, 46%", "gordon & macphail", "cask"),
        ("The Macallan 12", "the macallan", ""),
        ("Ardbeg Kildalton, 46%", "ardbeg", "kildalton"),
        ("", "", ""),
    ],
)
def test_brand_and_head(name: str, brand: str, head: str) -> None:
    fields = named(name)
    assert (fields["brand"], fields["head"]) == (brand, head)


def test_a_long_first_bullet_is_no_kind() -> None:
    assert (
        read("Item Name: Soup\nBullet Point 1: Crafted with good and fresh ingredients like tomatoes\n")["kind"] == ""
    )


def test_a_text_without_labels_is_a_name_and_a_description() -> None:
    fields = read("Blue mug 300 ml\nKeeps tea warm")
    assert (fields["name"], fields["unit_ml"], fields["description_words"]) == ("blue mug 300 ml", 300, 3)


@pytest.mark.parametrize(
    ("written", "value"), [("12", 12), ("1,200", 1200), ("0,75", 0.75), ("1,5", 1.5), ("1,200.5", 1200.5), (".5", 0.5)]
)
def test_numbers(written: str, value: float) -> None:
    assert number_of(written) == value


def test_every_spelling_is_found_again() -> None:
    assert all(unit_of(spelling) == unit for spelling, unit in UNITS.items())
    assert unit_of("furlong") is None


def test_rows_do_not_know_of_each_other() -> None:
    texts = ["Item Name: A 2 oz", "", "Item Name: B, 3x4 cm", "Value: x\nUnit: y"]
    together, alone = read_fields(texts), [read_fields([text]) for text in texts]
    for place, frame in enumerate(alone):
        assert together.iloc[place].astype(str).tolist() == frame.iloc[0].astype(str).tolist()


_PIECES = st.sampled_from([
    "Item Name:", "\n", "Value:", "Unit:", "Bullet Point 1:", "12", "1/2", "0,0", "x", "oz", "cm", "Pack of", "%", "£", " ",
])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(_PIECES | st.text(max_size=3), max_size=40).map(" ".join)))
def test_any_text_gives_every_field(text: str) -> None:
    frame = read_fields([text])
    assert list(frame.columns) == [*WORDS, *NUMBERS]
    values = frame[list(NUMBERS)].to_numpy()
    assert not np.isinf(values).any()
    assert all(isinstance(frame[word].iloc[0], str) for word in WORDS)


@pytest.mark.parametrize("piece", ["9", "1,111", "A B ", " ", "1 x ", "É", "12 oz ", "£"])
def test_long_texts_stay_cheap(piece: str) -> None:
    # A pattern that backtracks without bound would take minutes here, and the suite's time limit would end it.
    frame = read_fields([piece * 100_000, "Item Name: " + piece * 50_000])
    assert len(frame) == 2


def test_no_rows() -> None:
    assert read_fields([]).shape == (0, len(WORDS) + len(NUMBERS))
