from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from core.metrics import smape
from ensemble.blend import Blend, fit_simplex
from ensemble.booster import features, fit_booster, smape_objective
from tests.ensemble_tests.toys import members


def test_corrects_what_no_weights_can() -> None:
    """Each member is good on its own half of the rows, and the members' disagreement tells which half a row is in."""
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 3000))
    half = rng.random(3000) < 0.5
    oof = np.column_stack([prices * np.where(half, 1.0, 3.0), prices * np.where(half, 1.0, 3.2)])
    oof *= np.exp(rng.normal(0, 0.05, oof.shape))
    blend = fit_simplex(oof[:2000], prices[:2000], "log")
    boosted = fit_booster(oof[:2000], prices[:2000], blend, [0])
    assert smape(prices[2000:], boosted.predict(oof[2000:])) < smape(prices[2000:], blend.predict(oof[2000:])) - 10


def test_same_input_same_trees_and_another_seed_others() -> None:
    oof, prices = members(500, 3)
    base = Blend(np.full(3, 1 / 3), "log")
    first, again, other = (fit_booster(oof, prices, base, seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert first.fingerprint == again.fingerprint
    assert np.array_equal(first.predict(oof), again.predict(oof))
    assert first.fingerprint != other.fingerprint


def test_bag_is_the_average_in_log_space() -> None:
    oof, prices = members(500, 3)
    base = Blend(np.full(3, 1 / 3), "log")
    one, two = fit_booster(oof, prices, base, [1]), fit_booster(oof, prices, base, [2])
    both = fit_booster(oof, prices, base, [1, 2])
    assert both.predict(oof) == pytest.approx(np.sqrt(one.predict(oof) * two.predict(oof)))


def test_a_row_is_predicted_from_itself_alone() -> None:
    oof, prices = members(400, 4)
    boosted = fit_booster(oof, prices, fit_simplex(oof, prices, "log"), [0])
    assert boosted.predict(oof)[:7] == pytest.approx(boosted.predict(oof[:7]))


def test_features_are_finite_for_one_member_and_for_equal_ones() -> None:
    for oof in (np.full((5, 1), 3.0), np.full((5, 4), 3.0)):
        table = features(oof, oof[:, 0])
        assert table.shape == (5, 2 * oof.shape[1] + 8)
        assert np.isfinite(table).all()


def test_objective_has_the_slope_of_smape_away_from_the_kink_and_positive_curvature() -> None:
    label = np.zeros(201)
    data = lightgbm.Dataset(np.zeros((201, 1)), label=label)
    distance = np.linspace(-6, 6, 201)
    slope, curvature = smape_objective(distance, data)
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
        slope, curvature = (10 * each[0] for each in smape_objective(np.array([start]), data))
        above = smooth(start) + slope * (to - start) + curvature / 2 * (to - start) ** 2
        assert (above >= smooth(to) - 2e-2).all()
