"""NeoBERT text encoder (Le Breton et al. 2025, arXiv:2502.19587), own module without remote code.

Where rows are padded and it pays, their tokens are packed side by side, and no work is done on padding. The state-dict
names are those of the published weights, so that they load by name. Rotary positions use real arithmetic: complex numbers
do not export to ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.nn.attention import attend, attend_packed, pack, packing_pays

_ROPE_THETA = 10_000.0

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


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

    @property
    def weights(self) -> int:
        """Number of weights, of which the embedding's are `vocab_size` x `hidden_size`."""
        width = self.hidden_size
        layer = 4 * width**2 + 3 * width * self.swiglu_width + 2 * width
        return self.vocab_size * width + self.num_hidden_layers * layer + width


def training_bytes(config: NeoBERTConfig) -> tuple[int, int]:
    """Bytes of a GPU's memory that training in 16 bits takes: beside a pass, and for each token of one.

    Beside: weights, gradients and two moments in 32 bits, and the matrices once more in 16. A token: what every layer keeps for
    its gradients, and what the layer holds whose gradients are just computed. The factors are those of the tensors that
    `benchmarks/training/gpu_memory.py` counts.
    """
    width, gates = config.hidden_size, config.swiglu_width
    matrices = config.weights - config.vocab_size * width
    kept = 32 * width + 8 * gates + 4 * config.num_attention_heads + 8
    return 16 * config.weights + 2 * matrices, config.num_hidden_layers * kept + 4 * width + 12 * gates


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
        self.packed: bool | None = None  # None: where it pays
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
        """attention_mask: (B, L), true or 1 where there is a token; rows are padded on the right. States of padding are 0
        where rows were packed, else meaningless."""
        mask = attention_mask.bool()
        packed = self.packed
        if packed is None:
            exporting = torch.compiler.is_compiling()  # a graph has no room for a choice by content
            packed = not exporting and packing_pays(mask, half=self._computes_in_half(mask.device.type))
        return self._packed(input_ids, mask) if packed else self._padded(input_ids, mask)

    def _padded(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        length = input_ids.shape[1]
        rotation = self.cosine[:length, None, None], self.sine[:length, None, None]

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (each.transpose(1, 2) for each in (q, k, v))
            return attend(q, k, v, mask[:, None, None, :]).transpose(1, 2)

        return self._layers(self.encoder(input_ids), attention, rotation)

    def _packed(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        packing = pack(mask)
        rotation = self.cosine[packing.positions][:, None, None], self.sine[packing.positions][:, None, None]

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_packed(q, k, v, packing)

        states = self._layers(self.encoder(input_ids.flatten()[packing.index]), attention, rotation)
        padded = states.new_zeros(mask.numel(), self.width).index_copy(0, packing.index, states)
        return padded.unflatten(0, mask.shape)

    def _layers(self, x: Tensor, attention: Attention, rotation: tuple[Tensor, Tensor]) -> Tensor:
        for layer in self.transformer_encoder:
            x = layer(x, attention, rotation)
        return self.layer_norm(x)

    def _computes_in_half(self, kind: str) -> bool:
        if torch.is_autocast_enabled(kind):
            return torch.get_autocast_dtype(kind) in (torch.bfloat16, torch.float16)
        return self.encoder.weight.dtype in (torch.bfloat16, torch.float16)


class _Layer(nn.Module):
    """(B, L, width) or packed (T, width) states to the same; `attention` takes (.., heads, d) queries, keys and values."""

    def __init__(self, config: NeoBERTConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.wo = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.ffn = _SwiGLU(config.hidden_size, config.swiglu_width)
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn_norm = nn.RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor, attention: Attention, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.wo(self._mixed(self.attention_norm(x), attention, rotation))
        return x + self.ffn(self.ffn_norm(x))

    def _mixed(self, x: Tensor, attention: Attention, rotation: tuple[Tensor, Tensor]) -> Tensor:
        # The published `qkv` holds q, k and v of one head side by side, head after head.
        qkv = self.qkv(x).unflatten(-1, (self.heads, 3, -1))
        q, k = _rotate(qkv[..., :2, :], *rotation).unbind(dim=-2)
        return attention(q, k, qkv[..., 2, :]).flatten(-2)


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
    """Turns each consecutive pair (2i, 2i+1) of (.., heads, 2, head_width) by its position's angle."""
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
    """Sorted names of published tensors that the network has no place for; the `decoder` is expected and left out."""
    with torch.device("meta"):
        expected = NeoBERT(config).state_dict()
    return sorted(name for name in names if _place(name) not in expected and not _place(name).startswith("decoder."))


def _place(published: str) -> str:
    return published.removeprefix("model.")


def _mismatch(source: str, what: str) -> UserError:
    return UserError(
        f"the NeoBERT weights in {source} {what}",
        code="neobert-weights-mismatch",
        hint="take config.json and model.safetensors from the same checkpoint (the file may be cut short: download it again)",
    )
