"""Fast bidirectional attention (padded or packed) and cheap dropout for CPUs and GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# On a processor, the backward pass of PyTorch's fused bf16 kernel costs a fixed 40 ms and more per call (measured on AVX512-BF16:
# 60 x 50 tokens 43 ms against 4 ms with plain matrix products); from about this length on, the fused kernel wins again.
_SHORT = 256

# On a processor, packing splits attention into one call per length; 4% of padding already cost more than that (by a tenth).
_PADDING_THAT_PAYS = 0.03


@dataclass(frozen=True)
class Packing:
    """Positions of the tokens of B right-padded rows of length L, packed one sequence after the other.

    index: (T,) int64, places of the tokens among the B * L. positions: (T,) int64, place of each token in its sequence.
    lengths: of each sequence that has tokens. bounds: (sequences + 1,) int32, where each begins in the packed order.
    """

    index: Tensor
    positions: Tensor
    lengths: list[int]
    bounds: Tensor


def pack(mask: Tensor) -> Packing:
    """The packing of a (B, L) mask, true where there is a token."""
    index = mask.flatten().nonzero().squeeze(1)
    lengths = mask.sum(dim=1)
    there = lengths[lengths > 0]
    bounds = F.pad(there.cumsum(0), (1, 0)).int()
    positions = (mask.cumsum(dim=1) - 1).flatten()[index]
    return Packing(index, positions, there.tolist(), bounds)


def packing_pays(mask: Tensor, *, half: bool) -> bool:
    """True if packing rows with this (B, L) mask is faster. half: attention computes in bf16 or fp16, as flash kernels need."""
    if mask.is_cuda:
        return half and not bool(mask.all())
    return bool(mask.float().mean() < 1 - _PADDING_THAT_PAYS)


def plain_pays(q: Tensor) -> bool:
    """True if plain matrix products are faster than PyTorch's fused kernel for these (B, heads, L, d) queries."""
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= _SHORT


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """(B, heads, L, d) queries, keys and values to (B, heads, L, d): softmax(q k^T scale) v, scale d^-0.5 by default.

    mask: bool, broadcast to (B, heads, L, L), true where a query may look; None where it may look everywhere.
    Queries that may look nowhere get meaningless, finite states and gradients.
    """
    if plain_pays(q):
        scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-1, -2)
        if mask is not None:
            # Finite: in a window of padding alone a query may look nowhere, and infinities would make its gradients NaN.
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
    """(T, heads, d) packed queries, keys and values to (T, heads, d); no sequence sees another (block-diagonal)."""
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        # Here, as it brings PyTorch's compiler, which takes a second to import and which a processor does not need.
        from torch.nn.attention.varlen import varlen_attn

        longest = max(packing.lengths)
        mixed = varlen_attn(q, k, v, packing.bounds, packing.bounds, longest, longest)
        assert isinstance(mixed, Tensor), "asked for no auxiliary output"
        return mixed
    sizes, shapes = [], []
    for length, run in groupby(packing.lengths):
        count = len(list(run))
        sizes.append(count * length)
        shapes.append((count, length))
    parts = zip(q.split(sizes), k.split(sizes), v.split(sizes), shapes, strict=True)
    return torch.cat([_attend_alike(*part) for part in parts])


def _attend_alike(q: Tensor, k: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
    """Attention of `shape[0]` sequences that all have `shape[1]` tokens."""
    q, k, v = (each.unflatten(0, shape).transpose(1, 2) for each in (q, k, v))
    return attend(q, k, v, None).transpose(1, 2).flatten(0, 1)


_STEPS = 2**16
_LARGE = 2**14
"""Elements from which on it is faster; below, PyTorch's own draws are."""


class Dropout(nn.Dropout):
    """`nn.Dropout` with the same meaning; on a processor, `p` is rounded to 1/65,536 and one draw seeds 16-bit lots for all.

    The seed comes from PyTorch's generator, so that whoever restores that generator's state gets the same units dropped.
    """

    def forward(self, x: Tensor) -> Tensor:
        # The size comes last: looked at while a graph is exported, it would fix on which side of the limit the rows are.
        wanted = self.training and 0.0 < self.p < 1.0 and not torch.compiler.is_compiling()
        if not (wanted and x.device.type == "cpu" and x.numel() >= _LARGE):
            return super().forward(x)
        dropped = round(self.p * _STEPS)
        lots = np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(-(-x.numel() // 4)).view(np.int16)
        kept = torch.from_numpy(lots[: x.numel()]).view(x.shape) >= dropped - _STEPS // 2
        return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))


def quicken(module: nn.Module) -> nn.Module:
    """Replaces every `nn.Dropout` inside `module` (in place, returned) by `Dropout` with the same probability and mode."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, Dropout(child.p).train(child.training))
        else:
            quicken(child)
    return module
