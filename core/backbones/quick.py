"""What makes encoders of `transformers` quick to train: our attention, cheap dropout, and none on attention's weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.nn.attention import attend, plain_pays, quicken

_NAME = "pricestack"


def quickened(model: Any) -> Any:
    """The model (changed in place) with our attention where it lets one choose, and our dropout.

    Models with an attention of their own (DeBERTa) keep it. Attention's weights are not dropped out: no fused kernel for
    processors does that, and without one it takes most of the time and of the memory (11 GiB instead of 3.7 for 32 x 512
    tokens of MiniLM). Dropout of states stays as the model's config says.
    """
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)
    quicken(model)
    return model


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """`transformers`' attention function: (B, heads, L, d) to (B, L, heads, d)."""
    settings["dropout"] = 0.0
    grouped = getattr(module, "num_key_value_groups", 1) > 1
    if grouped or settings.get("is_causal") or settings.get("position_bias") is not None or not plain_pays(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    return attend(query, key, value, attention_mask, settings.get("scaling")).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
