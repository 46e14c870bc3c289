from __future__ import annotations

import numpy as np
import pytest

from ensemble.matrix.level_one import RANKED, Rows
from tests.ensemble_tests.toys import members, rows


@pytest.mark.parametrize("count", [1, 4, RANKED, RANKED + 1])
def test_statistics_are_finite_for_equal_members_and_have_a_column_for_each(count: int) -> None:
    table = rows(np.full((5, count), 3.0)).statistics
    ranks = count if 1 < count <= RANKED else 0
    assert table.shape == (5, 1 + count + ranks + 8)
    assert np.isfinite(table).all()


def test_statistics_say_how_members_disagree() -> None:
    table = rows(np.exp(np.array([[1.0, 2.0, 4.0]]))).statistics[0]
    assert table[:7] == pytest.approx([2.0, -1.0, 0.0, 2.0, 0.0, 0.5, 1.0])
    assert table[7:] == pytest.approx([np.std([1, 2, 4]), 1 / 3, -1.0, -0.5, 1.0, 2.0, 3.0, 1.5], abs=1e-5)


def test_only_the_centre_changes_with_the_currency() -> None:
    oof, _ = members(50, 5)
    here, there = rows(oof).statistics, rows(oof * 100).statistics
    assert there[:, 0] - here[:, 0] == pytest.approx(np.log(100), abs=1e-5)
    assert there[:, 1:] == pytest.approx(here[:, 1:], abs=1e-5)


def test_a_part_of_the_rows_has_the_same_statistics_as_the_whole() -> None:
    oof, _ = members(30, 4)
    whole = Rows(oof, np.arange(30.0)[:, None])
    expected = whole.statistics[10:20]
    assert np.array_equal(whole.take(np.arange(10, 20)).statistics, expected)
    fresh = Rows(oof[10:20], np.arange(10.0, 20.0)[:, None])
    assert np.array_equal(fresh.statistics, expected)
    assert np.array_equal(expected[:, -1], np.arange(10, 20))
