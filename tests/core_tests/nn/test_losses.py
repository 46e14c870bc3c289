"""Losses against their textbook forms, and their behaviour at the ends of the number line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.nn import losses

finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
finite = st.floats(allow_nan=False, allow_infinity=False)
price = st.floats(0.01, 1e7)
NAMES = list(losses.LOSSES)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def made(name: str, weight: float = 0.5) -> losses.Loss:
    return losses.make_loss(name, {"smape_weight": weight})


@given(z=st.floats(-700.0, 700.0), y=price)
def test_smape_is_the_textbook_form_wherever_that_is_finite(z: float, y: float) -> None:
    """Also far beyond any price, where `prices` has its ceiling."""
    predicted = math.expm1(losses.floored(double(z)).item())
    textbook = 2.0 * abs(predicted - y) / (abs(predicted) + abs(y))
    assert math.isfinite(textbook)
    assert losses.smape(double(z), double(math.log1p(y))).item() == pytest.approx(textbook, abs=1e-6)


@given(z=st.floats(-20.0, 20.0), y=price)
def test_smape_in_float32_is_close_to_it(z: float, y: float) -> None:
    exact = losses.smape(double(z), double(math.log1p(y))).item()
    assert losses.smape(double(z).float(), double(math.log1p(y)).float()).item() == pytest.approx(exact, abs=5e-5)


@given(z=finite, y=price, weight=st.floats(0, 1))
def test_smape_lies_between_0_and_2_and_smape_huber_between_its_parts(z: float, y: float, weight: float) -> None:
    at, target = double(z), double(math.log1p(y))
    smape, huber = losses.smape(at, target).item(), losses.huber(at, target).item()
    assert 0.0 <= smape <= 2.0
    both = made("smape_huber", weight)(at, target).item()
    assert min(smape, huber) * (1 - 1e-9) <= both <= max(smape, huber) * (1 + 1e-9)


@pytest.mark.parametrize("name", NAMES)
@given(z=finite32, y=price)
def test_value_and_gradient_are_finite_for_any_finite_output(name: str, z: float, y: float) -> None:
    assert_finite(name, torch.tensor([z], requires_grad=True), torch.tensor([math.log1p(y)]))


def assert_finite(name: str, output: torch.Tensor, target: torch.Tensor, weight: float = 0.5) -> torch.Tensor:
    """Asserts that loss and gradient are; returns the gradient."""
    loss = made(name, weight)(output, target)
    loss.sum().backward()
    assert output.grad is not None and torch.isfinite(loss).all() and torch.isfinite(output.grad).all()
    return output.grad


@pytest.mark.parametrize("name", NAMES)
@given(z=finite, y=st.floats(5e-324, 1e7), weight=st.floats(0, 1))
def test_they_are_in_float64_and_for_any_price(name: str, z: float, y: float, weight: float) -> None:
    gradient = assert_finite(name, double(z).requires_grad_(), double(math.log1p(y)), weight)
    # d ln p / dz is at most (1 + p) / p, and no price is below a cent.
    assert gradient.abs().item() <= (1 + losses.LOWEST_PRICE) / losses.LOWEST_PRICE


@pytest.mark.parametrize("name", NAMES)
@given(zs=st.lists(finite32, min_size=1, max_size=8), y=price)
def test_a_batch_is_its_rows(name: str, zs: list[float], y: float) -> None:
    outputs, targets = torch.tensor(zs), torch.full((len(zs),), math.log1p(y))
    together = made(name)(outputs, targets)
    alone = torch.cat([made(name)(outputs[row : row + 1], targets[:1]) for row in range(len(zs))])
    assert together.shape == outputs.shape
    torch.testing.assert_close(together, alone)


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
def test_every_loss_falls_towards_the_price(name: str) -> None:
    target = torch.full((4,), math.log1p(20.0))
    values = made(name)(target + torch.tensor([0.0, 0.3, 1.0, 3.0]), target)
    assert values[0] < 1e-3
    assert (values.diff() > 0).all()


def test_smape_huber_is_the_weighted_sum() -> None:
    z, target = torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.5])
    expected = 0.25 * losses.smape(z, target) + 0.75 * losses.huber(z, target)
    torch.testing.assert_close(made("smape_huber", 0.25)(z, target), expected)


def test_gradient_of_smape_matches_finite_differences() -> None:
    z = double(*np.linspace(-1.0, 8.0, 7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.smape(x, torch.full_like(x, math.log1p(14.0))), (z,))


def test_a_parameter_of_several_losses_is_the_same_setting() -> None:
    for kind in losses.LOSSES.values():
        for name, field in kind.model_fields.items():
            assert repr(losses.loss_parameters()[name]) == repr(field)
