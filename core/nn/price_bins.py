"""Output layer over bins of log price: its training loss, point forecast and quantiles.

The histogram loss with Gaussian labels (HL-Gauss: Imani and White 2018, "Improving regression performance with distributional
losses"): cross-entropy with the mass that a Gaussian around the true log price has in each bin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from core.arrays import Floats
from core.protocols.architecture import LEVELS

_TAIL = 0.001
_MARGIN = 0.5
_SPREAD = 0.75
"""Deviation of the labels in widths of a bin, as Farebrother et al. 2024 (arXiv:2403.03950) found best."""
_POINTS_PER_BIN = 8


class PriceBins(nn.Module):
    """(B, width) to the logits (B, bins) of bins of equal width in log price.

    The bins reach from the 0.1% to the 99.9% quantile of the training rows' log prices and 0.5 beyond; the first and the last
    stand for everything outside as well.
    """

    edges: Tensor

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, bins)
        self.register_buffer("edges", torch.linspace(0.0, 1.0, bins + 1))

    def start_at(self, prices: ArrayLike) -> None:
        """Lays the bins out for these prices (n,), and begins with their distribution."""
        logs = np.log(np.asarray(prices, dtype=np.float64))
        low, high = np.quantile(logs, (_TAIL, 1 - _TAIL))
        self.edges.copy_(torch.linspace(low - _MARGIN, high + _MARGIN, len(self.edges)))
        labels = self.labels(torch.from_numpy(logs).float()).mean(dim=0)
        with torch.no_grad():
            self.out.bias.copy_(torch.log(labels + 1 / len(logs)))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)

    def labels(self, log_prices: Tensor) -> Tensor:
        """(B, bins) mass of a Gaussian around each log price (B,) in each bin."""
        deviation = _SPREAD * (self.edges[1] - self.edges[0])
        below = torch.special.ndtr((self.edges[1:-1] - log_prices[:, None]) / deviation)
        return torch.diff(F.pad(F.pad(below, (1, 0)), (0, 1), value=1.0), dim=1)

    def loss(self, logits: Tensor, log_prices: Tensor) -> Tensor:
        """(B,) cross-entropy with the labels, less its lowest possible value."""
        labels = self.labels(log_prices)
        return F.kl_div(logits.log_softmax(dim=1), labels, reduction="none").sum(dim=1)

    def point(self, logits: Tensor) -> Tensor:
        """(B,) log prices of lowest expected SMAPE, prices lying evenly within each bin.

        The expected SMAPE of saying x is the mean of 2 tanh(|x - u| / 2); over a bin, its integral is known.
        """
        bins = len(self.edges) - 1
        share = torch.linspace(0.0, 1.0, _POINTS_PER_BIN * bins + 1, device=logits.device)
        points = self.edges[0] + share * (self.edges[-1] - self.edges[0])
        away = _tanh_integral(points[:, None] - self.edges)
        costs = away[:, :-1] - away[:, 1:]
        shares = logits.softmax(dim=1)
        # The vertex of the parabola through the lowest place and its neighbours: the place alone would jump with rounding.
        # Rises are summed by themselves, since the difference of two expected costs would be mostly rounding.
        best = (shares @ costs[1:-1].T).argmin(dim=1, keepdim=True)
        rises = shares @ (costs[1:] - costs[:-1]).T
        before, after = (rises.gather(1, best + step)[:, 0] for step in (0, 1))
        vertex = (-(before + after) / (2 * (after - before).clamp(min=1e-9))).clamp(-1, 1)
        return points[1 + best[:, 0]] + (points[1] - points[0]) * vertex


def histogram_quantiles(shares: Floats, edges: Floats, levels: Sequence[float] = LEVELS) -> Floats:
    """(n, q) quantiles of n histograms: shares (n, k) of the k bins between edges (k + 1,), even within a bin."""
    below = np.hstack([np.zeros((len(shares), 1)), np.cumsum(shares, axis=1)])
    below /= below[:, -1:]
    rows = [np.interp(levels, row, edges) for row in below]
    return np.array(rows).reshape(len(shares), len(levels))


def _tanh_integral(x: Tensor) -> Tensor:
    """The odd function whose derivative is tanh(|x| / 2): sign(x) 2 ln cosh(x / 2)."""
    size = x.abs()
    return x.sign() * (size + 2 * torch.log1p(torch.exp(-size)) - 2 * math.log(2))
