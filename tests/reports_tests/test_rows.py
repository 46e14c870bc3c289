"""Figures of rows, bands and histograms, against values worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.workspace import Workspace
from reports.data import data_figures, log_histogram
from reports.rows import TEXT_LIMIT, by_band, density, shortened, worst_rows
from tests.reports_tests.toys import add_member, with_texts

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


def test_worst_rows_are_sorted_and_carry_every_members_price(toy_workspace: Workspace) -> None:
    prices = toy_workspace.train.known_prices
    predicted = prices.copy()
    predicted[7], predicted[3] = prices[7] * 100, prices[3] * 10
    holes = np.full(len(prices), np.nan)
    members = [add_member(toy_workspace, "a-1", predicted), add_member(toy_workspace, "b-1", holes)]
    first, second, *rest = worst_rows(toy_workspace.train, predicted, toy_workspace.folds, members)
    assert (first["row"], second["row"]) == (8, 4) and len(rest) == 18
    assert first["smape"] == pytest.approx(200 * 99 / 101)
    assert first["members"] == {"a-1": predicted[7], "b-1": None}


def test_long_texts_are_cut_with_their_length_known(toy_workspace: Workspace) -> None:
    workspace = with_texts(toy_workspace, ["y" * 50_000])
    predicted = workspace.train.known_prices.copy()
    predicted[0] *= 50
    worst = worst_rows(workspace.train, predicted, workspace.folds, [])[0]
    assert len(worst["text"]) == TEXT_LIMIT and worst["text_length"] == 50_000


@pytest.mark.parametrize("text", ["", "short", "a b\n\tc", "word " * 100, "x" * 500, " " * 1000 + "late"])
def test_shortened_text_is_one_short_line(text: str) -> None:
    found = shortened(text)
    assert len(found) <= 162 and "\n" not in found
    assert found.endswith("…") == (len(" ".join(text.split())) > 160 or len(text) > 640)


def test_data_figures_count_rows_products_and_links(toy_workspace: Workspace) -> None:
    found = data_figures(toy_workspace.train, toy_workspace.test, toy_workspace.folds, toy_workspace.facts)
    assert found["rows"] == {"train": 120, "test": 30}
    assert sum(fold["rows"] for fold in found["folds"]) == 120
    assert found["price"]["median"] == pytest.approx(np.median(toy_workspace.train.known_prices))
    assert found["links"] == {"train": 0.0, "test": 0.0} and found["pictures"] is None
