from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.arrays import Floats
from core.metrics import smape
from ensemble.methods.boosting import Task
from ensemble.methods.fixed import Blend
from ensemble.methods.smape_minimizer import ATOMS, LEVELS, fit_conditional, fit_quantiles, smape_point
from tests.ensemble_tests.toys import rows


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (3, 7), elements=st.floats(-4, 4)))
def test_no_price_has_a_lower_expected_smape(atoms: Floats) -> None:
    points = smape_point(atoms)
    expected = lambda x, row: np.tanh(np.abs(x - row) / 2).mean()  # noqa: E731
    for point, row in zip(points, atoms, strict=True):
        assert expected(point, row) <= min(expected(x, row) for x in np.linspace(-4, 4, 401)) + 1e-6


def test_it_is_neither_median_nor_mean_where_a_distribution_has_two_humps() -> None:
    atoms = np.array([[0.0, 0.0, 0.0, 2.0, 4.0, 6.0, 8.0]])
    assert smape_point(atoms)[0] == 0.0 != np.median(atoms)


def humps(count: int, seed: int) -> tuple[Floats, Floats]:
    """Members that cannot separate a cheap product from one of eight times its price: (oof, prices). Four in ten are dear."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(2.6, 1.0, count)
    prices = np.exp(centre + np.log(8) * (rng.random(count) < 0.4) + rng.normal(0, 0.02, count))
    return np.exp(centre[:, None] + np.log(8) / 2 + rng.normal(0, 0.02, (count, 3))), prices


def test_quantile_boosters_and_neighbourhoods_find_the_better_price() -> None:
    (oof, prices), (other, truth) = humps(4000, 0), humps(2000, 1)
    start = Blend(np.full(3, 1 / 3), "log")
    plain = smape(truth, start.predict(rows(other)))
    quantiles = fit_quantiles(Task(rows(oof), prices, np.arange(4000), start), 0)
    assert smape(truth, quantiles.predict(rows(other))) < plain - 20
    combined = start.predict(rows(oof))
    conditional = fit_conditional(combined, prices, rows(oof), 0)
    points = np.exp(smape_point(conditional.atoms(start.predict(rows(other)), rows(other))))
    assert smape(truth, points) < plain - 20


def test_atoms_cover_as_they_say() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(2.6, 1.0, 6000)
    spread = np.where(rng.random(6000) < 0.5, 0.1, 0.6)
    oof = np.exp(np.column_stack([logs + spread * rng.normal(size=6000), logs + spread * rng.normal(size=6000)]))
    start = Blend(np.array([0.5, 0.5]), "log")
    learn, held = slice(0, 4000), slice(4000, 6000)
    quantiles = fit_quantiles(Task(rows(oof[learn]), np.exp(logs[learn]), np.arange(4000), start), 0)
    atoms = quantiles.atoms(rows(oof[held]))
    assert (np.diff(atoms, axis=1) >= 0).all() and atoms.shape == (2000, len(LEVELS))
    below = (logs[held, None] <= atoms).mean(axis=0)
    assert below == pytest.approx(np.array(LEVELS), abs=0.05)
    combined = start.predict(rows(oof))
    conditional = fit_conditional(combined[learn], np.exp(logs[learn]), rows(oof[learn]), 0)
    atoms = conditional.atoms(combined[held], rows(oof[held]))
    inside = (atoms[:, 3] <= logs[held]) & (logs[held] <= atoms[:, ATOMS - 4])
    assert inside.mean() == pytest.approx((ATOMS - 7) / ATOMS, abs=0.02)
    wide = spread[held] > 0.3
    assert np.ptp(atoms[wide], axis=1).mean() > 2 * np.ptp(atoms[~wide], axis=1).mean()
