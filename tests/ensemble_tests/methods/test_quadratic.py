from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.methods.simplex import simplex_minimum


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000), st.booleans(), st.floats(0, 8))
def test_slopes_are_equal_inside_and_no_lower_outside(count: int, seed: int, corner: bool, orders: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(2 * count + 1, count)) * 10 ** rng.uniform(0, orders, count)
    matrix = table.T @ table
    start = np.eye(count)[0] if corner else np.full(count, 1 / count)
    weights = simplex_minimum(matrix, start)
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1.0)
    assert weights @ matrix @ weights <= start @ matrix @ start * (1 + 1e-9)
    slopes, common = matrix @ weights, weights @ matrix @ weights
    scale = np.sqrt(np.diag(matrix) * common)  # of a slope's rounding
    assert (np.abs(slopes - common)[weights > 0] <= 1e-6 * scale[weights > 0]).all()
    assert (slopes - common >= -1e-6 * scale).all()


def test_equals_brute_force() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        table = rng.normal(size=(5, 3)) + 1.0
        matrix = table.T @ table
        weights = simplex_minimum(matrix, np.full(3, 1 / 3))
        grid = np.array([(a, b, 50 - a - b) for a, b in itertools.product(range(51), repeat=2) if a + b <= 50]) / 50
        lowest = np.einsum("ij,jk,ik->i", grid, matrix, grid).min()
        assert weights @ matrix @ weights <= lowest + 1e-9


def test_a_singular_matrix_has_an_answer() -> None:
    weights = simplex_minimum(np.ones((4, 4)), np.array([1.0, 0, 0, 0]))
    assert weights.sum() == pytest.approx(1.0)
    assert simplex_minimum(np.zeros((2, 2)), np.array([0.5, 0.5])).sum() == pytest.approx(1.0)
