from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.metrics import smape
from ensemble.methods.affine import BOUND, fit_affine
from ensemble.methods.simplex import fit_simplex
from tests.ensemble_tests.toys import members, rows


def test_a_negative_weight_takes_out_what_members_share() -> None:
    rng = np.random.default_rng(0)
    logs, noise = rng.normal(2.6, 1.0, 4000), rng.normal(0, 0.4, 4000)
    oof = np.exp(np.column_stack([logs + noise, 2.6 + 2 * noise + rng.normal(0, 0.05, 4000)]))
    prices = np.exp(logs)
    blend = fit_affine(oof[:2000], prices[:2000], np.arange(2000))
    assert blend.weights[1] == pytest.approx(-0.5, abs=0.03)
    simplex = fit_simplex(oof[:2000], prices[:2000], "log")
    left = rows(oof[2000:])
    assert smape(prices[2000:], blend.predict(left)) < 0.2 * smape(prices[2000:], simplex.predict(left))


def test_useless_differences_get_equal_weights() -> None:
    rng = np.random.default_rng(1)
    prices = np.exp(rng.normal(2.6, 1.0, 150))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (150, 10)))
    assert fit_affine(oof, prices, np.arange(150)).weights == pytest.approx(np.full(10, 0.1), abs=0.06)


def test_weights_stay_within_their_bound() -> None:
    rng = np.random.default_rng(2)
    logs = rng.normal(2.6, 1.0, 3000)
    first = logs + rng.normal(0, 0.3, 3000)
    second = first - 0.1 * (first - logs) + rng.normal(0, 1e-4, 3000)
    blend = fit_affine(np.exp(np.column_stack([first, second])), np.exp(logs), np.arange(3000))
    assert np.abs(blend.weights).max() == pytest.approx(BOUND, abs=1e-6)


cases = st.tuples(st.integers(20, 80), st.integers(1, 6), st.integers(0, 1000))


@settings(max_examples=15, deadline=None)
@given(cases, st.floats(1e-3, 1e3))
def test_order_copies_and_currency_change_nothing(case: tuple[int, int, int], factor: float) -> None:
    height, count, seed = case
    oof, prices = members(height, count, seed)
    parts = np.arange(height)
    plain = fit_affine(oof, prices, parts)
    order = np.random.default_rng(seed).permutation(count)
    assert np.array_equal(fit_affine(oof[:, order], prices, parts).weights, plain.weights[order])
    copied = fit_affine(np.column_stack([oof, oof[:, 0]]), prices, parts)
    assert copied.predict(rows(np.column_stack([oof, oof[:, 0]]))) == pytest.approx(plain.predict(rows(oof)), rel=1e-9)
    other = fit_affine(oof * factor, prices * factor, parts)
    assert other.predict(rows(oof * factor)) == pytest.approx(plain.predict(rows(oof)) * factor, rel=1e-4)
