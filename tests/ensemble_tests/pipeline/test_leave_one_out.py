"""What leaving a member out costs, on members whose worth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.metrics import smape_of_logs
from ensemble.methods.simplex import fit_simplex, refit_without
from ensemble.pipeline.result import leave_one_out
from tests.ensemble_tests.toys import matrix


def test_the_only_good_member_costs_most_and_a_copy_nothing() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(3, 1, 600))
    good, poor = prices * np.exp(rng.normal(0, 0.1, 600)), prices * np.exp(rng.normal(0, 1.0, 600))
    alone, worthless = leave_one_out(matrix(np.column_stack([good, poor]), prices))
    assert alone.cost > 20 and abs(worthless.cost) < 0.5 and alone.error > worthless.error
    first, second, _ = leave_one_out(matrix(np.column_stack([good, good, poor]), prices))
    assert abs(first.cost) < 0.1 and abs(second.cost) < 0.1


def test_a_single_member_or_a_single_product_has_no_cost() -> None:
    prices = np.full(20, 2.0)
    assert leave_one_out(matrix(np.full((20, 1), 3.0), prices)) == []
    two = matrix(np.column_stack([np.full(20, 3.0), np.full(20, 4.0)]), prices)
    assert leave_one_out(replace(two, groups=np.zeros(20, dtype=np.int64))) == []


@given(st.integers(2, 5), st.integers(0, 1000))
def test_weights_without_a_member_are_no_worse_than_the_others_as_they_were(members: int, seed: int) -> None:
    logs = np.random.default_rng(seed).normal(0, 0.3, (40, members))
    weights = fit_simplex(np.exp(logs), np.ones(40), "log").weights
    for place in np.flatnonzero(weights):
        found, left = refit_without(logs, weights, int(place)), np.delete(weights, place)
        assert found[place] == 0 and found.sum() == pytest.approx(1) and (found >= 0).all()
        start = left / left.sum() if left.sum() else np.full(len(left), 1 / len(left))
        assert smape_of_logs(logs @ found) <= smape_of_logs(np.delete(logs, place, axis=1) @ start) + 1e-9
