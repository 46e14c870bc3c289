from __future__ import annotations

import numpy as np
import pytest

from core.arrays import Floats
from core.metrics import group_standard_error, smape, smape_terms
from ensemble.methods.method_registry import BLEND
from ensemble.methods.simplex import fit_simplex
from ensemble.pipeline.final_pipeline import (
    Comparison,
    Conclusion,
    EvaluationRows,
    choose,
    compare,
    conclude,
    describe_steps,
)
from ensemble.pipeline.postprocessing import STEPS
from tests.ensemble_tests.toys import members, rows


def comparison(name: str, difference: float, error: float) -> Comparison:
    return Comparison(name, 40.0 + difference, 1.0, difference, error)


def evaluation_rows(prices: Floats, oof: Floats) -> EvaluationRows:
    each = np.arange(len(prices))
    return EvaluationRows(prices, rows(oof), each % 5, each)


def settle(oof: Floats, prices: Floats, *, blend: bool = True, steps: tuple[str, ...] = ()) -> Conclusion:
    predicted = {f"m{place}": column for place, column in enumerate(oof.T)}
    return conclude(predicted, evaluation_rows(prices, oof), blend=blend, steps=steps, seed=0)


def test_simplest_within_one_standard_error_is_chosen() -> None:
    assert choose([comparison("a", 3.0, 0.2), comparison("b", 0.1, 0.2), comparison("c", 0.0, 0.0)]) == "b"
    assert choose([comparison("a", 3.0, 0.2), comparison("b", 0.3, 0.2), comparison("c", 0.0, 0.0)]) == "c"
    assert choose([comparison("a", 0.0, 0.0), comparison("b", 0.1, 0.9)]) == "a"


def test_differences_are_paired_and_clustered() -> None:
    oof, prices = members(60, 2)
    groups = np.arange(60) // 3
    first, second = compare(prices, {"x": oof[:, 0], "y": oof[:, 1]}, groups)
    apart = smape_terms(prices, oof[:, 0]) - smape_terms(prices, oof[:, 1])
    worse = first if first.smape > second.smape else second
    assert worse.difference == pytest.approx(abs(apart.mean()))
    assert worse.difference_error == pytest.approx(group_standard_error(apart, groups))
    beside = compare(prices, {"x": oof[:, 0], "y": oof[:, 1]}, groups, "y")
    assert [each.difference for each in beside] == pytest.approx([apart.mean(), 0.0])


def test_a_blend_is_scored_on_rows_its_weights_have_not_seen() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 60))
    noise = np.exp(rng.normal(2.6, 1.0, (60, 30)))
    seen = fit_simplex(noise, prices, "log").predict(rows(noise))
    assert smape(prices, settle(noise, prices).candidates[BLEND]) > smape(prices, seen) + 3


def test_two_methods_with_errors_of_their_own_are_blended() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 2000))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (2000, 2)))
    found = settle(oof, prices).recipe
    assert found.name == BLEND and found.shares == pytest.approx({"m0": 0.5, "m1": 0.5}, abs=0.06)
    assert settle(oof, prices, blend=False).recipe.name in ("m0", "m1")


def test_steps_are_off_unless_they_win() -> None:
    rng = np.random.default_rng(0)
    oof = np.exp(rng.normal(2.6, 1.0, (900, 1)))
    prices = oof[:, 0] * np.exp(rng.normal(0, 0.3, 900))  # a member with nothing left to learn
    found = settle(oof, prices, blend=False, steps=tuple(STEPS))
    assert found.recipe.steps == {}
    assert [each.name for each in found.steps] == list(STEPS)
    whole = np.floor(prices) + 0.99
    near = whole[:, None] * np.exp(np.random.default_rng(0).normal(0, 0.01, (900, 1)))
    found = settle(near, whole, blend=False, steps=tuple(STEPS))
    assert "endings" in found.recipe.steps
    after = found.recipe.apply({"m0": near[:, 0]}, rows(near))
    assert smape(whole, after) < smape(whole, near[:, 0])
    described = {each["name"]: each for each in describe_steps(found.recipe, found.steps)}
    assert described["endings"]["kept"] and described["endings"]["fitted"]["unit"] == 1
    assert all(each["kept"] == ("fitted" in each) for each in described.values())
