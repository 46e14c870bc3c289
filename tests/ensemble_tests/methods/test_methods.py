from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from core.metrics import smape
from ensemble.methods.method_registry import BLEND, METHODS, check_methods, fit_methods, fitting, known_methods
from pricestack.testing.combiners import contract, members, problem, rows
from tests.errors import refused


@pytest.mark.parametrize(("name", "check"), contract())
def test_contract(name: str, check: Callable[[str], None]) -> None:
    check(name)


def test_each_method_is_what_its_name_means() -> None:
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
    with refused("methods-unknown") as caught:
        check_methods(["simplexlog"])
    assert "simplex-log" in caught.value.hint
    with refused("methods-nothing-to-blend"):
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
    with refused("methods-too-few-rows"):
        fitting(("mean", BLEND), 1, 1000, 1000)
