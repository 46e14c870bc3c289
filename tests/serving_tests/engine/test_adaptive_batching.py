"""The size of batches follows what they cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.engine import FIRST_ROWS, WORK_SECONDS, AdaptiveBatchSize

MOST = 64


def settled(fixed: float, each: float, batches: int = 60) -> AdaptiveBatchSize:
    """After so many batches, each as large as the one before advised, of a process with these costs."""
    size = AdaptiveBatchSize()
    for _ in range(batches):
        rows = min(MOST, size.rows)
        size.observe(rows, fixed + each * rows)
    return size


def test_nothing_is_known_at_first() -> None:
    assert (AdaptiveBatchSize().rows, AdaptiveBatchSize().rate) == (FIRST_ROWS, 0.0)


@given(st.floats(0.0, 0.4), st.floats(1e-4, 2.0))
def test_a_batch_is_about_a_seconds_work(fixed: float, each: float) -> None:
    rows = min(MOST, settled(fixed, each).rows)
    assert rows == 1 or fixed + each * rows <= 2.1 * WORK_SECONDS
    assert rows == MOST or fixed + each * (rows + 1) >= 0.4 * WORK_SECONDS


@pytest.mark.parametrize(("fixed", "each"), [(0.24, 0.004), (1.0, 0.01), (5.0, 0.05)])
def test_what_every_batch_costs_is_shared_by_many_rows(fixed: float, each: float) -> None:
    """A process that takes seconds whatever it is given must not be asked row by row."""
    assert min(MOST, settled(fixed, each).rows) == MOST


def test_one_slow_minute_is_forgotten() -> None:
    size = settled(0.02, 0.004)
    for _ in range(20):
        size.observe(1, 3.0)
    for _ in range(60):
        rows = min(MOST, size.rows)
        size.observe(rows, 0.02 + 0.004 * rows)
    assert min(MOST, size.rows) == MOST


@given(st.lists(st.tuples(st.integers(1, 1024), st.floats(0.0, 100.0)), max_size=30))
def test_any_observations_give_a_size_and_a_rate(batches: list[tuple[int, float]]) -> None:
    size = AdaptiveBatchSize()
    for rows, seconds in batches:
        size.observe(rows, seconds)
    assert size.rows >= 1 and size.rate >= 0
