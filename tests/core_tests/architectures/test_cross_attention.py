"""Heads, depth and direction of the multimodal network's cross-attention."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.architectures import architecture
from core.architectures.multimodal import MultimodalConfig, MultimodalNetwork
from core.architectures.neural_architecture import NeuralModel
from core.architectures.neural_model import Encoders
from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders import tiny
from core.nn.heads import HEADS, AttentionDirection, CrossAttention, heads_for
from core.protocols.architecture import Context, make_config
from pricestack.testing.architectures import small_settings, toy_catalog
from tests.errors import refused

CASES = [
    {"attention_heads": heads, "attention_depth": depth, "attention_direction": direction}
    for heads, depth, direction in product((2, 4), (1, 2), ("text_asks_picture", "both", "gated"))
]


def network(**settings: Any) -> MultimodalNetwork:
    torch.manual_seed(0)
    encoders: Encoders = {"text": tiny.text_encoder(40), "vision": tiny.TinyVision()}
    return MultimodalNetwork(encoders, MultimodalConfig(vision_encoder="tiny-vision", fields="none", **settings)).eval()


def train(catalog: Catalog, folder: Path, **settings: Any) -> NeuralModel:
    made = architecture("multimodal")
    config = make_config(made.Config, {**small_settings("multimodal"), "epochs": 1, **settings})
    model = made.train(catalog, None, config, Context(0, Cache(folder / "cache"), folder / "run"))
    assert isinstance(model, NeuralModel)
    return model


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return toy_catalog(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_every_combination_trains_and_survives_saving(
    settings: dict[str, Any], catalog: Catalog, tmp_path: Path
) -> None:
    model = train(catalog, tmp_path, **settings)
    prices = model.predict(catalog)
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(architecture("multimodal").load(tmp_path / "saved").predict(catalog), prices, rtol=1e-5)
    some = np.array([7, 0, 30])  # other neighbours, so another padding
    np.testing.assert_allclose(model.predict(catalog.take(some)), prices[some], rtol=1e-3)


@pytest.mark.parametrize("setting", [{"attention_depth": 3}, {"attention_direction": "gated"}, {"attention_heads": 2}])
def test_options_add_their_weights_and_keep_those_of_the_default(setting: dict[str, Any]) -> None:
    plain, changed = network().state_dict(), network(**setting).state_dict()
    assert all(torch.equal(changed[name], weights) for name, weights in plain.items())
    added = {name.split(".")[0] for name in changed.keys() - plain.keys()}
    assert added == {"attention_depth": {"further"}, "attention_direction": {"attention"}}.get(
        next(iter(setting)), set()
    )


def test_a_closed_gate_hides_the_picture_until_it_has_learnt(catalog: Catalog, tmp_path: Path) -> None:
    gated = CrossAttention(8, 2, gated=True)
    query, patches = torch.randn(3, 8), torch.randn(3, 5, 8)
    assert torch.equal(gated(query, patches), gated.norm(query))
    learnt = train(catalog, tmp_path, attention_direction="gated").network.state_dict()["attention.gate"]
    assert learnt.abs().max() > 0


def test_states_of_padding_are_not_asked() -> None:
    block, query, states = CrossAttention(8, 2), torch.randn(2, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found = block(query, states, mask)
    torch.testing.assert_close(found[1:], block(query[1:], states[1:, :2]))
    torch.testing.assert_close(found[0], block(query, states)[0])


def test_with_both_a_frozen_text_encoder_is_asked_for_all_states(catalog: Catalog, tmp_path: Path) -> None:
    settings = {"freeze_text": True, "attention_direction": "both"}
    assert MultimodalConfig(**settings).read_once() == {"vision"}
    assert MultimodalConfig(freeze_text=True).read_once() == {"text", "vision"}
    both, plain = (train(catalog, tmp_path, **given) for given in (settings, {"freeze_text": True}))
    assert both.network.head.hidden[0].in_features == plain.network.head.hidden[0].in_features
    assert not np.allclose(both.predict(catalog), plain.predict(catalog), rtol=1e-6)


def test_defaults_are_left_out_of_ids_as_older_members_have_none() -> None:
    settings = MultimodalConfig().canonical()
    assert not [name for name in settings if name.startswith("attention_")]
    changed = MultimodalConfig(attention_direction=AttentionDirection.BOTH, attention_depth=2).canonical()
    assert (changed["attention_direction"], changed["attention_depth"]) == ("both", 2)


def test_heads_have_no_effect_on_the_only_token() -> None:
    pooled = MultimodalConfig(image_tokens="pooled", attention_heads=2)
    assert pooled.canonical() == MultimodalConfig(image_tokens="pooled").canonical()
    assert pooled.without_effect()["attention_heads"] == "with image_tokens=pooled"
    assert (
        "attention_heads"
        not in MultimodalConfig(image_tokens="pooled", attention_direction=AttentionDirection.BOTH).without_effect()
    )
    block = CrossAttention(8, 4)
    other = CrossAttention(8, 1)
    other.load_state_dict(block.state_dict())
    query, token = torch.randn(3, 8), torch.randn(3, 1, 8)
    torch.testing.assert_close(block(query, token), other(query, token))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    assert [heads_for(width) for width in (96, 64, 100, 12)] == [HEADS, HEADS, 10 // 2, 1]
    assert heads_for(96, 16) == 16
    with refused("attention-heads-do-not-divide") as caught:
        network(attention_heads=5)
    assert "attention_heads" in caught.value.hint
