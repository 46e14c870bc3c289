"""Quantities in names: the spellings of catalogs everywhere, and properties that hold for any pack, size and unit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.fields import read_fields
from core.fields.quantities import _LARGEST, read_quantities, read_sides
from core.fields.units import COUNT, LENGTH, MASS, UNITS, VOLUME

OZ, LB, FL_OZ = 28.349523, 453.59237, 29.57353


_PACKS = {
    12: ["pack of 12", "pack of a dozen", "caja de 12", "hot sauce -- 12 case", "lager, 12 flaschen"],
    1: ["Pack of 1", "spoon, 1 ea"],
    2: ["2-pack", "soap (2 pack)", "oil 2 pck", "twin pack", "set of two candles", "Doppelpack", "lot de deux"],
    3: ["three-pack", "3er Set", "paquete de 3"],
    6: ["Sechserpack", "6er-Pack", "Packung mit 6", "confezione da 6", "6per case", "6-pack (pack of 6)"],
    4: ["lot de 4"],
    20: ["boîte de 20"],
    24: ["24/case"],
    192: ["16 per pack -- 12 packs per case"],
    107: ["107 patties per case"],
    1200: ["case of 1,200"],
    8: ["8 bottles"],
    18: ["18 snack packs", "18 jars (3 x 6-pack)"],
    84 * 24: ["pallet of 84 cases, 24 bottles per case"],
}


@pytest.mark.parametrize(("name", "pack"), [(name, pack) for pack, names in _PACKS.items() for name in names])
def test_packs(name: str, pack: int) -> None:
    assert read_quantities(name.lower())["pack"] == pack


@pytest.mark.parametrize("name", [
    "fruit cake, 12 oz", "confezione da 500 g", "boîte de 250 g", "two brothers coffee", "iphone 12 case", "twin bed",
    "model 500", "table with 4 legs", "bagels 12 oz (4 bagels/pack)",
])  # fmt: skip
def test_no_packs(name: str) -> None:
    assert "pack" not in read_quantities(name)


@pytest.mark.parametrize(
    ("name", "column", "unit", "total"),
    [
        ("cola 6 x 330 ml", "ml", 330, 1980),
        ("cola 2 x 6 x 330 ml", "ml", 330, 3960),
        ("tomatoes 24x 26oz", "g", 26 * OZ, 624 * OZ),
        ("soup, 4g x 10 packs", "g", 4, 40),
        ("drops 2.0 fl oz x 5 bottles", "ml", 2 * FL_OZ, 10 * FL_OZ),
        ("water, 24 16.9oz bottles", "g", 16.9 * OZ, 24 * 16.9 * OZ),
        ("candy, 5- 0.7 ounce snack packs", "g", 0.7 * OZ, 3.5 * OZ),
        ("coffee (4-3 pound bags)", "g", 3 * LB, 12 * LB),
        ("slush, one case (six 1/2 gal bottles)", "ml", 1892.705892, 6 * 1892.705892),
        ("juice, 5.5 oz. can, 8 count", "g", 5.5 * OZ, 44 * OZ),
        ("soda, 8 bottles, 6.76 fluid ounce", "ml", 6.76 * FL_OZ, 54.08 * FL_OZ),
        ("soap - 2.7 oz ea, 2 bars", "g", 2.7 * OZ, 5.4 * OZ),
        ("dog food (6 ounce ., 60 ct.), 22.5 pound", "g", 6 * OZ, 22.5 * LB),
        ("mints, 1.2 ounce each (8 pack, 9.6 ounce total)", "g", 1.2 * OZ, 9.6 * OZ),
        ("nuts, 8 ct, 20 oz (pack of 12)", "g", 20 * OZ, 240 * OZ),
        ("candy, 1 pound, 60 pieces", "g", LB, LB),
        ("cans, 12 oz, 12 count (pack of 12)", "g", 12 * OZ, 144 * OZ),
        ("rice 1 1/2 lb", "g", 1.5 * LB, 1.5 * LB),
        ("half gallon milk", "ml", 1892.705892, 1892.705892),
        ("saft 0,75 l", "ml", 750, 750),
        ("beef 2 lb 4 oz", "g", 36 * OZ, 36 * OZ),
        ("flour 2 lb (32 oz)", "g", 2 * LB, 2 * LB),
        ("ribs 10-12 oz", "g", 11 * OZ, 11 * OZ),
        ("12ct", "count", 12, 12),
        ("eggs, half dozen", "count", 6, 6),
        ("a dozen eggs", "count", 12, 12),
        ("tea bags (80) - pack of 6", "count", 80, 480),
        ("tea, 20 count box (pack of 6), 120 total tea bags", "count", 20, 120),
        ("4 x 100 tabletten", "count", 100, 400),
        ("socks, 6 pairs", "count", 12, 12),
    ],
)
def test_sizes(name: str, column: str, unit: float, total: float) -> None:
    found = read_quantities(name)
    assert (found[f"unit_{column}"], found[f"total_{column}"]) == pytest.approx((unit, total), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "grams"),
    [
        ("bagels, 5g net carbs & 15g of protein, 12 oz", 12 * OZ),
        ("gummies (3g), 1.8oz", 1.8 * OZ),
        ("energy bar, 130mg plant-based caffeine, 40 g", 40),
        ("granola, 11 g fiber per bowl, 300 g", 300),
        ("bench, holds up to 300 lb, 25 lb", 25 * LB),
        ("shelf 250 lbs capacity, 12 kg", 12_000),
        ("whey protein 900 g", 900),
    ],
)
def test_nutrition_and_loads_are_no_sizes(name: str, grams: float) -> None:
    assert read_quantities(name)["total_g"] == pytest.approx(grams, rel=1e-6)


def test_protein_alone_is_no_size() -> None:
    assert read_quantities("fruit 15g protein drinks (6-pack)") == {"pack": 6}


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("140x80 cm", [140, 80]),
        ("1.2 m x 60 cm", [120, 60]),
        ("2.5 inch x 2.5 inch x 5 inch", [6.35, 6.35, 12.7]),
        ('8"x8"x1.5"', [20.32, 20.32, 3.81]),
        ('31.5"w x 15.7"d x 30"h', [80.01, 39.878, 76.2]),
        ("10- by 3-inch bowl", [25.4, 7.62]),
        ("handle, 106 mm", [10.6]),
        ("152/223x95 cm", [152, 95]),
        ("6 x 330 ml", []),
        ("2 in 1 shampoo", []),
    ],
)
def test_sides(name: str, sides: list[float]) -> None:
    assert list(read_sides(name).values()) == pytest.approx(sides)


_WRITTEN = st.integers(1, 9_999).map(lambda tenths: tenths / 10)
_SPELLINGS = st.sampled_from([word for word, unit in UNITS.items() if unit.dimension in {MASS, VOLUME}])
_PACKED = st.sampled_from(
    [
        "{size} {unit} (pack of {n})",
        "{n} x {size} {unit}",
        "{size}{unit}, {n}-pack",
        "{n}er-pack {size} {unit}",
        "lot de {n}, {size} {unit}",
    ]
)
_COLUMN = {MASS: "g", VOLUME: "ml", COUNT: "count", LENGTH: "cm"}


@settings(max_examples=200, deadline=None)
@given(_PACKED, st.integers(2, 400), _WRITTEN, _SPELLINGS, st.booleans())
def test_what_was_written_is_read(form: str, packs: int, size: float, spelling: str, comma: bool) -> None:
    written = f"{size:g}".replace(".", ",") if comma else f"{size:g}"
    found = read_quantities(form.format(n=packs, size=written, unit=spelling))
    unit = UNITS[spelling]
    assume(packs * size * unit.factor < _LARGEST)
    column = _COLUMN[unit.dimension]
    assert found["pack"] == packs
    assert found[f"unit_{column}"] == pytest.approx(size * unit.factor)
    assert found[f"total_{column}"] == pytest.approx(packs * size * unit.factor)


@settings(max_examples=100, deadline=None)
@given(_WRITTEN, st.sampled_from(list(itertools.combinations(["mg", "g", "kg", "oz", "lb"], 2))))
def test_units_differ_by_their_factor(size: float, units: tuple[str, str]) -> None:
    first, second = (read_quantities(f"salt {size:g} {unit}")["total_g"] for unit in units)
    assert first / second == pytest.approx(UNITS[units[0]].factor / UNITS[units[1]].factor)


_NAMES = st.lists(st.sampled_from([
    "cola 6 x 330 ml", "rice 1 1/2 lb", "pack of 12", "shelf 80x28 cm", "Rum 12 ans 40%", "", "organic tea (20 ct)",
]), max_size=12)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(_NAMES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(names: list[str], random) -> None:
    order = list(range(len(names)))
    random.shuffle(order)
    straight, shuffled = read_fields(names), read_fields([names[place] for place in order])
    assert straight.iloc[order].reset_index(drop=True).equals(shuffled)


_TOKENS = st.sampled_from([
    "12", "x", "/", "-", "oz", "pack", "of", "per", "case", "1/2", "lb", "(", ")", "six", "dozen", "9" * 12, "ct", '"',
    ",", "0",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80), st.lists(_TOKENS, max_size=25).map(" ".join), st.lists(_TOKENS, max_size=25).map("".join)
    )
)
def test_any_name_gives_positive_numbers(name: str) -> None:
    found = read_quantities(name.lower())
    assert all(math.isfinite(number) and number > 0 for number in found.values())
    for column in ("g", "ml", "count"):
        assert found.get(f"unit_{column}", 0.0) <= found.get(f"total_{column}", 0.0) * (1 + 1e-9)
    assert np.isfinite(list(read_sides(name.lower()).values())).all()
