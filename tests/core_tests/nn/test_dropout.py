"""Dropout: how much is dropped, that the mean stays, and that the same seed drops the same."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.nn.attention import _LARGE, Dropout, quicken

probability = st.floats(0.02, 0.98)
large = st.integers(_LARGE, 3 * _LARGE)


def dropped(p: float, count: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(count))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(p=probability, count=large, seed=st.integers(0, 10_000))
def test_as_many_are_dropped_as_asked_and_the_others_scaled(p: float, count: int, seed: int) -> None:
    found = dropped(p, count, seed)
    zero = found == 0
    error = math.sqrt(p * (1 - p) / count)
    assert abs(float(zero.double().mean()) - p) < 4 * error + 2**-16
    torch.testing.assert_close(found[~zero], torch.full_like(found[~zero], 1 / (1 - p)), rtol=2e-3, atol=0)
    assert abs(float(found.double().mean()) - 1) < 4 * error / (1 - p) + 2**-16 / (1 - p)


def test_many_draws_together_come_much_closer() -> None:
    p, draws, count = 0.1, 200, 3 * _LARGE
    zero = sum(int((dropped(p, count, seed) == 0).sum()) for seed in range(draws)) / (draws * count)
    assert abs(zero - p) < 4 * math.sqrt(p * (1 - p) / (draws * count)) + 2**-16


def test_neighbours_and_later_calls_are_independent() -> None:
    torch.manual_seed(0)
    layer, count = Dropout(0.5), 2**18
    first, second = ((layer(torch.ones(count)) == 0).double() for _ in range(2))
    pairs = [(first, second), (first[1:], first[:-1]), (first[4:], first[:-4]), (first[512:], first[:-512])]
    for one, other in pairs:
        agreement = float((one == other).double().mean())
        assert abs(agreement - 0.5) < 4 * 0.5 / math.sqrt(len(one))


@settings(deadline=None, max_examples=20)
@given(p=probability, count=large, seed=st.integers(0, 10_000))
def test_the_same_seed_drops_the_same_and_gradients_follow(p: float, count: int, seed: int) -> None:
    assert torch.equal(dropped(p, count, seed), dropped(p, count, seed))
    torch.manual_seed(seed)
    x = torch.ones(count, requires_grad=True)
    found = Dropout(p)(x)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, found.detach())


def test_a_restored_generator_goes_on_as_it_was() -> None:
    torch.manual_seed(3)
    layer, x = Dropout(0.3), torch.ones(2, _LARGE)
    layer(x)
    state = torch.get_rng_state()
    following = [layer(x) for _ in range(3)]
    torch.set_rng_state(state)
    assert all(torch.equal(layer(x), known) for known in following)


@pytest.mark.parametrize("shape", [(3,), (4, 5), (_LARGE - 1,)])
@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_small_tensors_take_pytorchs_path(shape: tuple[int, ...], p: float) -> None:
    found = []
    for layer in (Dropout(p), nn.Dropout(p)):
        torch.manual_seed(0)
        found.append(layer(torch.ones(shape)))
    assert torch.equal(*found)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything(p: float) -> None:
    x = torch.randn(2, _LARGE)
    assert torch.equal(Dropout(p)(x), x * (1 - p))


@settings(deadline=None, max_examples=20)
@given(p=st.floats(0, 1), count=st.integers(1, 2 * _LARGE))
def test_at_evaluation_nothing_is_dropped(p: float, count: int) -> None:
    x = torch.arange(count)
    assert torch.equal(Dropout(p).eval()(x), x)


def test_half_precision_and_any_shape_are_kept() -> None:
    found = Dropout(0.25)(torch.ones(7, 33, 129, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert found.shape == (7, 33, 129)


def test_nothing_quickened_keeps_pytorchs_dropout() -> None:
    torch.manual_seed(0)
    inner = nn.ModuleDict({"a": nn.Dropout(0.3), "b": nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))})
    network = nn.Sequential(nn.Dropout(0.2), inner["b"].eval(), nn.ModuleList([inner]))
    before = {
        name: (module.p, module.training) for name, module in network.named_modules() if isinstance(module, nn.Dropout)
    }
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert quicken(network) is network
    after = {name: module for name, module in network.named_modules() if isinstance(module, nn.Dropout)}
    assert {type(module) for module in after.values()} == {Dropout}
    assert {name: (module.p, module.training) for name, module in after.items()} == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
