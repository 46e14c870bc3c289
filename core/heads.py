"""From encoder states to one number: pooling, cross-attention onto a picture, and the regression head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PoolingName = Literal["cls", "mean", "attention"]


class Pooling(nn.Module):
    """(B, L, width) states and (B, L) mask to (B, width): the first state, the mean, or a learned weighted mean."""

    def __init__(self, name: PoolingName, width: int) -> None:
        super().__init__()
        self.name = name
        self.score = nn.Linear(width, 1) if name == "attention" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.name == "cls":
            return states[:, 0]
        if self.score is None:
            weights = mask.to(states.dtype)
            weights = weights / weights.sum(dim=1, keepdim=True)
        else:
            weights = self.score(states).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(dim=1)
        return torch.einsum("bl,blw->bw", weights, states)


class CrossAttention(nn.Module):
    """The text's state asks all patch tokens of the picture; residual connection and layer norm.

    query (B, width) and tokens (B, T, width) to (B, width).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        q = self.query(query).view(batch, 1, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(tokens).view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, width)
        return self.norm(query + self.out(found))


def heads_for(width: int, wanted: int = 8) -> int:
    """The most attention heads, up to `wanted`, that divide `width` and leave each at least 8 numbers."""
    return max(count for count in range(1, wanted + 1) if width % count == 0 and (count == 1 or width // count >= 8))


class PriceHead(nn.Module):
    """(B, width) to z (B,): `depth` hidden layers (ReLU, dropout), then one number, which starts at the bias.

    The last layer's bias is set to the mean of the training rows' log1p prices by `start_at`.
    """

    def __init__(self, width: int, hidden: int, depth: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given in [width, *[hidden] * (depth - 1)]:
            layers += [nn.Linear(given, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(hidden, 1)

    def start_at(self, mean: float) -> None:
        nn.init.constant_(self.out.bias, mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)).squeeze(-1)
