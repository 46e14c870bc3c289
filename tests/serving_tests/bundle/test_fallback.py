from __future__ import annotations

import numpy as np
import pytest

from serving.bundle.predictor import Distances


def test_a_missing_price_is_the_nearest_members_moved_by_their_usual_distance() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 1, 500)
    good = truth + rng.normal(0, 0.1, 500)
    logs = np.column_stack(
        [good, good + 0.3 + rng.normal(0, 0.02, 500), truth + rng.normal(0, 0.8, (500, 3)).T[0], truth]
    )
    found = Distances.measure(np.exp(logs))
    given = np.exp(logs[:4])
    given[0, 0] = given[1, 1] = np.nan
    given[2, :2] = np.nan
    given[3, [0, 1, 3]] = np.nan
    filled = found.fill(given)
    assert np.array_equal(filled[~np.isnan(given)], given[~np.isnan(given)])
    assert np.log(filled[0, 0]) == pytest.approx(logs[0, 1] - 0.3, abs=0.02)
    assert np.log(filled[1, 1]) == pytest.approx(logs[1, 0] + 0.3, abs=0.02)
    assert np.log(filled[2, :2]) == pytest.approx([logs[2, 3], logs[2, 3] + 0.3], abs=0.05)
    assert np.log(filled[3, 3] / given[3, 2]) == pytest.approx(found.offsets[3, 2])


def test_a_row_is_filled_alike_in_any_company() -> None:
    oof = np.exp(np.random.default_rng(1).normal(2, 1, (60, 4)))
    given = oof[:20].copy()
    given[::2, 1] = given[::3, 2] = np.nan
    found = Distances.measure(oof)
    assert np.array_equal(np.vstack([found.fill(row[None]) for row in given]), found.fill(given))
