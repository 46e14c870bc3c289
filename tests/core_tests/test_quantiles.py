"""Quantiles of histograms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.quantiles import LEVELS, histogram_quantiles


def test_deciles_of_an_even_histogram_are_evenly_spaced() -> None:
    assert pytest.approx(np.arange(1, 10) / 10) == LEVELS
    found = histogram_quantiles(np.full((2, 4), 0.25), np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert found == pytest.approx(np.tile(4 * np.array(LEVELS), (2, 1)))


def test_a_sure_histogram_has_its_quantiles_in_one_bin() -> None:
    (found,) = histogram_quantiles(np.array([[0.0, 1.0, 0.0]]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert found == pytest.approx(1 + np.array(LEVELS))


@given(arrays.arrays(np.float64, (5, 7), elements=st.floats(1e-6, 1.0)))
def test_quantiles_rise_and_have_their_share_below_them(weights: np.ndarray) -> None:
    shares = weights / weights.sum(axis=1, keepdims=True)
    edges = np.linspace(-1, 3, 8)
    found = histogram_quantiles(shares, edges)
    assert found.shape == (5, 9)
    assert (np.diff(found, axis=1) >= 0).all()
    below = np.cumsum(np.hstack([np.zeros((5, 1)), shares]), axis=1)
    for row, quantiles in zip(below, found, strict=True):
        assert np.interp(quantiles, edges, row) == pytest.approx(LEVELS, abs=1e-6)


def test_no_rows_have_no_quantiles() -> None:
    assert histogram_quantiles(np.zeros((0, 3)), np.arange(4.0)).shape == (0, 9)
