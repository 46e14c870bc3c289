"""Layers of every family of encoders: how deep weights lie, which of them learn, and adapters between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.architectures import architecture
from core.architectures.neural_model import NeuralConfig
from core.cache import Cache
from core.encoders.tiny import text_encoder
from core.encoders.transformers_encoders import HubText
from core.nn.layers import add_adapters, depths, layers_of, merge_adapters, still_modules
from core.protocols.architecture import Context, make_config
from core.training import checkpoint
from pricestack.testing.architectures import small_settings, toy_catalog
from tests.core_tests.encoders.test_encoder_families import FAMILIES
from tests.errors import refused

ENCODERS = {
    "tiny": lambda: text_encoder(50),
    **{name: lambda make=make: hub(make()) for name, (make, *_) in FAMILIES.items()},
}
LAYERS = {"tiny": 1, "albert": 1}
IDS, MASK = torch.tensor([[2, 7, 9, 3], [2, 11, 3, 0]]), torch.tensor([[True] * 4, [True, True, True, False]])


def hub(model: Any) -> HubText:
    return HubText(model.base_model, 40)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    encoder: nn.Module = ENCODERS[name]().eval()
    return encoder


def answer(encoder: nn.Module) -> Tensor:
    states: Tensor = encoder.eval()(IDS, MASK)
    return states[MASK]


@pytest.mark.parametrize("name", ENCODERS)
def test_depths_rise_from_the_embeddings_to_the_top(name: str) -> None:
    encoder = made(name)
    layers = LAYERS.get(name, 2)
    assert len(layers_of(encoder)) == layers
    depth = depths(encoder)
    assert set(depth) == {name for name, _ in encoder.named_parameters()}
    assert set(range(layers + 1)) <= set(depth.values()) <= set(range(layers + 2))
    assert all("embed" in name or name == "encoder.weight" for name, at in depth.items() if at == 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_layers_take_no_gradient_and_the_others_do(name: str) -> None:
    encoder = made(name)
    still = still_modules(encoder, 1)
    assert len(still) == 1
    depth = depths(encoder)
    states = answer(encoder)
    if states.requires_grad:
        states.square().sum().backward()
    for weights, value in encoder.named_parameters():
        assert value.requires_grad == (depth[weights] > 1)
        assert value.grad is None or depth[weights] > 1
    # ALBERT's one layer is all there is.
    assert any(value.grad is not None for value in encoder.parameters()) == (name != "albert")


def test_more_frozen_layers_than_there_are_is_an_error() -> None:
    with refused("frozen-layers-too-many"):
        still_modules(made("bert"), 3)
    with refused("lora-nothing-to-learn"):
        add_adapters(made("bert"), 4, 2)


@pytest.mark.parametrize("name", ENCODERS)
def test_adapters_begin_without_effect_learn_alone_and_are_merged(name: str) -> None:
    encoder = made(name)
    before = answer(encoder).detach()
    names, weights = list(encoder.state_dict()), {key: one.clone() for key, one in encoder.state_dict().items()}
    add_adapters(encoder, 3, 0)
    torch.testing.assert_close(answer(encoder), before)
    learning = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    for one in encoder.parameters():
        if one.requires_grad:
            nn.init.normal_(one, std=0.1)
    changed = answer(encoder).detach()
    assert (changed - before).abs().max() > 0.01
    merge_adapters(encoder)
    torch.testing.assert_close(answer(encoder), changed, atol=1e-4, rtol=1e-4)
    assert list(encoder.state_dict()) == names
    same = [key for key, one in encoder.state_dict().items() if torch.equal(one, weights[key])]
    assert 0 < len(same) < len(names)


def test_adapters_lie_above_the_frozen_layers() -> None:
    encoder = made("bert")
    add_adapters(encoder, 2, 1)
    depth = depths(encoder)
    assert {depth[name] for name, one in encoder.named_parameters() if one.requires_grad} == {2}


class Stop(Exception):
    """What ends a process between two epochs."""


SETTINGS: dict[str, Any] = {
    **small_settings("text"), "epochs": 3, "lora_rank": 2, "layer_decay": 0.5, "head_rate": 2.0, "head": "both", "categories": 4,
    "fields": "both", "category_dropout": 0.3,
}  # fmt: skip


def prices(folder: Path, stop: int | None = None, **changed: Any) -> np.ndarray:
    """Of a training; stop: the epoch after which its process ends, leaving its states."""

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop:
            raise Stop

    catalog, kind = toy_catalog(folder / "images"), architecture("text")
    config = make_config(kind.Config, SETTINGS | changed)
    context = Context(3, Cache(folder / "cache"), folder / "run", report=report, checkpoint_seconds=0.0)
    rows = np.arange(len(catalog))
    return kind.train(catalog.take(rows[:40]), catalog.take(rows[40:]), config, context).predict(catalog)


def test_a_training_with_adapters_goes_on_from_small_states(tmp_path: Path) -> None:
    undisturbed = prices(tmp_path / "undisturbed")
    with pytest.raises(Stop):
        prices(tmp_path / "killed", stop=2)
    tensors, _ = checkpoint.read(tmp_path / "killed" / "run", "best")
    encoder = [name for name in tensors if name.startswith("encoders.")]
    assert encoder
    assert all("lora_" in name for name in encoder)
    np.testing.assert_allclose(prices(tmp_path / "killed"), undisturbed, rtol=1e-6)


@pytest.mark.parametrize(
    "changed", [{"layer_decay": 1.0}, {"head_rate": 1.0}, {"lora_rank": 0}, {"frozen_layers": 1, "lora_rank": 0}]
)
def test_each_setting_changes_what_is_learnt(changed: dict[str, Any], tmp_path: Path) -> None:
    assert not np.allclose(prices(tmp_path, epochs=1), prices(tmp_path, epochs=1, **changed), rtol=1e-5)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return NeuralConfig(**one).canonical() == NeuralConfig(**other).canonical()


def test_settings_without_effect_are_not_canonical() -> None:
    frozen: dict[str, Any] = {"freeze_text": True}
    for ways in ({"lora_rank": 4}, {"layer_decay": 0.5}, {"frozen_layers": 2}):
        assert equal(frozen, frozen | ways)
        assert not equal({}, ways)
    assert not equal(frozen, frozen | {"head_rate": 3.0})
    assert equal({"head": "point"}, {"head": "point", "bins": 32})
    assert "text_prefix" not in NeuralConfig().canonical() and not equal({}, {"text_prefix": "query: "})
    assert not equal({"head": "both"}, {"head": "both", "bins": 32})
    assert equal({"head": "bins"}, {"head": "bins", "loss": "l1"})
    assert not equal({"head": "both"}, {"head": "both", "loss": "l1"})
    for words in ({"categories": 3}, {"category_dropout": 0.4}):
        assert equal({"fields": "tokens"}, {"fields": "tokens"} | words)
        assert not equal({"fields": "dense", "categories": 8}, {"fields": "dense", "categories": 8} | words)
    assert equal({"fields": "dense", "categories": 0}, {"fields": "dense", "categories": 0, "category_dropout": 0.4})
