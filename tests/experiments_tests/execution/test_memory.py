"""Memory of trainings: the peak that is measured, and which fit side by side."""

from __future__ import annotations

import time

import numpy as np
import psutil
from hypothesis import given
from hypothesis import strategies as st

from experiments.common.memory import DRIVER_BYTES, MEMORY_MARGIN, MemoryBudget, PeakMemory, available_memory

MIB = 2**20
NEEDS = st.integers(0, 2**34)


def test_a_peak_is_seen_though_it_was_given_back() -> None:
    before = psutil.Process().memory_info().rss
    with PeakMemory() as peak:
        held = np.ones(200 * MIB // 8)
        time.sleep(0.5)
        del held
    assert 190 * MIB < peak.bytes - before < 400 * MIB


def test_what_is_available_is_less_than_the_machine_has() -> None:
    assert 0 < available_memory() < psutil.virtual_memory().total


@given(need=NEEDS, other=NEEDS, limit=st.integers(1, 2**36))
def test_what_fits_beside_others_fits_alone_and_within_a_larger_limit(need: int, other: int, limit: int) -> None:
    needs = {"one": need, "other": other}
    budget = MemoryBudget(limit, needs)
    if budget.fits("one", ["other"]):
        assert budget.fits("one")
        assert MEMORY_MARGIN * (need + other) + DRIVER_BYTES <= limit
        assert MemoryBudget(2 * limit, needs).fits("one", ["other"])
        assert MemoryBudget(None, needs).fits("one", ["other"])


def test_a_measurement_replaces_the_estimate_and_the_largest_counts() -> None:
    budget = MemoryBudget(DRIVER_BYTES + 1200, {"lexical": 5000})
    assert not budget.fits("lexical")
    budget.measure("lexical", 400)
    assert budget.fits("lexical", ["lexical"])
    budget.measure("lexical", 900)
    budget.measure("lexical", 100)
    assert budget.fits("lexical") and not budget.fits("lexical", ["lexical"])
