"""Figures of rows, bands and histograms, against values worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reports.figures.catalog_figures import log_histogram
from reports.figures.row_figures import VALUES, by_band, by_value, calibration, density, drift

PRICES = arrays(np.float64, st.integers(1, 60), elements=st.floats(1e-2, 1e7))


def test_bands_hold_equally_many_rows_and_their_own_smape() -> None:
    values = np.arange(1.0, 9.0)
    prices = np.full(8, 10.0)
    predicted = np.repeat([10.0, 30.0], 4)  # 200 * 20 / 40 = 100 in the upper half
    low, high = by_band(values, prices, predicted, np.arange(8), 2)
    assert (low["low"], low["high"], low["rows"], low["smape"], low["ratio"]) == (1, 4, 4, 0, 1)
    assert (high["low"], high["high"], high["rows"], high["smape"], high["ratio"]) == (5, 8, 4, pytest.approx(100), 3)


def test_equal_values_make_one_band() -> None:
    [band] = by_band(np.full(5, 3.0), np.full(5, 2.0), np.full(5, 2.0), np.zeros(5, np.int64), 10)
    assert band["rows"] == 5 and band["standard_error"] is None


@given(PRICES, st.integers(1, 10))
def test_bands_divide_all_rows_in_order(values: np.ndarray, count: int) -> None:
    bands = by_band(values, values, values, np.arange(len(values)), count)
    assert sum(band["rows"] for band in bands) == len(values)
    assert all(before["high"] < after["low"] for before, after in pairwise(bands))
    assert len(bands) <= count


@given(PRICES)
def test_every_row_is_in_one_cell_and_exact_ones_on_the_diagonal(prices: np.ndarray) -> None:
    found = density(prices, prices)
    assert sum(rows for _, _, rows in found["cells"]) == len(prices)
    assert all(x == y for x, y, _ in found["cells"])


@given(PRICES, PRICES)
def test_histogram_shares_sum_to_one(train: np.ndarray, test: np.ndarray) -> None:
    found = log_histogram(train, test)
    assert [sum(shares) for shares in found["shares"]] == pytest.approx([1, 1])


def test_rare_values_stand_together_and_missing_ones_last() -> None:
    values = ["oz"] * 6 + ["ml"] * 5 + ["stein", "dram"] + [""] * 3
    prices = np.full(len(values), 10.0)
    predicted = np.where(np.array(values) == "oz", 30.0, 10.0)
    found = by_value(values, prices, predicted, np.arange(len(values)))
    assert {band["value"]: band["rows"] for band in found} == {"oz": 6, "ml": 5, "2 others": 2, "not stated": 3}
    assert found[-1]["value"] == "not stated"
    assert [band["smape"] for band in found] == pytest.approx([100, 0, 0, 0])


@given(st.lists(st.sampled_from(["", *(f"unit {number}" for number in range(20))]), min_size=1, max_size=200))
def test_values_divide_all_rows(values: list[str]) -> None:
    ones = np.ones(len(values))
    found = by_value(values, ones, ones, np.arange(len(values)))
    assert sum(band["rows"] for band in found) in (0, len(values))
    assert len(found) != 1 and len(found) <= VALUES + 2


def test_calibration_is_the_median_of_true_over_predicted() -> None:
    predicted = np.repeat([1.0, 10.0], 50)
    found = calibration(predicted * np.repeat([2.0, 1.0], 50), predicted)
    assert [(band["predicted"], band["ratio"], band["rows"]) for band in found] == [(1, 2, 50), (10, 1, 50)]


def test_drift_follows_the_numbers_of_ids_and_else_the_file() -> None:
    count = 300
    numbers = np.random.default_rng(0).permutation(count)
    predicted = np.full(count, 10.0)
    prices = predicted * np.where(numbers < count / 2, 1.0, np.e)  # later ids cost e times as much
    groups = np.arange(count)
    by_id = drift([f"row-{number}" for number in numbers], prices, predicted, groups)
    assert by_id["by"] == "id" and by_id["parts"][0]["from"] == "row-0"
    assert [part["mean"] for part in by_id["parts"]] == pytest.approx([0.0] * 5 + [1.0] * 5)
    assert by_id["mean"] == pytest.approx(0.5)
    assert drift(["same"] * count, prices, predicted, groups)["by"] == "row"


def test_rows_of_one_product_count_as_one_in_a_drift() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 10)
    prices = np.exp(np.repeat(rng.normal(0, 1, 300), 10))
    parts = drift([str(row) for row in range(3000)], prices, np.ones(3000), groups)
    outside = sum(not part["low"] <= parts["mean"] <= part["high"] for part in parts["parts"])
    assert outside <= 6  # of 30, where rows taken for products would give 17
