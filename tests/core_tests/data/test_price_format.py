"""Price columns: one rule per column, plain numbers bit for bit as pandas reads them, doubt and mixed currencies named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.catalog_config import PriceFormat
from core.data.price_format import PriceColumn, read_prices
from tests.errors import refused


def read(*texts: str, asked: PriceFormat | None = None) -> PriceColumn:
    return read_prices(texts, "price", lambda row: f"row {row + 1}", asked)


@pytest.mark.parametrize(
    ("texts", "numbers", "words"),
    [
        (["1.299,00 €", "899 €", "12.990,50 €"], [1299, 899, 12990.5], "decimal comma, thousands point, currency €"),
        (["$1,299", "$12.50", "$ 3"], [1299, 12.5, 3], "decimal point, thousands comma, currency $"),
        (["1 299", "1\u00a0299,50", "1\u202f000 000"], [1299, 1299.5, 1e6], "decimal comma, thousands space"),
        (["12.50 USD", "$3", "US$4"], [12.5, 3, 4], "decimal point, currency USD"),
        (["1'299.–", "CHF 12.50", "1’000’000.05"], [1299, 12.5, 1000000.05], "thousands apostrophe, currency CHF"),
        (["Rp 1.500.000", "Rp. 25.000", "IDR 900"], [1.5e6, 25e3, 900], "thousands point, currency Rp"),
        (["₹1,29,900.00", "Rs. 999"], [129900, 999], "thousands comma"),
        (["1.299", "1.299,50"], [1299, 1299.5], "decimal comma, thousands point"),
        (["12,5", "3"], [12.5, 3], "decimal comma"),
        (["1 299,- kr", "49:- kr", "25 kr"], [1299, np.nan, 25], "thousands space, currency kr"),
        (["-5 €", "€-5", "−5 €"], [-5, -5, -5], "currency €"),
        (["$.99", "$1."], [0.99, 1], "decimal point"),
        (
            ["5 kg", "7 €", "from 3 €", "12-15 €", "$3 €", "1e3"],
            [np.nan, 7, np.nan, np.nan, np.nan, 1000],
            "currency €",
        ),
        (["1,299.00", "0.5", "cheap", ""], [1299, 0.5, np.nan, np.nan], "decimal point, thousands comma"),
        (["1.234.567", "12.5", "2.345.678"], [1234567, np.nan, 2345678], "thousands point"),
    ],
)
def test_one_rule_for_a_column(texts: list[str], numbers: list[float], words: str) -> None:
    column = read(*texts)
    np.testing.assert_array_equal(column.numbers, numbers)
    assert words in column.notes[0]


@pytest.mark.parametrize(
    ("texts", "taken", "flag", "other"),
    [
        (["1,299", "2,000"], [1299, 2000], "1.234,56", [1.299, 2]),
        (["1.299", "12.990"], [1.299, 12.99], "1.234,56", [1299, 12990]),
        (["1.299 €", "2.000 €"], [1299, 2000], "1,234.56", [1.299, 2]),
        (["1.299", "5 €"], [1.299, 5], "1.234,56", [1299, 5]),
    ],
)
def test_doubt_is_named_with_the_flag_that_decides(
    texts: list[str], taken: list[float], flag: str, other: list[float]
) -> None:
    column = read(*texts)
    assert column.numbers.tolist() == taken
    assert flag in column.doubt
    assert read(*texts, asked=PriceFormat(flag)).numbers.tolist() == other


def test_a_column_of_several_currencies_is_refused_with_rows() -> None:
    with refused("prices-mixed-currencies") as caught:
        read("12 €", "13 €", "$14", "15")
    assert "€ in row 1" in caught.value.what and "$ in row 3" in caught.value.what
    with refused("prices-mixed-currencies"):
        read("$12", "13 USD", "14 CAD")
    assert "3 of 5 cells name none" in read("$12", "13 CAD", "3", "4", "5").notes[0]


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=True) | st.integers(-(10**20), 10**20), min_size=1, max_size=9)
)
def test_plain_numbers_are_read_as_pandas_reads_them(numbers: list[float]) -> None:
    texts = [repr(number) for number in numbers]
    expected = pd.to_numeric(pd.Series(texts, dtype=object)).to_numpy(np.float64)
    column = read(*texts, "", "NaN", "cheap")
    np.testing.assert_array_equal(column.numbers, [*expected, np.nan, np.nan, np.nan])


def written(cents: int, thousands: str, mark: str, currency: str) -> str:
    whole, rest = divmod(cents, 100)
    return f"{whole:,}".replace(",", thousands) + f"{mark}{rest:02}{currency}"


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**11), min_size=1, max_size=9),
    st.sampled_from(list(PriceFormat)),
    st.sampled_from(["", " €", " USD", "$", " kr."]),
)
def test_what_is_written_in_a_format_is_read_back(cents: list[int], rule: PriceFormat, currency: str) -> None:
    texts = [written(each, rule[1], rule[-3], currency) for each in cents]
    assert read(*texts).numbers == pytest.approx(np.array(cents) / 100)
    assert read(*texts, asked=rule).numbers == pytest.approx(np.array(cents) / 100)
