from __future__ import annotations

import json

import numpy as np
import pytest

from core.metrics import smape
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.pipeline.postprocessing import STEPS, PriceEndings, fit_endings, fit_shrinkage
from tests.ensemble_tests.toys import members, rows


@pytest.mark.parametrize("name", STEPS)
def test_every_step_gives_prices_and_describes_itself(name: str) -> None:
    oof, prices = members(600, 2)
    prices = np.floor(prices) + 0.99
    deciles = np.log(oof)[:, :1, None] + np.linspace(-1, 1, 9).astype(np.float32)
    known = Rows(oof, np.zeros((600, 0)), MemberQuantiles(np.array([0]), deciles.astype(np.float32)))
    step = STEPS[name].fit(oof[:, 0], prices, known, 0)
    assert step is not None
    after = step.predict(oof[:, 0], known)
    assert np.isfinite(after).all() and (after > 0).all() and after.shape == (600,)
    assert step.predict(oof[:5, 0], known.take(np.arange(5))) == pytest.approx(after[:5])
    json.dumps(step.describe(), allow_nan=False)


def test_shrinkage_pulls_extremes_that_went_too_far() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(2.6, 1.0, 4000)
    combined = np.exp(np.where(logs > 4, 4 + 2 * (logs - 4), logs) + rng.normal(0, 0.05, 4000))
    step = fit_shrinkage(combined, np.exp(logs), rows(combined[:, None]), 0)
    assert step is not None
    after = step.predict(combined, rows(combined[:, None]))
    assert smape(np.exp(logs), after) < smape(np.exp(logs), combined) - 0.5
    assert step.describe()["above"] < 0.8


def test_nothing_to_shrink_is_no_step() -> None:
    prices = np.exp(np.random.default_rng(0).normal(2.6, 1.0, 500))
    assert fit_shrinkage(prices, prices, rows(prices[:, None]), 0) is None


def test_endings_are_those_of_the_true_prices() -> None:
    rng = np.random.default_rng(0)
    prices = np.floor(rng.uniform(5, 60, 800)) + np.where(rng.random(800) < 0.7, 0.99, 0.49)
    combined = prices * np.exp(rng.normal(0, 0.004, 800))
    step = fit_endings(combined, prices, rows(combined[:, None]), 0)
    assert isinstance(step, PriceEndings) and step.unit == 1 and step.endings == pytest.approx((0.49, 0.99))
    after = step.predict(combined, rows(combined[:, None]))
    assert (np.abs(after - prices) < 1e-6).mean() > 0.85


def test_whole_tens_are_endings_too() -> None:
    rng = np.random.default_rng(0)
    prices = np.floor(rng.uniform(10, 60, 800)) * 10 + 9
    combined = prices * np.exp(rng.normal(0, 0.003, 800))
    step = fit_endings(combined, prices, rows(combined[:, None]), 0)
    assert step == PriceEndings(10, (9.0,))


def test_an_ending_moves_no_price_far() -> None:
    step = PriceEndings(10, (9.0,))
    prices = np.array([0.02, 3.0, 128.0, 9000.0])
    assert step.predict(prices, rows(prices[:, None])) == pytest.approx([0.02, 3.0, 129.0, 8999.0])


def test_prices_without_common_endings_have_no_step() -> None:
    prices = np.exp(np.random.default_rng(0).normal(2.6, 1.0, 500))
    assert fit_endings(prices, prices, rows(prices[:, None]), 0) is None
