"""Encoders of `transformers` with our attention and dropout: the same states, no dropout of attention's weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
)

from core.encoders.transformers_encoders import quickened
from core.nn.attention import Dropout

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}


def bert(**settings: float) -> PreTrainedModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES, **settings, attn_implementation="sdpa")).eval()


def modernbert() -> PreTrainedModel:
    torch.manual_seed(0)
    config = ModernBertConfig(
        **SIZES, pad_token_id=0, global_attn_every_n_layers=2, local_attention=8, attn_implementation="sdpa"
    )
    return ModernBertModel(config).eval()


def batch(rows: int = 3, length: int = 20) -> tuple[Tensor, Tensor]:
    mask = torch.arange(length) < torch.tensor([length, 7, 1])[:rows, None]
    ids = torch.randint(1, 50, mask.shape, generator=torch.Generator().manual_seed(0)).masked_fill(~mask, 0)
    return ids, mask.long()


@pytest.mark.parametrize("make", [bert, modernbert])
@pytest.mark.parametrize("half", [False, True])
def test_states_and_gradients_are_those_of_sdpa(half: bool, make: Callable[[], PreTrainedModel]) -> None:
    ids, mask = batch()
    wanted = torch.randn(SIZES["hidden_size"], generator=torch.Generator().manual_seed(1))
    found = []
    for model in (make(), quickened(make())):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()].float()
        (states @ wanted).sum().backward()
        found.append((states.detach(), model.get_input_embeddings().weight.grad))
    (sdpa, sdpa_gradient), (ours, our_gradient) = found
    assert (ours - sdpa).norm() / sdpa.norm() < (0.02 if half else 1e-5)
    assert (our_gradient - sdpa_gradient).norm() / sdpa_gradient.norm() < (0.04 if half else 1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_attentions_weights_are_not_dropped(half: bool) -> None:
    ids, mask = batch()
    model = quickened(bert(attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        training = model.train()(input_ids=ids, attention_mask=mask).last_hidden_state
        evaluating = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(training, evaluating)


def test_states_are_dropped_as_the_config_says() -> None:
    ids, mask = batch()
    model = quickened(bert(hidden_dropout_prob=0.3))
    assert {module.p for module in model.encoder.modules() if type(module) is Dropout} >= {0.3}
    assert not [module for module in model.modules() if type(module) is nn.Dropout]
    one, other = (model.train()(input_ids=ids, attention_mask=mask).last_hidden_state for _ in range(2))
    assert not torch.equal(one, other)


def test_an_attention_of_the_models_own_is_left() -> None:
    torch.manual_seed(0)
    config = DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"], attn_implementation="eager")
    model = quickened(DebertaV2Model(config).eval())
    assert model.config._attn_implementation == "eager"
    ids, mask = batch()
    assert model(input_ids=ids, attention_mask=mask).last_hidden_state.shape == (3, 20, 32)
