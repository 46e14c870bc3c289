"""Threads of LightGBM beside other processes: fewer where these leave fewer cores, with the same trees."""

from __future__ import annotations

from collections.abc import Iterator

import lightgbm as lgb
import numpy as np
import pytest
from lightgbm.basic import _LIB

from core.classical import gradient_boosting
from core.classical.gradient_boosting import boost, boost_quantiles, on_free_cores
from core.hardware import FreeCores

PARAMS = {
    "objective": "huber", "num_threads": 3, "deterministic": True, "force_row_wise": True, "bagging_fraction": 0.7,
    "bagging_freq": 1, "feature_fraction": 0.6, "verbosity": -1, "seed": 1,
}  # fmt: skip


class Cores:
    """A machine on which other processes come and go."""

    def __init__(self, free: Iterator[float]) -> None:
        self.free = free

    def count(self) -> float:
        return next(self.free)


def trees(booster: lgb.Booster) -> str:
    return str(booster.model_to_string()).partition("parameters:")[0]


def _spied(limits: list[int]) -> object:
    setting = _LIB.LGBM_SetMaxThreads

    def limit(threads: int) -> int:
        limits.append(threads)
        return int(setting(threads))

    return limit


def test_trees_are_the_same_however_many_cores_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(3000, 20))
    target = features[:, 0] + random.normal(size=3000)
    names = [f"x{column}" for column in range(20)]

    def made() -> list[str]:
        found = [boost(features, target, names, PARAMS, 30, lambda: None)]
        return list(map(trees, found + boost_quantiles(features, target, names, PARAMS, 3, lambda: None)))

    expected = made()
    limits: list[int] = []
    monkeypatch.setattr(_LIB, "LGBM_SetMaxThreads", _spied(limits))
    free = iter([float("inf"), 2.6, 0.2, 1.4, 9.0] * 100)
    monkeypatch.setattr(gradient_boosting, "_free_cores", Cores(free))
    assert made() == expected
    assert limits[:6] == [3, 2, 1, 1, 3, 3]
    assert limits[-1] == -1


def test_no_round_has_more_threads_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A booster's buffers are as many as the threads that it begins with."""
    limits: list[int] = []
    monkeypatch.setattr(_LIB, "LGBM_SetMaxThreads", _spied(limits))
    monkeypatch.setattr(gradient_boosting, "_free_cores", Cores(iter([2.1, 1.0, 8.0])))
    with on_free_cores(3) as (before_next_round,):
        before_next_round(None)
        before_next_round(None)
    assert limits == [2, 1, 2, -1]


def test_one_thread_needs_no_look_at_the_machine() -> None:
    with on_free_cores(1) as callbacks:
        assert callbacks == []


def test_cores_that_nobody_uses_and_those_of_this_process_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(0.0, 10.0), (1.0, 11.5), (2.0, 12.0)])  # then 1.5 and 0.5 of the seconds were free
    monkeypatch.setattr(FreeCores, "_read", staticmethod(lambda: next(readings)))
    monkeypatch.setattr("core.hardware._FREE_SECONDS", -float("inf"))
    cores = FreeCores()
    assert [cores.count(), cores.count()] == [1.5, 0.5]
