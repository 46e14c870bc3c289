"""Gaussian processes: the gradient is the likelihood's, fields that say nothing fade, many rows need few references."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import cho_solve

from core.classical.gaussian_process import (
    KernelRows,
    KernelSettings,
    KernelShape,
    _loss,
    _pairs,
    _regressors,
    _unlike,
    fit_kernel,
)
from core.errors import OutOfTime
from tests.errors import refused

RECIPE = KernelSettings(samples=1, sample_rows=80, rows=1_000)


def toys(count: int, seed: int = 0) -> tuple[KernelRows, np.ndarray]:
    """Log prices that follow one of three numbers and which of four words a row has."""
    rng = np.random.default_rng(seed)
    numbers, words = rng.normal(size=(count, 3)), rng.integers(0, 4, count)
    log_prices = np.sin(2 * numbers[:, 0]) + words + rng.normal(0, 0.05, count)
    return KernelRows([sp.csr_matrix(np.eye(4)[words])], numbers), log_prices


@pytest.mark.parametrize("count", [25, 150])
def test_the_gradient_is_the_likelihoods(count: int) -> None:
    rows, target = toys(count)
    logs = np.log([0.3, 0.2, 0.1, 0.4, 1.5, 0.1])
    target, pairs = (target - target.mean()) / target.std(), list(_pairs(rows))
    gradient = _loss(logs, 1, pairs, target)[1]
    numeric = [
        (_loss(logs + step, 1, pairs, target)[0] - _loss(logs - step, 1, pairs, target)[0]) / 2e-2
        for step in 1e-2 * np.eye(len(logs))
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("count", [20, 150])
def test_the_loss_is_the_negative_log_likelihood_of_a_gaussian(count: int) -> None:
    rows, target = toys(count)
    shape = KernelShape(np.array([0.3]), np.array([0.2, 0.1, 0.4]), 1.5, 0.1)
    covariance = shape.kernel(_unlike(rows, rows), rows.numbers, rows.numbers) + 0.1 * np.eye(count)
    lower = np.linalg.cholesky(covariance)
    expected = 0.5 * target @ cho_solve((lower, True), target) + np.log(np.diag(lower)).sum()
    found, _ = _loss(np.log([0.3, 0.2, 0.1, 0.4, 1.5, 0.1]), 1, list(_pairs(rows)), target)
    assert found == pytest.approx(expected, rel=1e-4)


def test_more_threads_find_the_same_model_to_the_last_bit() -> None:
    rows, log_prices = toys(300)
    recipe = KernelSettings(samples=3, sample_rows=80, rows=1_000)
    one, many = (fit_kernel(rows, log_prices, np.arange(300), recipe, seed=0, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.predict(rows), many.predict(rows))


def test_references_that_are_nearly_copies_are_fitted_or_refused() -> None:
    """Cosines of 32 bits are rounded by more than the smallest eigenvalue of such a matrix."""
    rng = np.random.default_rng(0)
    words = (rng.random((700, 12)) < 0.4).astype(np.float32)
    words[words.sum(axis=1) == 0, 0] = 1
    words /= np.sqrt((words**2).sum(axis=1, keepdims=True))
    rows = KernelRows([sp.csr_matrix(words)], np.zeros((700, 1)))
    log_prices = words @ rng.normal(size=12) + rng.normal(0, 0.05, 700)
    model = fit_kernel(rows, log_prices, np.arange(700), KernelSettings(1, 80, 500), seed=0)
    assert np.abs(model.predict(rows) - log_prices).mean() < 0.1
    with refused("gaussian-process-identical-rows"):
        _regressors(model.shapes[0], -np.eye(3), np.eye(3), np.ones(3))


def test_fields_that_say_nothing_fade() -> None:
    rows, log_prices = toys(150)
    model = fit_kernel(rows, log_prices, np.arange(150), RECIPE, seed=0)
    assert model.shapes[0].numbers[0] > 20 * model.shapes[0].numbers[1:].max()
    new, true = toys(100, seed=1)
    assert np.abs(model.predict(new) - true).mean() < 0.25 * np.abs(true - true.mean()).mean()


def test_few_references_come_near_all_of_them() -> None:
    (rows, log_prices), (new, true) = toys(300), toys(100, seed=1)
    exact, reduced = (
        fit_kernel(rows, log_prices, np.arange(300), KernelSettings(1, 80, count), seed=0).predict(new)
        for count in (300, 120)
    )
    assert np.abs(exact - reduced).mean() < 0.1
    assert np.abs(reduced - true).mean() < 0.15


def test_copies_of_a_product_do_not_make_prices_look_smooth() -> None:
    rows, log_prices = toys(100)
    noisy = log_prices + np.random.default_rng(1).normal(0, 0.5, 100)
    twice = np.tile(np.arange(100), 2)
    alone = fit_kernel(rows, noisy, np.arange(100), RECIPE, seed=0)
    copied = fit_kernel(rows.take(twice), noisy[twice], twice, RECIPE, seed=0)
    assert copied.shapes[0].noise == pytest.approx(alone.shapes[0].noise, rel=0.5)


def test_equal_prices_and_rows_without_anything() -> None:
    empty = KernelRows([sp.csr_matrix((6, 2))], np.zeros((6, 0)))
    model = fit_kernel(empty, np.full(6, 1.5), np.arange(6), RECIPE, seed=0)
    np.testing.assert_allclose(model.predict(empty), 1.5, atol=1e-6)


def test_the_deadline_is_asked_while_a_shape_is_sought() -> None:
    def late() -> None:
        raise OutOfTime("out of time while fitting")

    rows, log_prices = toys(30)
    with pytest.raises(OutOfTime):
        fit_kernel(rows, log_prices, np.arange(30), RECIPE, seed=0, tick=late)
