"""Losses against their textbook forms, and their behaviour at the ends of the number line."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core import losses, metrics

finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
price = st.floats(0.01, 1e7)
NAMES = get_args(losses.LossName)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(z=st.floats(-3.0, 16.0), y=price)
def test_smape_is_the_textbook_form(z: float, y: float) -> None:
    mine = losses.smape(double(z), double(math.log1p(y))).item()
    assert 100.0 * mine == pytest.approx(metrics.smape([y], losses.prices([z])), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(z=finite32, y=price)
def test_value_and_gradient_are_finite_for_any_finite_output(name: losses.LossName, z: float, y: float) -> None:
    output = torch.tensor([z], requires_grad=True)
    loss = losses.loss_function(name, 0.5)(output, torch.tensor([math.log1p(y)]))
    loss.sum().backward()
    assert output.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(output.grad).all()


@given(z=finite32)
def test_prices_are_finite_and_at_least_a_cent(z: float) -> None:
    (found,) = losses.prices([z])
    assert losses.LOWEST_PRICE * (1 - 1e-9) <= found <= losses.HIGHEST_PRICE * (1 + 1e-9)


@given(y=st.floats(2.0, 1e6))
def test_an_output_of_log1p_price_stands_for_that_price(y: float) -> None:
    assert losses.prices(losses.targets([y]))[0] == pytest.approx(y, rel=3e-3)


@given(z=st.floats(-20.0, 16.0))
def test_what_is_minimised_is_what_is_predicted(z: float) -> None:
    assert math.expm1(losses.floored(double(z)).item()) == pytest.approx(losses.prices([z])[0], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_falls_towards_the_price(name: losses.LossName) -> None:
    target = torch.full((4,), math.log1p(20.0))
    values = losses.loss_function(name, 0.5)(target + torch.tensor([0.0, 0.3, 1.0, 3.0]), target)
    assert values[0] < 1e-3
    assert (values.diff() > 0).all()


def test_smape_huber_is_the_weighted_sum() -> None:
    z, target = torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.5])
    expected = 0.25 * losses.smape(z, target) + 0.75 * losses.huber(z, target)
    torch.testing.assert_close(losses.loss_function("smape_huber", 0.25)(z, target), expected)


def test_gradient_of_smape_matches_finite_differences() -> None:
    z = double(*np.linspace(-1.0, 8.0, 7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.smape(x, torch.full_like(x, math.log1p(14.0))), (z,))
