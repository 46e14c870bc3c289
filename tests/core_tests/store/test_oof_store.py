from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.store.oof_store import FoldFit, Member, MemberKey, PredictionStore, geometric_mean

KEY = MemberKey("text", {"dropout": 0.4, "depth": 2}, {"encoder": "abc"}, "catalog", "folds", 0)
vectors = arrays(np.float64, st.integers(0, 20), elements=st.floats(allow_infinity=False))


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    return PredictionStore(tmp_path / "members")


def test_id_names_everything_that_decides_the_predictions() -> None:
    changes: list[dict[str, object]] = [
        {"architecture": "lexical"},
        {"config": {"dropout": 0.5, "depth": 2}},
        {"identity": {"encoder": "abd"}},
        {"catalog": "other"},
        {"folds": "other"},
        {"seed": 1},
        {"core": "other"},
    ]
    ids = {KEY.id} | {replace(KEY, **change).id for change in changes}  # type: ignore[arg-type]
    assert len(ids) == len(changes) + 1
    assert KEY.id.startswith("text-")
    assert replace(KEY, config={"depth": 2, "dropout": 0.4}).id == KEY.id


@settings(max_examples=25, deadline=None)
@given(oof=vectors, test=vectors, seconds=st.floats(0, 1e6))
def test_member_comes_back_as_it_was_nan_included(
    tmp_path_factory: pytest.TempPathFactory, oof: np.ndarray, test: np.ndarray, seconds: float
) -> None:
    store = PredictionStore(tmp_path_factory.mktemp("store"))
    store.write_member(Member("text-1", oof, test, {"seconds": seconds}))
    back = store.read("text-1")
    assert np.array_equal(back.oof, oof, equal_nan=True)
    assert np.array_equal(back.test, test, equal_nan=True)
    assert back.record == {"seconds": seconds}


@pytest.mark.parametrize("quantiles", [None, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])])
def test_fit_comes_back_with_and_without_quantiles(store: PredictionStore, quantiles: np.ndarray | None) -> None:
    assert not store.has_fit("text-1", 2)
    store.write_fit("text-1", FoldFit(2, np.array([1.0, 2.0]), np.array([3.0, 4.0]), 1.25, quantiles, quantiles))
    assert store.has_fit("text-1", 2)
    back = store.read_fit("text-1", 2)
    assert (back.fold, back.seconds) == (2, 1.25)
    assert back.valid.tolist() == [1.0, 2.0]
    assert back.test.tolist() == [3.0, 4.0]
    for read in (back.valid_quantiles, back.test_quantiles):
        assert read is None if quantiles is None else np.array_equal(read, quantiles)


def test_member_without_its_marker_is_not_complete(store: PredictionStore) -> None:
    assert store.complete() == []
    for name in ("text-2", "boosted-1"):
        store.write_member(Member(name, np.ones(3), np.ones(2), {"id": name}))
    store.write_fit("lexical-1", FoldFit(0, np.ones(1), np.ones(2), 0.1))
    assert store.complete() == ["boosted-1", "text-2"]
    (store.folder / "text-2" / "member.json").unlink()
    assert store.complete() == ["boosted-1"]


def test_write_that_fails_half_way_is_no_member_and_no_fit(store: PredictionStore) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        store.write_member(Member("text-1", np.ones(3), np.ones(2), {"smape": float("nan")}))
    with pytest.raises(ValueError, match="Out of range float"):
        store.write_fit("text-1", FoldFit(0, np.ones(1), np.ones(2), float("nan")))
    assert store.complete() == []
    assert not store.has_fit("text-1", 0)
    assert not [path for path in store.folder.rglob("*") if path.name.endswith(".tmp")]


def test_quantiles_of_a_member(store: PredictionStore) -> None:
    assert store.quantiles("text-1", "oof") is None
    store.write_quantiles("text-1", "oof", np.array([[1.0, np.nan]]))
    assert np.array_equal(store.quantiles("text-1", "oof"), [[1.0, np.nan]], equal_nan=True)  # type: ignore[arg-type]
    assert store.quantiles("text-1", "test") is None


def test_geometric_mean_of_fold_models() -> None:
    assert geometric_mean([np.array([1.0, 3.0]), np.array([4.0, 3.0])]) == pytest.approx(np.array([2.0, 3.0]))


def test_lone_fits_go_unless_they_may_be_needed(store: PredictionStore) -> None:
    prices = np.array([1.0])
    for name, folds in {"trial": [0], "kept": [0], "begun": [0, 1], "other-fold": [1], "member": [0]}.items():
        for fold in folds:
            store.write_fit(name, FoldFit(fold, prices, prices, 1.0))
    store.write_member(Member("member", prices, prices, {}))
    store.discard_lone_fits({"kept"})
    assert sorted(folder.name for folder in store.folder.iterdir()) == ["begun", "kept", "member", "other-fold"]
