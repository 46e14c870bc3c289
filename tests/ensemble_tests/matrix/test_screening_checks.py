from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.matrix.screening_checks import (
    completed,
    disagreement,
    median_shift,
    oof_test_shifts,
    row_medians,
    siblings,
    too_good,
    wrong_unit,
)
from tests.ensemble_tests.matrices import clean_members
from tests.ensemble_tests.toys import members

TAKEN = {np.log: "exp(value)", np.log1p: "expm1(value)", np.log10: "10**value"}


@pytest.mark.parametrize("taken", TAKEN)
def test_logarithms_are_recognised_with_their_hint(taken: np.ufunc) -> None:
    oof, prices = members(300, 1, spread=(0.1, 0.11))
    found = wrong_unit(prices, taken(oof[:, 0]))
    assert found is not None
    assert found.hint.startswith("undo the logarithm: price = ")
    assert TAKEN[taken] in found.hint
    assert found.after < 50 < found.before


def test_another_currency_is_recognised_with_its_factor() -> None:
    oof, prices = members(300, 1, spread=(0.1, 0.11))
    found = wrong_unit(prices, oof[:, 0] * 90)
    assert found is not None
    factor = float(found.hint.removeprefix("multiply by ").split(":")[0])
    assert factor == pytest.approx(float(np.median(prices / oof[:, 0])) / 90, rel=0.01)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e5])
@pytest.mark.parametrize("seed", range(5))
def test_prices_of_any_size_that_are_only_inexact_pass(seed: int, scale: float) -> None:
    oof, prices = members(200, 3, seed)
    assert [wrong_unit(prices * scale, column * scale) for column in oof.T] == [None] * 3
    assert wrong_unit(prices, np.full(200, float(np.median(prices)))) is None


def test_siblings_are_joined_by_chains() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(0, 1, (2, 500))
    table = np.column_stack([first, other, first + rng.normal(0, 0.04, 500), first, other + rng.normal(0, 0.2, 500)])
    table[:, 3] = table[:, 2] + rng.normal(0, 0.04, 500)
    assert siblings(table).tolist() == [0, 1, 0, 0, 2]
    assert len(set(siblings(table, 0.001).tolist())) == 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(3, 9), st.integers(0, 1000))
def test_disagreement_is_with_the_median_of_the_other_voices(rows: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logs = rng.integers(0, 4, (rows, count)).astype(float)  # ties among them
    voices = np.unique(rng.integers(0, count, count), return_inverse=True)[1]
    if voices.max() < 2:
        return
    firsts = np.unique(voices, return_index=True)[1]
    expected = [
        logs[:, member] - np.median(logs[:, [first for first in firsts if voices[first] != voices[member]]], axis=1)
        for member in range(count)
    ]
    assert disagreement(logs, voices) == pytest.approx(np.column_stack(expected))


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_clean_members_pass(first: int) -> None:
    worst = {
        seed: max(each.excess for each in oof_test_shifts(*clean_members(seed))) for seed in range(first, first + 10)
    }
    assert {seed: excess for seed, excess in worst.items() if excess > 1} == {}


def test_a_scale_of_its_own_on_the_test_rows_is_a_shift() -> None:
    oof, test = clean_members(1)
    test[:, 2] += np.log(1.5)
    found = oof_test_shifts(oof, test)
    assert int(np.argmax([each.excess for each in found])) == 2
    assert np.exp(found[2].shift) == pytest.approx(1.5, rel=0.1)
    assert found[2].shifted > 1


def test_fewer_than_three_voices_are_not_compared() -> None:
    oof, test = clean_members(0)
    assert oof_test_shifts(oof[:, [0, 1, 1]], test[:, [0, 1, 1]] + 1.0) == []
    assert len(oof_test_shifts(oof[:, [0, 1, 1, 2]], test[:, [0, 1, 1, 2]])) == 4


def test_spread_that_widens_for_all_is_no_sign() -> None:
    rng = np.random.default_rng(0)
    oof, test = rng.normal(0, 0.3, (2000, 6)), rng.normal(0, 0.6, (1000, 6))
    assert all(each.excess == 0 for each in oof_test_shifts(oof, test))
    assert all(each.spread > 1.7 for each in oof_test_shifts(oof, test))


def test_median_shift_counts_standard_errors() -> None:
    rng = np.random.default_rng(0)
    shifts = [median_shift(rng.normal(0, 1, 400), rng.normal(0, 1, 100)) for _ in range(300)]
    assert np.std([shift / abs(shift) * errors for shift, errors in shifts]) == pytest.approx(1, abs=0.12)
    assert median_shift(np.zeros(10), np.ones(10))[0] == 1


def test_too_good_is_measured_among_its_kind_with_siblings_once() -> None:
    kinds = ["text"] * 4 + ["boosted"] * 2
    scores = [20.0, 40.0, 20.1, 42.0, 1.0, 40.0]
    assert too_good(scores, kinds, np.array([0, 1, 0, 2, 3, 4])) == {0: 41.0}
    assert too_good(scores, kinds, np.arange(6)) == {0: pytest.approx(30.05)}
    assert too_good([29.0, 40.0, 42.0], ["text"] * 3, np.arange(3)) == {}


def test_filled_from_the_others_with_the_members_own_offset() -> None:
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(2, 1, 300))
    table = truth[:, None] * np.array([1.0, 1.0, 1.0, 2.0])
    incomplete = table.copy()
    incomplete[[3, 250], 3] = incomplete[[4, 260], 0] = np.nan
    oof, test = completed(incomplete[:200], incomplete[200:])
    assert np.concatenate([oof, test]) == pytest.approx(table)
    assert np.isnan(incomplete).sum() == 4


def test_order_of_members_changes_nothing_and_rows_without_prices_stay_empty() -> None:
    rng = np.random.default_rng(1)
    oof, test = np.exp(rng.normal(2, 1, (50, 3))), np.exp(rng.normal(2, 1, (20, 3)))
    oof[[1, 2], 0] = oof[[2, 3], 1] = oof[5] = test[7] = np.nan
    order = [2, 0, 1]
    straight, shuffled = completed(oof, test), completed(oof[:, order], test[:, order])
    for one, other in zip(straight, shuffled, strict=True):
        assert np.array_equal(one[:, order], other, equal_nan=True)
    assert np.isnan(straight[0]).sum() == np.isnan(straight[1]).sum() == 3
    assert np.isnan(completed(oof[:, :1], test[:, :1])[0]).sum() == 3


def test_medians_leave_holes_out() -> None:
    table = np.array([[3.0, np.nan, 1.0], [np.nan, np.nan, np.nan], [4.0, 2.0, 9.0]])
    assert row_medians(table) == pytest.approx(np.array([2.0, np.nan, 4.0]), nan_ok=True)
    assert np.isnan(row_medians(np.empty((2, 0)))).all()
