"""Published shapes of the encoder presets: builds and counts networks without their weights.

Each is what shapes the network in the `config.json` of the preset's repository; what is not written is the default of
`transformers`, which has the same value. RexBERT-base is ModernBERT-base trained anew, by its paper (arXiv:2602.04605).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from core.encoders.loading import build_encoder
from core.encoders.neobert import NeoBERTConfig
from core.errors import UserError, suggestion

_MODERNBERT: dict[str, Any] = {
    "kind": "hub-text",
    "max_positions": 8192,
    "config": {
        "model_type": "modernbert",
        "vocab_size": 50_368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "global_attn_every_n_layers": 3,
        "local_attention": 128,
    },
}
_TOWER: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
}

SHAPES: dict[str, dict[str, Any]] = {
    "neobert": {"kind": "neobert", "config": asdict(NeoBERTConfig())},
    "modernbert": _MODERNBERT,
    "deberta-v3": {
        "kind": "hub-text",
        "max_positions": 512,
        "config": {
            "model_type": "deberta-v2",
            "vocab_size": 128_100,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 512,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
        },
    },
    "rexbert": _MODERNBERT,
    "clip": {
        "kind": "hub-vision",
        "projected": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "config": {"model_type": "clip_vision_model", **_TOWER, "patch_size": 32, "projection_dim": 512},
    },
    "siglip": {
        "kind": "hub-vision",
        "projected": False,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "config": {"model_type": "siglip_vision_model", **_TOWER, "patch_size": 16},
    },
}
"""Preset to the `spec` of its encoder, as `build_encoder` takes it."""


def outline(name: str) -> nn.Module:
    """The preset's encoder on the meta device: every tensor has its shape, and none has numbers or takes memory."""
    if name not in SHAPES:
        raise UserError(f"'{name}' is no preset", code="preset-unknown", hint=suggestion(name, SHAPES))
    with torch.device("meta"):
        return build_encoder(SHAPES[name])


def count(network: nn.Module, *, trainable: bool | None = None) -> int:
    """Parameters of the network: all of them, or those that training changes (True) or keeps (False)."""
    return sum(parameter.numel() for parameter in network.parameters() if trainable in (None, parameter.requires_grad))
