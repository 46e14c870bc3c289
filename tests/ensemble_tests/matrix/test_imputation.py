from __future__ import annotations

import numpy as np
import pytest

from ensemble.matrix.screening_checks import completed, row_medians


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
