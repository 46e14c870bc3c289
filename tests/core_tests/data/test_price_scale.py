from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.price_scale import choose_scale, metrics_in_units, to_scale, to_units


@pytest.mark.parametrize(
    ("median", "scale"),
    [(10.0, 1.0), (99.99, 1.0), (100.0, 10.0), (1000.0, 100.0), (9.99, 0.1), (1e-6, 1e-7), (1e13, 1e12), (1.5e7, 1e6)],
)
def test_the_median_lies_between_10_and_100(median: float, scale: float) -> None:
    assert choose_scale(np.array([median / 5, median, median * 1000])) == scale


@given(st.lists(st.floats(1e-90, 1e90), min_size=1, max_size=9))
def test_any_scale_is_a_power_of_ten_that_fits(prices: list[float]) -> None:
    found = np.array(prices)
    scale = choose_scale(found)
    assert float(f"1e{round(np.log10(scale))}") == scale
    assert 10 * (1 - 1e-12) <= np.median(to_scale(found, scale)) < 100 * (1 + 1e-12)


@given(st.decimals("0.01", "99999999.99", places=2), st.integers(-12, 12))
def test_prices_as_written_come_back_as_written(price: object, zeros: int) -> None:
    written, scale = np.array([[float(str(price))]]), float(f"1e{zeros}")
    assert to_units(to_scale(written, scale), scale).tolist() == written.tolist()


def test_scale_1_hands_back_the_very_array_and_unknown_prices_stay_unknown() -> None:
    prices = np.array([1 / 3, np.nan])
    assert to_scale(prices, 1.0) is prices and to_units(prices, 1.0) is prices
    assert np.isnan(to_units(prices, 1e6)[1])


def test_only_absolute_errors_have_units() -> None:
    metrics = {"smape": 20.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}
    assert metrics_in_units(metrics, 1e6) == {"smape": 20.0, "mae": 2e6, "rmse": 3e6, "r2": 0.5}
