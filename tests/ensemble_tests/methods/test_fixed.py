from __future__ import annotations

import numpy as np
import pytest

from ensemble.methods.fixed import Blend, Trimmed
from tests.ensemble_tests.toys import members, rows


def test_blends_are_means_in_their_space() -> None:
    oof, _ = members(20, 3)
    weights = np.array([0.5, 0.2, 0.3])
    assert Blend(weights, "price").predict(rows(oof)) == pytest.approx(oof @ weights)
    assert Blend(weights, "log").predict(rows(oof)) == pytest.approx(np.exp(np.log(oof) @ weights))
    assert Blend(weights, "log", 0.1).predict(rows(oof)) == pytest.approx(np.exp(np.log(oof) @ weights + 0.1))


def test_a_member_of_weight_0_is_not_looked_at() -> None:
    oof = np.array([[2.0, np.inf], [3.0, np.nan]])
    for space in ("log", "price"):
        assert np.array_equal(Blend(np.array([1.0, 0.0]), space).predict(rows(oof)), [2.0, 3.0])  # type: ignore[arg-type]


def test_trimmed_mean_forgets_the_lowest_and_highest_and_half_is_the_median() -> None:
    oof = np.exp(np.array([[0.0, 1.0, 2.0, 3.0, 100.0]]))
    assert np.log(Trimmed(5, 0.2).predict(rows(oof))) == pytest.approx(2.0)
    assert np.log(Trimmed(5, 0.5).predict(rows(oof))) == pytest.approx(2.0)
    assert np.log(Trimmed(5, 0.0).predict(rows(oof))) == pytest.approx(21.2)
