from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.folds import Folds, load_folds


@given(st.lists(st.integers(0, 3), min_size=4, max_size=50).map(lambda numbers: np.array([0, 1, 2, 3, *numbers])))
def test_every_row_is_inside_exactly_one_fold(assignment: np.ndarray) -> None:
    folds = Folds(assignment, np.arange(len(assignment)), "random")
    assert folds.k == 4
    inside = [folds.split(fold)[1] for fold in range(folds.k)]
    assert sorted(np.concatenate(inside)) == list(range(len(assignment)))
    for fold in range(folds.k):
        assert sorted(np.concatenate(folds.split(fold))) == list(range(len(assignment)))


def test_saved_and_loaded_are_the_same_folds_and_one_moved_row_makes_others(tmp_path: Path) -> None:
    folds = Folds(np.array([0, 1, 1, 0]), np.array([0, 1, 1, 2]), "groups")
    folds.save(tmp_path / "folds.parquet")
    loaded = load_folds(tmp_path / "folds.parquet")
    assert (loaded.hash, loaded.mode) == (folds.hash, "groups")
    assert loaded.groups.tolist() == [0, 1, 1, 2]
    assert Folds(np.array([0, 1, 0, 1]), folds.groups, "groups").hash != folds.hash
