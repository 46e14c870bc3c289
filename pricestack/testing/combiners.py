"""Contract suite of combination methods, generated from the registry: prices, repeatability, invariance and storage.

@pytest.mark.parametrize(("name", "check"), contract())
def test_contract(name, check):
    check(name)
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose

from core.arrays import Floats
from core.metrics import smape
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.methods.combination import Combination, CombinationProblem
from ensemble.methods.method_registry import METHODS
from ensemble.pipeline.serialization import load, save


def members(height: int, count: int, seed: int = 0, spread: tuple[float, float] = (0.2, 0.6)) -> tuple[Floats, Floats]:
    """((height, count) prices with half-shared errors, (height,) true log-normal prices)."""
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(2.6, 1.0, height))
    shared = rng.normal(0.0, 0.2, height)
    columns = [
        prices * np.exp(shared + rng.normal(rng.normal(0.0, 0.1), rng.uniform(*spread), height)) for _ in range(count)
    ]
    return np.column_stack(columns), prices


def rows(oof: Floats) -> Rows:
    """Rows without features."""
    return Rows(oof, np.zeros((len(oof), 0)))


def rows_with_features(prices: Floats) -> Rows:
    """Rows with a feature that is unknown in some of them, and quantiles of the first two members."""
    feature = np.log(prices[:, :1]).round(1)
    feature[::7] = np.nan
    deciles = np.log(prices[:, :2, None]) + np.linspace(-0.7, 0.5, 9)
    return Rows(prices, feature, MemberQuantiles(np.array([0, 1]), deciles.astype(np.float32)))


def problem(
    oof: Floats, prices: Floats, seeds: Sequence[int] = (0,), make: Callable[[Floats], Rows] = rows
) -> CombinationProblem:
    """A problem in which each row is a product of its own."""
    return CombinationProblem(make(oof), prices, np.arange(len(oof), dtype=np.int64), seeds)


def _fit(name: str, oof: Floats, prices: Floats) -> Combination:
    return METHODS[name].fit(problem(oof, prices))


def predicts_prices_of_each_row_alone(name: str) -> None:
    """Prices are finite, positive, better than the worst member's, and do not depend on the other rows."""
    oof, prices = members(700, 6, seed=2)
    fitted = _fit(name, oof[:400], prices[:400])
    found = fitted.predict(rows(oof[400:]))
    assert np.isfinite(found).all() and (found > 0).all()
    assert smape(prices[400:], found) < max(smape(prices[400:], column) for column in oof[400:].T)
    assert_allclose(fitted.predict(rows(oof[400:410])), found[:10], rtol=1e-6)
    assert fitted.weights.shape == (6,) and np.isfinite(fitted.weights).all()
    json.dumps(fitted.describe(), allow_nan=False)


def repeats_itself(name: str) -> None:
    """Two fits to the same input give the same prices."""
    oof, prices = members(500, 5, seed=3)
    first, again = (_fit(name, oof, prices).predict(rows(oof)) for _ in range(2))
    assert np.array_equal(first, again)


def takes_a_member_twice(name: str) -> None:
    """A copy of a member is no error."""
    oof, prices = members(300, 5, seed=5)
    oof[:, 1] = oof[:, 0]
    assert np.isfinite(_fit(name, oof, prices).predict(rows(oof))).all()


def comes_back_from_disk(name: str) -> None:
    """A stored combination gives the same prices to the last bit."""
    oof, prices = members(500, 6, seed=2)
    fitted = METHODS[name].fit(problem(oof[:400], prices[:400], (0, 1), rows_with_features))
    new = rows_with_features(oof[400:])
    with tempfile.TemporaryDirectory() as folder:
        save(fitted, Path(folder))
        again = load(Path(folder), type(fitted))
    assert np.array_equal(again.predict(new), fitted.predict(new))
    assert np.array_equal(again.weights, fitted.weights)
    assert again.describe() == fitted.describe()


def follows_the_currency(name: str) -> None:
    """A change of currency scales all prices."""
    oof, prices = members(300, 5, seed=3)
    here, there = (_fit(name, oof * factor, prices * factor).predict(rows(oof * factor)) for factor in (1, 1024))
    assert_allclose(there, here * 1024, rtol=1e-3)


def ignores_the_order_of_members(name: str) -> None:
    """Another order of the members gives the same prices."""
    oof, prices = members(200, 6, seed=4)
    order = np.random.default_rng(0).permutation(6)
    one, other = _fit(name, oof, prices), _fit(name, oof[:, order], prices)
    assert_allclose(other.predict(rows(oof[:, order])), one.predict(rows(oof)), rtol=1e-9)


_OF_ALL = (predicts_prices_of_each_row_alone, repeats_itself, takes_a_member_twice, comes_back_from_disk)
_OF_INVARIANT = (follows_the_currency, ignores_the_order_of_members)


def contract() -> list[tuple[str, Callable[[str], None]]]:
    """Every registered method with each check that it must pass, for `pytest.mark.parametrize`."""
    return [
        (name, check)
        for name, method in METHODS.items()
        for check in (*_OF_ALL, *(_OF_INVARIANT if method.invariant else ()))
    ]
