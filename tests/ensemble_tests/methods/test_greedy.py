from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.arrays import Floats
from ensemble.methods.fixed import Space
from ensemble.methods.greedy import select_greedily
from ensemble.methods.simplex import blend_smape
from tests.ensemble_tests.toys import members


def written_out(relative: Floats, space: Space, rounds: int) -> Floats:
    """The paper's procedure, one member after the other."""
    count = relative.shape[1]
    drawn, best, lowest = np.zeros(count), np.zeros(count), np.inf
    for size in range(1, rounds + 1):
        scores = [blend_smape(relative, (drawn + np.eye(count)[place]) / size, space) for place in range(count)]
        drawn[int(np.argmin(scores))] += 1
        if min(scores) < lowest:
            lowest, best = min(scores), drawn / size
    return best


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 80), st.integers(1, 6), st.integers(0, 1000), st.sampled_from(["log", "price"]))
def test_draws_as_in_the_paper(height: int, count: int, seed: int, space: Space) -> None:
    oof, prices = members(height, count, seed)
    relative = oof / prices[:, None] if space == "price" else np.log(oof / prices[:, None])
    found, expected = select_greedily(relative, space, 20), written_out(relative, space, 20)
    assert blend_smape(relative, found, space) == pytest.approx(blend_smape(relative, expected, space), abs=1e-3)
    assert found.sum() == pytest.approx(1.0) and (found >= 0).all()


def test_blocks_of_rows_change_nothing() -> None:
    oof, prices = members(70_000, 3)
    relative = np.log(oof / prices[:, None])
    found = blend_smape(relative, select_greedily(relative, "log", 10), "log")
    assert found == pytest.approx(blend_smape(relative, written_out(relative, "log", 10), "log"), abs=1e-3)
