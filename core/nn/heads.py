"""Price heads: pooling, cross-attention onto an image, the field branch, and the regression head."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.fields.field_inputs import BUCKETS, CATEGORIES, UNKNOWN
from core.nn import losses
from core.nn.price_bins import PriceBins

PoolingName = Literal["cls", "mean", "attention", "last"]
HeadName = Literal["point", "bins", "both"]


class AttentionDirection(StrEnum):
    """Directions of the cross-attention between text and picture. gated: as the first, with a learnt gate on the residual."""

    TEXT_ASKS_PICTURE = "text_asks_picture"
    BOTH = "both"
    GATED = "gated"


HEADS = 8
"""Attention heads by default."""

_BINS_SHARE = 0.1
"""Weight of the bins' loss beside the point's: brings both to one size."""


class Pooling(nn.Module):
    """(B, L, width) states and (B, L) mask to (B, width): the first or last state, the mean, or a learned weighted mean.

    Rows are padded on the right. `last` is for encoders that read from left to right, whose last state alone has seen all.
    """

    def __init__(self, name: PoolingName, width: int) -> None:
        super().__init__()
        self.name = name
        self.score = nn.Linear(width, 1) if name == "attention" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.name == "cls":
            return states[:, 0]
        if self.name == "last":
            places = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
            return states.gather(1, places).squeeze(1)
        if self.score is None:
            weights = mask.to(states.dtype)
            weights = weights / weights.sum(dim=1, keepdim=True)
        else:
            weights = self.score(states).squeeze(-1).masked_fill(~mask, float("-inf")).softmax(dim=1)
        return torch.einsum("bl,blw->bw", weights, states)


class CrossAttention(nn.Module):
    """Cross-attention of one state to all tokens of the other input; residual connection and layer norm.

    query (B, width), tokens (B, T, width) and mask (B, T), true where there is a token (None: everywhere), to (B, width).
    gated: what is found is multiplied by tanh of a learnt number that starts at 0, so that training starts from the query alone.
    """

    def __init__(self, width: int, heads: int, *, gated: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None

    def forward(self, query: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, count, width = tokens.shape
        q = self.query(query).view(batch, 1, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(tokens).view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None, :]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(batch, width)
        found = self.out(found)
        return self.norm(query + (found if self.gate is None else self.gate.tanh() * found))


def heads_for(width: int, wanted: int = HEADS) -> int:
    """The attention heads of a state of `width` numbers. Raises UserError if the number wanted does not divide it.

    The default suits every width: the most heads, up to it, that divide the width and leave each at least 8 numbers.
    """
    if wanted == HEADS:
        return max(n for n in range(1, wanted + 1) if width % n == 0 and (n == 1 or width // n >= 8))
    if width % wanted:
        fitting = ", ".join(str(n) for n in range(1, 33) if width % n == 0)
        raise UserError(
            f"{wanted} attention heads do not divide the text encoder's width of {width}",
            code="attention-heads-do-not-divide",
            hint=f"set attention_heads to one of {fitting}",
        )
    return wanted


class FieldBranch(nn.Module):
    """A row's numbers (B, n) and words (B, len(CATEGORIES)), as `core.fields.field_inputs` reads them, to (B, WIDTH).

    words: numbers per embedded word, 0 for none. hidden: share of the words that training takes for unknown, so that the
    network learns to price brands that it has never seen.
    """

    WIDTH = 64

    def __init__(self, numbers: int, words: int, hidden: float, dropout: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.words = nn.Embedding(BUCKETS + 1, words) if words else None
        if self.words is not None:
            nn.init.normal_(self.words.weight, std=0.1)
        self.mix = nn.Linear(numbers + words * len(CATEGORIES), self.WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, numbers: Tensor, words: Tensor) -> Tensor:
        if self.words is not None:
            if self.training and self.hidden:
                words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.hidden, UNKNOWN)
            numbers = torch.cat([numbers, self.words(words).flatten(1)], dim=1)
        return self.dropout(F.relu(self.mix(numbers)))


class PriceHead(nn.Module):
    """(B, width) through `depth` hidden layers (ReLU, dropout) to the outputs that predict the price.

    kind `point`: z (B,), which starts at the mean of the training rows' log1p prices. `bins`: logits (B, bins) of bins of log
    price. `both`: (B, 1 + bins), z first; the price is then the mean of both in z.
    """

    def __init__(
        self, width: int, hidden: int, depth: int, dropout: float, kind: HeadName = "point", bins: int = 0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given in [width, *[hidden] * (depth - 1)]:
            layers += [nn.Linear(given, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.out = None if kind == "bins" else nn.Linear(hidden, 1)
        self.bins = None if kind == "point" else PriceBins(hidden, bins)

    def start_at(self, prices: ArrayLike) -> None:
        """Sets the biases so that training starts from the distribution of these prices (n,)."""
        if self.out is not None:
            nn.init.constant_(self.out.bias, float(losses.targets(prices).mean()))
        if self.bins is not None:
            self.bins.start_at(prices)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        outputs = [part(x) for part in (self.out, self.bins) if part is not None]
        return outputs[0].squeeze(-1) if self.bins is None else torch.cat(outputs, dim=1)

    def loss(self, outputs: Tensor, target: Tensor, of_point: losses.Loss) -> Tensor:
        """(B,) losses: of the point, of the bins, or their sum."""
        if self.bins is None:
            return of_point(outputs, target)
        of_bins = self.bins.loss(self.logits(outputs), losses.log_price(target))
        return of_bins if self.out is None else _BINS_SHARE * of_bins + of_point(outputs[:, 0], target)

    def point(self, outputs: Tensor) -> Tensor:
        """z (B,)."""
        if self.bins is None:
            return outputs
        z = F.softplus(self.bins.point(self.logits(outputs)))  # log1p of e to the log price
        return z if self.out is None else (z + outputs[:, 0]) / 2

    @property
    def described(self) -> int:
        """Number of values that `describe` gives of a row."""
        return 1 if self.bins is None else len(self.bins.edges)

    def describe(self, outputs: Tensor) -> Tensor:
        """(B, 1) z, or (B, 1 + bins) z and the share of each bin."""
        z = self.point(outputs)[:, None]
        return z if self.bins is None else torch.cat([z, self.logits(outputs).softmax(dim=1)], dim=1)

    def logits(self, outputs: Tensor) -> Tensor:
        """(B, bins) of the outputs of a head that has them."""
        return outputs if self.out is None else outputs[:, 1:]
