from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core.arrays import Floats
from core.metrics import smape
from core.protocols.architecture import LEVELS
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.matrix.matrix import Matrix
from ensemble.pipeline.nested_cv import validate
from ensemble.pipeline.postprocessing import STEPS
from ensemble.pipeline.quantile_spread import fit_spread
from ensemble.pipeline.result import make_record
from tests.ensemble_tests.toys import matrix, members

FEW = ["mean", "single"]


def two_prices(count: int, seed: int) -> tuple[Floats, Floats, MemberQuantiles]:
    """Two members at the middle of two possible log prices, 2 apart: (oof, true prices, quantiles).

    How likely the dearer one is differs from row to row. Only the second member's quantiles show it.
    """
    rng = np.random.default_rng(seed)
    middle, dear = rng.normal(2.6, 1.0, count), rng.beta(0.6, 0.6, count)
    logs = middle + np.where(rng.random(count) < dear, 1.0, -1.0) + rng.normal(0, 0.02, count)
    high = np.array(LEVELS) > 1 - dear[:, None]
    deciles = middle[:, None] + np.where(high, 1.0, -1.0)
    oof = np.exp(middle[:, None] + rng.normal(0, 0.05, (count, 2)))
    return oof, np.exp(logs), MemberQuantiles(np.array([1]), deciles[:, None].astype(np.float32))


def with_quantiles(data: Matrix, quantiles: MemberQuantiles) -> Matrix:
    return replace(data, quantiles=(quantiles, quantiles.take(np.arange(len(data.test_ids)))))


def test_it_wins_and_is_kept_where_members_know_how_prices_are_distributed() -> None:
    oof, prices, quantiles = two_prices(1500, 0)
    data = matrix(oof, prices)
    plain = validate(data, methods=FEW)
    found = validate(with_quantiles(data, quantiles), methods=FEW)
    assert [each.name for each in found.conclusion.steps] == list(STEPS)
    assert "spread" in found.conclusion.recipe.steps
    assert smape(prices, found.nested) < smape(prices, plain.nested) - 20
    other, truth, reported = two_prices(1000, 1)
    submitted = found.final.predict(Rows(other, np.empty((1000, 0)), reported))
    assert smape(truth, submitted) == pytest.approx(smape(prices, found.nested), abs=3)
    json.dumps(make_record(with_quantiles(data, quantiles), found, 0), allow_nan=False)


def test_it_is_tried_and_left_out_where_the_quantiles_know_nothing() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 1500))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (1500, 2)))
    data = matrix(oof, prices)
    deciles = np.log(oof)[:, :1, None] + np.linspace(-0.5, 0.5, 9)
    quantiles = MemberQuantiles(np.array([0]), deciles.astype(np.float32))
    found = validate(with_quantiles(data, quantiles), methods=FEW, steps=("spread",))
    assert [each.name for each in found.conclusion.steps] == ["spread"]
    assert found.conclusion.recipe.steps == {}
    assert np.array_equal(found.nested, validate(data, methods=FEW, steps=()).nested)


def test_without_quantiles_nothing_changes() -> None:
    oof, prices = members(700, 3)
    data = matrix(oof, prices)
    found = make_record(data, validate(data, methods=FEW), 0)
    assert [each["name"] for each in found["steps"]] == [name for name in STEPS if name != "spread"]
    assert fit_spread(oof[:, 0], prices, data.train_rows, 0) is None


def test_quantiles_too_wide_and_off_centre_are_mended() -> None:
    rng = np.random.default_rng(0)
    middle = rng.normal(2.6, 1.0, 3000)
    wide = rng.random(3000) < 0.5
    scale = np.where(wide, 1.2, 0.1)
    logs = middle + scale * (rng.exponential(1.0, 3000) - np.log(2))
    truth = middle[:, None] + scale[:, None] * (-np.log(1 - np.array(LEVELS)) - np.log(2))
    reported = (middle[:, None] + 2 * (truth - middle[:, None]) + 0.2)[:, None]
    known = Rows(
        np.exp(middle)[:, None], np.empty((3000, 0)), MemberQuantiles(np.array([0]), reported.astype(np.float32))
    )
    step = fit_spread(np.exp(middle), np.exp(logs), known, 0)
    assert step is not None
    assert step.stretch == 0.5
    after = step.predict(np.exp(middle), known)
    assert smape(np.exp(logs[wide]), after[wide]) < smape(np.exp(logs[wide]), np.exp(middle[wide])) - 0.5
    assert after[~wide] == pytest.approx(np.exp(middle[~wide]), rel=0.06)


def test_crossing_quantiles_are_sorted_and_the_better_member_counts_more() -> None:
    oof, prices, quantiles = two_prices(1000, 0)
    noise = np.random.default_rng(2).normal(0, 1.5, 1000)
    moved = quantiles.logs + (noise + np.log(oof[:, 0] / oof[:, 1]))[:, None, None]
    oof[:, 0] *= np.exp(noise)
    logs = np.concatenate([moved[:, :, ::-1], quantiles.logs], axis=1)
    both = MemberQuantiles(np.array([0, 1]), logs.astype(np.float32))
    step = fit_spread(oof[:, 1], prices, Rows(oof, np.empty((1000, 0)), both), 0)
    assert step is not None and step.weights[1] > step.weights[0]
    alone = Rows(oof, np.empty((1000, 0)), quantiles)
    single = fit_spread(oof[:, 1], prices, alone, 0)
    assert single is not None
    known = Rows(oof, np.empty((1000, 0)), both)
    assert step.predict(oof[:, 1], known) == pytest.approx(single.predict(oof[:, 1], alone), rel=1e-4)
