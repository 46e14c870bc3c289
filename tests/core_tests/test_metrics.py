from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics import (
    all_metrics,
    constant_floor,
    group_bootstrap,
    group_standard_error,
    mae,
    r2,
    rmse,
    smape,
    smape_terms,
)

PRICE = st.floats(0.01, 1e7)
PAIRS = st.lists(st.tuples(PRICE, PRICE), min_size=1, max_size=30).map(lambda pairs: np.array(pairs).T)


def test_textbook_values_and_limits() -> None:
    true, predicted = [100.0, 50.0, 10.0], [150.0, 50.0, 30.0]
    assert smape_terms(true, predicted).tolist() == [40.0, 0.0, 100.0]
    assert smape(true, predicted) == pytest.approx(140 / 3)
    assert mae(true, predicted) == pytest.approx(70 / 3)
    assert rmse(true, predicted) == pytest.approx((2900 / 3) ** 0.5)
    assert r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]) == pytest.approx(0.5)
    assert all_metrics([1.0, 2.0], [1.0, 2.0]) == {"smape": 0.0, "mae": 0.0, "rmse": 0.0, "r2": 1.0}
    assert r2(np.full(26, 9.99), np.full(26, 9.9)) == 0.0
    assert (smape([1.0], [0.0]), smape([0.0], [0.0]), r2([2.0, 2.0], [1.0, 3.0])) == (200.0, 0.0, 0.0)


@given(PAIRS)
def test_smape_is_bounded_symmetric_and_free_of_units(pairs: np.ndarray) -> None:
    true, predicted = pairs
    score = smape(true, predicted)
    assert 0.0 <= score <= 200.0
    assert score == pytest.approx(smape(predicted, true))
    assert score == pytest.approx(smape(4.0 * true, 4.0 * predicted))


@given(PAIRS)
def test_smape_equals_its_tanh_form(pairs: np.ndarray) -> None:
    true, predicted = pairs
    by_tanh = 200.0 * np.tanh(np.abs(np.log(predicted) - np.log(true)) / 2)
    np.testing.assert_allclose(smape_terms(true, predicted), by_tanh, atol=1e-9)


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]]), ([np.nan], [1.0]), ([1.0], [np.inf])],
)
def test_values_that_cannot_be_scored_are_refused(true: list[float], predicted: list[float]) -> None:
    with pytest.raises(ValueError, match=r"prices must be finite|equally long"):
        smape(true, predicted)


def test_the_constant_floor_beats_mean_and_median() -> None:
    prices = np.random.default_rng(0).lognormal(3.0, 1.0, 500)
    price, score = constant_floor(prices)
    assert prices.min() <= price <= prices.max()
    assert score == pytest.approx(smape(prices, np.full(500, price)))
    assert score <= min(smape(prices, np.full(500, centre)) for centre in (prices.mean(), np.median(prices))) + 0.05


def test_standard_error_counts_a_group_once() -> None:
    terms = np.random.default_rng(0).normal(size=400)
    alone = group_standard_error(terms)
    assert alone == pytest.approx(terms.std(ddof=1) / 20)
    # Each row twice in one group tells nothing new, so the error stays what it was.
    assert group_standard_error(np.repeat(terms, 2), np.repeat(np.arange(400), 2)) == pytest.approx(alone)
    assert group_standard_error(terms, np.zeros(400)) == float("inf")


@given(st.integers(0, 2**32 - 1), st.integers(30, 200))
@settings(max_examples=20, deadline=None)
def test_bootstrap_of_independent_rows_is_the_interval_of_the_standard_error(seed: int, count: int) -> None:
    terms = np.random.default_rng(seed).normal(40.0, 10.0, count)
    low, high = group_bootstrap(terms, np.arange(count), seed=seed)
    assert low < terms.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * group_standard_error(terms), rel=0.2)
    narrow = group_bootstrap(terms, np.arange(count), level=0.5, seed=seed)
    assert low < narrow[0] < narrow[1] < high
    assert group_bootstrap(terms, np.arange(count), seed=seed) == (low, high)


def test_bootstrap_draws_whole_groups() -> None:
    terms = np.random.default_rng(0).normal(40.0, 10.0, 100)
    alone = group_bootstrap(terms, np.arange(100))
    # Each row four times in one group tells nothing new; four times as rows of their own would halve the interval.
    assert group_bootstrap(np.repeat(terms, 4), np.repeat(np.arange(100), 4)) == pytest.approx(alone)
    # Of two groups four resamples exist: each of the two twice, or both, whatever their sizes.
    two = group_bootstrap([0.0, 0.0, 0.0, 30.0], ["a", "a", "a", "b"])
    assert two == (0.0, 30.0)


def test_bootstrap_of_one_group_knows_nothing() -> None:
    assert group_bootstrap([1.0, 2.0], [7, 7]) == (float("-inf"), float("inf"))
