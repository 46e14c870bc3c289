from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.arrays import Floats
from core.metrics import smape
from ensemble.methods.fixed import Blend, Space
from ensemble.methods.greedy import select_greedily
from ensemble.methods.simplex import _quadratic, blend_smape, fit_simplex, relative_prices, simplex_minimum
from tests.ensemble_tests.toys import members, rows

SPACES: tuple[Space, ...] = ("log", "price")


def gradient(table: Floats, weights: Floats, space: Space) -> Floats:
    """Gradient of `blend_smape` in the weights, (u,), away from rows that are predicted exactly."""
    combined = table @ weights
    distance = combined if space == "log" else np.log(combined)
    slope = 100.0 * np.sign(distance) * (1.0 - np.tanh(distance / 2) ** 2)
    if space == "price":
        slope = slope / combined
    return slope @ table / len(table)


def fine_grid(count: int, steps: int) -> Floats:
    points = itertools.product(range(steps + 1), repeat=count - 1)
    return np.array([(*point, steps - sum(point)) for point in points if sum(point) <= steps]) / steps


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("count", "steps"), [(2, 1000), (3, 100)])
@pytest.mark.parametrize("seed", range(6))
def test_no_point_of_a_fine_grid_is_better(space: Space, count: int, steps: int, seed: int) -> None:
    oof, prices = members(60, count, seed)
    blend = fit_simplex(oof, prices, space)
    table = relative_prices(oof, prices, space)
    best = min(blend_smape(table, weights, space) for weights in fine_grid(count, steps))
    assert blend_smape(table, blend.weights, space) <= best + 1e-4


@pytest.mark.parametrize("space", SPACES)
def test_as_good_as_many_starts_of_a_general_solver(space: Space) -> None:
    from scipy.optimize import minimize

    oof, prices = members(400, 8, seed=3)
    table = relative_prices(oof, prices, space)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        end = minimize(
            lambda weights: blend_smape(table, weights, space),
            rng.dirichlet(np.ones(8)),
            jac=lambda weights: gradient(table, weights, space),
            method="SLSQP",
            bounds=[(0, 1)] * 8,
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            options={"maxiter": 300, "ftol": 1e-10},
        )
        weights = np.maximum(end.x, 0)
        found.append(blend_smape(table, weights / weights.sum(), space))
    assert blend_smape(table, fit_simplex(oof, prices, space).weights, space) <= min(found) + 2e-4


@pytest.mark.parametrize("space", SPACES)
def test_gradient_is_the_slope_of_the_smape(space: Space) -> None:
    oof, prices = members(300, 4, seed=1)
    table = relative_prices(oof, prices, space)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    step = 1e-6
    numeric = [
        (blend_smape(table, weights + step * side, space) - blend_smape(table, weights - step * side, space))
        / (2 * step)
        for side in np.eye(4)
    ]
    assert gradient(table, weights, space) == pytest.approx(np.array(numeric), abs=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_the_quadratic_has_the_slope_of_the_smape_along_the_simplex(space: Space) -> None:
    oof, prices = members(300, 4, seed=1)
    table = relative_prices(oof, prices, space)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    slope = 100 * _quadratic(table, table @ weights, space, 1e-12) @ weights / len(table)
    exact = gradient(table, weights, space)
    if space == "price":  # the weights sum to 1, so a slope that all share means nothing
        slope, exact = slope - slope.mean(), exact - exact.mean()
    assert slope == pytest.approx(exact)


@pytest.mark.parametrize("space", SPACES)
def test_smape_of_weights_is_the_smape_of_the_prediction(space: Space) -> None:
    oof, prices = members(50, 3)
    blend = Blend(np.array([0.5, 0.2, 0.3]), space)
    assert blend_smape(relative_prices(oof, prices, space), blend.weights, space) == pytest.approx(
        smape(prices, blend.predict(rows(oof)))
    )


shapes = st.tuples(st.integers(5, 60), st.integers(1, 6), st.integers(0, 10_000), st.sampled_from(SPACES))


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_weights_are_on_the_simplex_and_beat_every_single_and_equal_weights(case: tuple[int, int, int, Space]) -> None:
    height, count, seed, space = case
    oof, prices = members(height, count, seed)
    blend = fit_simplex(oof, prices, space)
    assert (blend.weights >= 0).all()
    assert blend.weights.sum() == pytest.approx(1.0)
    reached = smape(prices, blend.predict(rows(oof)))
    plain = [Blend(weights, space) for weights in (*np.eye(count), np.full(count, 1 / count))]
    assert all(reached <= smape(prices, other.predict(rows(oof))) + 1e-9 for other in plain)


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_never_worse_than_greedy_selection_on_the_rows_it_was_fitted_to(case: tuple[int, int, int, Space]) -> None:
    height, count, seed, space = case
    oof, prices = members(height, count, seed)
    table = relative_prices(oof, prices, space)
    greedy = blend_smape(table, select_greedily(table, space), space)
    assert blend_smape(table, fit_simplex(oof, prices, space).weights, space) <= greedy + 1e-9


def test_a_member_that_is_absurd_on_some_rows_does_not_stop_the_descent() -> None:
    """Ratios of 1e8 make the quadratic programme ill-conditioned in price space: the solver used to stay where it began."""
    oof, prices = members(2000, 30, seed=4)
    rng = np.random.default_rng(0)
    oof[rng.integers(0, 2000, 40), rng.integers(0, 30, 40)] *= 1e8
    table = relative_prices(oof, prices, "price")
    greedy = select_greedily(table, "price")
    found = fit_simplex(oof, prices, "price").weights
    assert blend_smape(table, found, "price") < blend_smape(table, greedy, "price") - 0.001


@settings(max_examples=15, deadline=None)
@given(shapes)
def test_order_of_members_changes_nothing(case: tuple[int, int, int, Space]) -> None:
    height, count, seed, space = case
    oof, prices = members(height, count, seed)
    order = np.random.default_rng(seed).permutation(count)
    straight, shuffled = fit_simplex(oof, prices, space), fit_simplex(oof[:, order], prices, space)
    assert np.array_equal(straight.weights[order], shuffled.weights)


@settings(max_examples=15, deadline=None)
@given(shapes, st.floats(1e-4, 1e6))
def test_currency_changes_nothing(case: tuple[int, int, int, Space], factor: float) -> None:
    height, count, seed, space = case
    oof, prices = members(height, count, seed)
    here, there = fit_simplex(oof, prices, space), fit_simplex(oof * factor, prices * factor, space)
    assert smape(prices, here.predict(rows(oof))) == pytest.approx(smape(prices, there.predict(rows(oof))), abs=0.05)


@settings(max_examples=15, deadline=None)
@given(shapes)
def test_copies_of_a_member_share_its_weight(case: tuple[int, int, int, Space]) -> None:
    height, count, seed, space = case
    oof, prices = members(height, count, seed)
    copied = np.column_stack([oof, oof[:, 0], oof[:, 0]])
    once, thrice = fit_simplex(oof, prices, space), fit_simplex(copied, prices, space)
    assert np.allclose(thrice.weights[1:count], once.weights[1:])
    assert np.allclose(thrice.weights[[0, count, count + 1]], once.weights[0] / 3)


def test_perfect_member_gets_all_the_weight() -> None:
    oof, prices = members(80, 3)
    blend = fit_simplex(np.column_stack([oof, prices]), prices, "log")
    assert blend.weights == pytest.approx(np.array([0.0, 0.0, 0.0, 1.0]), abs=1e-4)


def test_a_single_member_is_given_back_bit_for_bit() -> None:
    oof, prices = members(30, 1)
    assert np.array_equal(fit_simplex(oof, prices, "log").predict(rows(oof)), oof[:, 0])


def test_huge_prices_stay_finite() -> None:
    prices = np.array([1e-3, 1.0, 1e7] * 10)
    oof = np.column_stack([prices[::-1], np.full(30, 1e7), np.full(30, 1e-3)])
    for space in SPACES:
        blend = fit_simplex(oof, prices, space)
        assert np.isfinite(blend.predict(rows(oof))).all()
        assert blend.weights.sum() == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000), st.booleans(), st.floats(0, 8))
def test_slopes_are_equal_inside_and_no_lower_outside(count: int, seed: int, corner: bool, orders: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(2 * count + 1, count)) * 10 ** rng.uniform(0, orders, count)
    matrix = table.T @ table
    start = np.eye(count)[0] if corner else np.full(count, 1 / count)
    weights = simplex_minimum(matrix, start)
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1.0)
    assert weights @ matrix @ weights <= start @ matrix @ start * (1 + 1e-9)
    slopes, common = matrix @ weights, weights @ matrix @ weights
    scale = np.sqrt(np.diag(matrix) * common)  # of a slope's rounding
    assert (np.abs(slopes - common)[weights > 0] <= 1e-6 * scale[weights > 0]).all()
    assert (slopes - common >= -1e-6 * scale).all()


def test_equals_brute_force() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        table = rng.normal(size=(5, 3)) + 1.0
        matrix = table.T @ table
        weights = simplex_minimum(matrix, np.full(3, 1 / 3))
        grid = np.array([(a, b, 50 - a - b) for a, b in itertools.product(range(51), repeat=2) if a + b <= 50]) / 50
        lowest = np.einsum("ij,jk,ik->i", grid, matrix, grid).min()
        assert weights @ matrix @ weights <= lowest + 1e-9


def test_a_singular_matrix_has_an_answer() -> None:
    weights = simplex_minimum(np.ones((4, 4)), np.array([1.0, 0, 0, 0]))
    assert weights.sum() == pytest.approx(1.0)
    assert simplex_minimum(np.zeros((2, 2)), np.array([0.5, 0.5])).sum() == pytest.approx(1.0)
