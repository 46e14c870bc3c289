from __future__ import annotations

from collections.abc import Sequence

import lightgbm
import numpy as np
import pytest

from core.arrays import Floats
from core.metrics import smape
from ensemble.methods.boosting import PARTS, Boosted, Start, Task, fit_booster, parts_of, touching_smape_objective
from ensemble.methods.fixed import Blend
from ensemble.methods.simplex import fit_simplex
from tests.ensemble_tests.toys import members, rows

EQUAL = Blend(np.full(3, 1 / 3), "log")


def fit(oof: Floats, prices: Floats, start: Start, seeds: Sequence[int], threads: int = 1) -> Boosted:
    return fit_booster(Task(rows(oof), prices, np.arange(len(prices)), start, threads), touching_smape_objective, seeds)


def test_corrects_what_no_weights_can() -> None:
    """Each member is good on its own half of the rows, and the members' disagreement shows which half a row is in."""
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 3000))
    half = rng.random(3000) < 0.5
    oof = np.column_stack([prices * np.where(half, 1.0, 3.0), prices * np.where(half, 1.0, 3.2)])
    oof *= np.exp(rng.normal(0, 0.05, oof.shape))
    blend = fit_simplex(oof[:2000], prices[:2000], "log")
    boosted = fit(oof[:2000], prices[:2000], blend, [0])
    left = rows(oof[2000:])
    assert smape(prices[2000:], boosted.predict(left)) < smape(prices[2000:], blend.predict(left)) - 10


def test_same_input_same_trees_on_any_number_of_threads_and_another_seed_others() -> None:
    oof, prices = members(500, 3)
    first, again, other = (
        fit(oof, prices, EQUAL, seeds, threads) for seeds, threads in (([1, 2], 1), ([1, 2], 2), ([3, 4], 1))
    )
    assert first.describe() == again.describe()
    assert np.array_equal(first.predict(rows(oof)), again.predict(rows(oof)))
    assert first.describe()["fingerprint"] != other.describe()["fingerprint"]


def test_bag_is_the_average_in_log_space() -> None:
    oof, prices = members(500, 3)
    one, two, both = (fit(oof, prices, EQUAL, seeds).predict(rows(oof)) for seeds in ([1], [2], [1, 2]))
    assert both == pytest.approx(np.sqrt(one * two))


def test_a_row_is_predicted_from_itself_alone() -> None:
    oof, prices = members(400, 4)
    boosted = fit(oof, prices, fit_simplex(oof, prices, "log"), [0])
    assert boosted.predict(rows(oof))[:7] == pytest.approx(boosted.predict(rows(oof[:7])))


def test_stops_early_on_noise() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 2000))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (2000, 3)))
    assert max(fit(oof, prices, fit_simplex(oof, prices, "log"), [0, 1]).describe()["rounds"]) < 60


def test_parts_keep_groups_whole_and_change_with_the_seed() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 300)
    parts = parts_of(groups, 0)
    assert set(parts) == set(range(PARTS))
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    assert np.array_equal(parts, parts_of(groups, 0)) and not np.array_equal(parts, parts_of(groups, 1))


def test_objective_has_the_slope_of_smape_away_from_the_kink_and_positive_curvature() -> None:
    label = np.zeros(201)
    data = lightgbm.Dataset(np.zeros((201, 1)), label=label)
    distance = np.linspace(-6, 6, 201)
    slope, curvature = touching_smape_objective(distance, data)
    far = np.abs(distance) > 1
    exact = np.sign(distance) / np.cosh(distance / 2) ** 2
    assert 10 * slope[far] == pytest.approx(exact[far], rel=0.01)
    assert (curvature > 0).all()
    assert curvature.max() <= 1


def test_quadratic_of_the_objective_lies_above_the_term() -> None:
    data = lightgbm.Dataset(np.zeros((1, 1)), label=np.zeros(1))
    to = np.linspace(-5, 5, 101)
    smooth = lambda d: 2 * np.tanh(np.sqrt(d**2 + 0.01) / 2)  # noqa: E731
    for start in (-3.0, -0.4, 0.05, 1.0, 4.0):
        slope, curvature = (10 * each[0] for each in touching_smape_objective(np.array([start]), data))
        above = smooth(start) + slope * (to - start) + curvature / 2 * (to - start) ** 2
        assert (above >= smooth(to) - 2e-2).all()
