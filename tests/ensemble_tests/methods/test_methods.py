"""One contract for every way to combine."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.errors import UserError
from core.metrics import smape
from ensemble.methods.method_registry import BLEND, METHODS, check_methods, fit_methods, fitting, known_methods
from tests.ensemble_tests.toys import members, problem, rows

LINEAR = ("single", "geometric", "mean", "median", "trimmed", "greedy", "simplex-log", "simplex-price", "affine")


@pytest.mark.parametrize("name", METHODS)
def test_prices_are_finite_positive_better_than_the_worst_member_and_of_each_row_alone(name: str) -> None:
    oof, prices = members(700, 6, seed=2)
    fitted = METHODS[name].fit(problem(oof[:400], prices[:400]))
    found = fitted.predict(rows(oof[400:]))
    assert np.isfinite(found).all() and (found > 0).all()
    assert smape(prices[400:], found) < max(smape(prices[400:], column) for column in oof[400:].T)
    assert fitted.predict(rows(oof[400:410])) == pytest.approx(found[:10], rel=1e-6)
    assert fitted.weights.shape == (6,) and np.isfinite(fitted.weights).all()
    json.dumps(fitted.describe(), allow_nan=False)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_again(name: str) -> None:
    oof, prices = members(500, 5, seed=3)
    first, again = (METHODS[name].fit(problem(oof, prices)).predict(rows(oof)) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("name", LINEAR)
def test_currency_changes_nothing(name: str) -> None:
    oof, prices = members(300, 5, seed=3)
    here, there = (METHODS[name].fit(problem(oof * f, prices * f)).predict(rows(oof * f)) for f in (1, 1024))
    assert there == pytest.approx(here * 1024, rel=1e-3)


@pytest.mark.parametrize("name", LINEAR)
def test_order_of_members_changes_nothing(name: str) -> None:
    oof, prices = members(200, 6, seed=4)
    order = np.random.default_rng(0).permutation(6)
    one, other = METHODS[name].fit(problem(oof, prices)), METHODS[name].fit(problem(oof[:, order], prices))
    assert other.predict(rows(oof[:, order])) == pytest.approx(one.predict(rows(oof)), rel=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_a_member_twice_is_no_error(name: str) -> None:
    oof, prices = members(300, 5, seed=5)
    oof[:, 1] = oof[:, 0]
    assert np.isfinite(METHODS[name].fit(problem(oof, prices)).predict(rows(oof))).all()


def test_each_is_what_its_name_says() -> None:
    oof, prices = members(200, 5)
    fitted = fit_methods(known_methods(), problem(oof, prices))
    assert list(fitted) == list(METHODS)
    best = min(range(5), key=lambda place: smape(prices, oof[:, place]))
    assert np.array_equal(fitted["single"].predict(rows(oof)), oof[:, best])
    assert fitted["mean"].predict(rows(oof)) == pytest.approx(oof.mean(axis=1))
    assert fitted["geometric"].predict(rows(oof)) == pytest.approx(np.exp(np.log(oof).mean(axis=1)))
    assert fitted["median"].predict(rows(oof)) == pytest.approx(np.median(oof, axis=1))
    assert fitted["trimmed"].predict(rows(oof)) == pytest.approx(
        np.exp(np.sort(np.log(oof), axis=1)[:, 1:4].mean(axis=1))
    )


def test_names_are_checked_and_put_in_order() -> None:
    assert check_methods(["single", "affine", "single"]) == ("affine", "single")
    assert check_methods(["mean", BLEND]) == (BLEND, "mean")
    with pytest.raises(UserError, match="no method 'simplexlog'") as caught:
        check_methods(["simplexlog"])
    assert "simplex-log" in caught.value.hint
    with pytest.raises(UserError, match="nothing to blend"):
        check_methods([BLEND])


def test_few_members_and_few_rows_have_fewer_methods() -> None:
    assert fitting(known_methods(), 1, 50, 50) == ("single",)
    assert fitting(known_methods(), 1, 1000, 1000) == (BLEND, "single", "residual")
    few = fitting(known_methods(), 3, 50, 50)
    assert "trimmed" not in few and "residual" not in few and few[0] == BLEND
    assert set(known_methods()) - set(fitting(known_methods(), 5, 1000, 1)) == {
        "affine", "residual", "lightgbm-l1", "lightgbm-huber", "lightgbm-smape",
    }  # fmt: skip
    assert fitting(known_methods(), 5, 1000, 1000) == known_methods()
    assert fitting(("mean", BLEND), 5, 1000, 1000) == ("mean",)


def test_methods_that_nothing_is_enough_for_are_refused_not_replaced() -> None:
    with pytest.raises(UserError, match="1 members, and 1000 rows in 1000 groups to learn from, are too few for mean"):
        fitting(("mean", BLEND), 1, 1000, 1000)
