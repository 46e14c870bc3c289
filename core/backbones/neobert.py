"""NeoBERT, an encoder of text (Le Breton et al. 2025, arXiv:2502.19587), without remote code.

The state-dict names are those of the published weights, so that they load by name. Rotary positions use real arithmetic:
complex numbers do not export to ONNX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError

_ROPE_THETA = 10_000.0


@dataclass(frozen=True)
class NeoBERTConfig:
    """The keys of the published `config.json` that shape the network."""

    hidden_size: int = 768
    num_hidden_layers: int = 28
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 30_522
    pad_token_id: int = 0
    max_length: int = 4096
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def swiglu_width(self) -> int:
        """2/3 of `intermediate_size`, rounded up to a multiple of 8: as many weights as a plain MLP of that size."""
        return 8 * -(-int(2 * self.intermediate_size / 3) // 8)


def config_from(record: Mapping[str, Any]) -> NeoBERTConfig:
    """The config in a `config.json`; keys that do not shape the network are left aside."""
    return NeoBERTConfig(**{field.name: record[field.name] for field in fields(NeoBERTConfig) if field.name in record})


class NeoBERT(nn.Module):
    """(B, L) token ids to (B, L, width) states."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.hidden_size
        self.max_positions = config.max_length
        self.pad = config.pad_token_id
        self.encoder = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.transformer_encoder = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        cosine, sine = _rotations(config.head_width, config.max_length)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.apply(_initialise)

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "neobert", "config": asdict(self.config)}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """attention_mask: (B, L), true or 1 where there is a token. States of padding are meaningless."""
        length = input_ids.shape[1]
        rotation = self.cosine[:length, None, None], self.sine[:length, None, None]
        visible = attention_mask[:, None, None, :].bool()
        x = self.encoder(input_ids)
        for layer in self.transformer_encoder:
            x = layer(x, visible, rotation)
        return self.layer_norm(x)


class _Layer(nn.Module):
    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.ffn = _SwiGLU(config.hidden_size, config.swiglu_width)
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor, visible: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.wo(self._attend(self.attention_norm(x), visible, rotation))
        return x + self.ffn(self.ffn_norm(x))

    def _attend(self, x: Tensor, visible: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, width = x.shape
        # The published `qkv` holds q, k and v of one head side by side, head after head.
        qkv = self.qkv(x).view(batch, length, self.heads, 3, width // self.heads)
        q, k = _rotate(qkv[:, :, :, :2], *rotation).transpose(1, 2).unbind(dim=3)
        v = qkv[:, :, :, 2].transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return mixed.transpose(1, 2).reshape(batch, length, width)


class _SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden, bias=False)
        self.w3 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


def _rotations(head_width: int, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin (length, head_width / 2) of position x frequency (Su et al. 2021, arXiv:2104.09864)."""
    frequency = _ROPE_THETA ** (-torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns each consecutive pair (2i, 2i+1) of (B, L, heads, 2, head_width) by its position's angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.flatten(-2).type_as(x)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)


def load_published(config: NeoBERTConfig, weights: Mapping[str, Tensor], source: str) -> NeoBERT:
    """A NeoBERT in float32 with published weights (name to tensor, of any precision).

    A `model.` prefix is taken off; the `decoder` and whatever else the network has no place for (`unplaced`) are left out.
    Raises UserError that names `source` and the tensor that is missing or of the wrong shape.
    """
    network = NeoBERT(config)
    expected = network.state_dict()
    given = {place: tensor for name, tensor in weights.items() if (place := _place(name)) in expected}
    for name in sorted(expected):
        if name not in given:
            raise _mismatch(source, f"lack the tensor {name}")
        if given[name].shape != expected[name].shape:
            shapes = f"{tuple(given[name].shape)}, and config.json asks for {tuple(expected[name].shape)}"
            raise _mismatch(source, f"hold {name} of shape {shapes}")
    network.load_state_dict(given)
    return network


def unplaced(config: NeoBERTConfig, names: Iterable[str]) -> list[str]:
    """Those of the published tensors' names that the network has no place for, sorted; the `decoder` is expected and not told."""
    with torch.device("meta"):
        expected = NeoBERT(config).state_dict()
    return sorted(name for name in names if _place(name) not in expected and not _place(name).startswith("decoder."))


def _place(published: str) -> str:
    return published.removeprefix("model.")


def _mismatch(source: str, what: str) -> UserError:
    return UserError(
        f"the NeoBERT weights in {source} {what}",
        cure="take config.json and model.safetensors from the same checkpoint (the file may be cut short: download it again)",
    )
