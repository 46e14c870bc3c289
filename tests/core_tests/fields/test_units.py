"""Written numbers: thousands and decimals by column, units in base units, dates in years."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fields.units import amounts_in, date_in, thousands_mark, year_in


@pytest.mark.parametrize(
    ("value", "thousands", "found"),
    [
        ("120 m²", "", {"#1": 120.0, "m2": 120.0}),
        ("2.5 kg, 30 x 40 cm", "", {"#1": 2.5, "g": 2500.0, "#2": 30.0, "#3": 40.0, "cm": 40.0}),
        ("150.000 km", ".", {"#1": 150_000.0, "km": 150_000.0}),
        ("3.125 in", "", {"#1": 3.125, "cm": 7.9375}),
        ("1.299,50", "", {"#1": 1299.5}),
        ("1,299.50", "", {"#1": 1299.5}),
        ("1 299 pages", "", {"#1": 1299.0, "pages": 1299.0}),
        ("12,345,678", "", {"#1": 12_345_678.0}),
        ("5 triệu", "", {"#1": 5e6}),
        ("1,5 miliar", "", {"#1": 1.5e9}),
        ("4.1 (30 reviews)", "", {"#1": 4.1, "#2": 30.0, "reviews": 30.0}),
        ("-5 to 40", "", {"#1": -5.0, "to": -5.0, "#2": 40.0}),
        ("none", "", {}),
    ],
)
def test_amounts(value: str, thousands: str, found: dict[str, float]) -> None:
    assert amounts_in(value, thousands) == pytest.approx(found)


@pytest.mark.parametrize(
    ("values", "mark"),
    [
        (["150.000 km", "5.000 km", "90.000"], "."),
        (["2.5", "3.125", "4.0"], ""),
        (["1,299", "12,000", "850"], ","),
        (["1.299,50", "2.100,00"], "."),
        (["0.125", "0.250"], ""),
        ([], ""),
    ],
)
def test_the_mark_of_thousands_follows_the_column(values: list[str], mark: str) -> None:
    assert thousands_mark(values) == mark


@pytest.mark.parametrize(
    ("value", "year"),
    [
        ("12/2006", 2006 + 11 / 12),
        ("3.7.2014", 2014.5),
        ("2014-07-06", 2014.5),
        ("Paperback, 6 Jul 2014", 2014.5),
        ("July 4, 2012", 2012.5),
        ("März 2020", 2020 + 2 / 12),
        ("31 desember 2019", 2019 + 11 / 12),
        ("2014/07/19", 2014.5),
        ("07/19/2014", 2014.5),
        ("07/08/2014", 2014 + 7 / 12),
        ("19-Jul-2014", 2014.5),
        ("19 de julio de 2014", 2014.5),
        ("99/2006", None),
        ("30/40/2014", None),
        ("tree 2014", None),
    ],
)
def test_dates(value: str, year: float | None) -> None:
    assert date_in(value) == (None if year is None else pytest.approx(year))


def test_a_year_stands_alone() -> None:
    assert year_in("built 1987, renovated") == 1987.0
    assert year_in("19870 or 1.987 or 3000") is None


@given(st.text(max_size=200), st.sampled_from(["", ".", ","]))
def test_any_value_gives_finite_numbers(value: str, thousands: str) -> None:
    assert all(math.isfinite(number) for number in amounts_in(value, thousands).values())
    date_in(value)


@given(st.floats(0.01, 1e9, allow_nan=False).map(lambda number: round(number, 2)))
def test_a_german_amount_is_the_english_one(number: float) -> None:
    english = f"{number:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert amounts_in(german, ".")["#1"] == pytest.approx(number) == amounts_in(english, ",")["#1"]


@pytest.mark.parametrize(
    ("value", "found"),
    [("1e-05", {"#1": 1e-5}), ("-2.5E+3", {"#1": -2500.0}), ("2E10 Pro", {"#1": 2.0, "e": 2.0})],
)
def test_a_power_of_ten_is_one_number_where_it_stands_alone(value: str, found: dict[str, float]) -> None:
    assert amounts_in(value, "") == found
