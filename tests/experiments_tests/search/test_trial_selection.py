"""Promotion: luck is discounted, and only what may be as good as the best is cross-validated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.search.trial_selection import Finished, steady, survivors

CURVES = st.lists(st.floats(1.0, 200.0), min_size=1, max_size=12)


def trial(steady_smape: float, error: float | None) -> Finished:
    return Finished(0, {}, "config", steady_smape, 3, steady_smape, error)


@given(CURVES)
def test_a_steady_value_is_never_better_than_the_best_and_never_worse_than_the_curves_worst(curve: list[float]) -> None:
    assert min(curve) <= steady(curve) <= max(curve) + 1e-9


@pytest.mark.parametrize(
    ("curve", "value"),
    [
        ([50.0], 50.0),
        ([50.0, 40.0], 40.0),
        ([50.0, 40.0, 32.0], 32.0),  # slower than a straight line: nothing is luck
        ([50.0, 40.0, 20.0], 25.0),  # foretold 30
        ([40.0, 30.0, 38.0], 34.5),  # foretold 39
        ([36.0, 35.0, 36.0], 35.5),
        ([30.0, 35.0, 36.0], 30.0),
    ],
)
def test_half_of_what_the_neighbours_do_not_explain_is_luck(curve: list[float], value: float) -> None:
    assert steady(curve) == pytest.approx(value)


def test_a_lucky_epoch_does_not_win_against_a_level_curve() -> None:
    assert steady([40.0, 39.8, 37.0, 39.6]) > steady([41.0, 38.4, 38.0, 38.1])


def test_only_what_may_be_as_good_as_the_best_survives() -> None:
    ranking = [trial(40.0, 0.6), trial(42.0, 0.8), trial(43.1, 0.8), trial(60.0, None)]
    assert survivors(ranking) == [ranking[0], ranking[1], ranking[3]]
    assert survivors([]) == []
