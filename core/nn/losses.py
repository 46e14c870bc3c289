"""Losses on log prices (SMAPE, Huber, L1, mixed) and the conversion from network output to price.

A network's output is `z`, any finite number. The log price it stands for is `floored(z)`, which is z itself except near
and below log1p(0.01), where it bends smoothly, so that a price below one cent cannot come out. All losses compare
`floored(z)` with `log1p(price)`, so that what is minimised is what is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

LOWEST_PRICE, HIGHEST_PRICE = 0.01, 1e7
"""Currency units between which every predicted price lies; a catalog refuses prices above the upper one."""

_FLOOR = math.log1p(LOWEST_PRICE)
_CEILING = math.log1p(HIGHEST_PRICE)
# How sharply the floor bends: at 5, the log price of 1 currency unit is moved by 0.006 and that of 2 by 0.001.
_SHARPNESS = 5.0

LossName = Literal["smape", "huber", "l1", "smape_huber"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""(z, target), both (n,) with target = log1p(price), to the loss of each row (n,)."""


def targets(prices: ArrayLike) -> NDArray[np.float64]:
    """(n,) log1p of prices in currency units: what a network learns to say."""
    return np.log1p(np.asarray(prices, dtype=np.float64))


def prices(z: ArrayLike) -> NDArray[np.float64]:
    """(n,) prices in currency units for network outputs (n,); finite and at least 0.01 for any finite z."""
    bent = np.logaddexp(0.0, _SHARPNESS * (np.asarray(z, dtype=np.float64) - _FLOOR)) / _SHARPNESS
    return np.expm1(np.minimum(_FLOOR + bent, _CEILING))


def floored(z: Tensor) -> Tensor:
    """The log1p price that z stands for: `floor + softplus(z - floor)`, the same bend as in `prices`."""
    return _FLOOR + F.softplus(z - _FLOOR, beta=_SHARPNESS)


def log_price(log1p_price: Tensor) -> Tensor:
    """ln p from log1p(p) > 0 without overflow: `ln(e^t - 1) = t + ln(1 - e^-t)`."""
    return log1p_price + torch.log(-torch.expm1(-log1p_price))


def smape(z: Tensor, target: Tensor) -> Tensor:
    """Each row's SMAPE term as a fraction, in 0..2: `2|p-y|/(p+y) = 2 tanh(|ln p - ln y| / 2)` for p, y > 0.

    This form never overflows, and its gradient `sign(d) sech^2(d/2)` is bounded by 1.
    """
    return 2.0 * torch.tanh((log_price(floored(z)) - log_price(target)).abs() / 2.0)


def huber(z: Tensor, target: Tensor) -> Tensor:
    """Huber's loss of log1p prices: quadratic within 1 of the target, linear beyond."""
    return F.huber_loss(floored(z), target, reduction="none")


def l1(z: Tensor, target: Tensor) -> Tensor:
    """Absolute error of log1p prices."""
    return F.l1_loss(floored(z), target, reduction="none")


def smape_huber(z: Tensor, target: Tensor, weight: float) -> Tensor:
    """`weight` parts SMAPE, `1 - weight` parts Huber: the second still pulls where the first has gone flat."""
    return weight * smape(z, target) + (1.0 - weight) * huber(z, target)


def loss_function(name: LossName, smape_weight: float) -> Loss:
    """The loss of that name; `smape_weight` (0..1) matters to `smape_huber` alone."""
    losses: dict[LossName, Loss] = {
        "smape": smape,
        "huber": huber,
        "l1": l1,
        "smape_huber": partial(smape_huber, weight=smape_weight),
    }
    return losses[name]


class PriceNetwork(nn.Module):
    """A network whose output is z (B,), as in `core.nn.losses`; one that says more of a price overrides what follows."""

    def loss(self, outputs: Tensor, target: Tensor, of_point: Loss) -> Tensor:
        """(B,) losses of the float32 outputs for target (B,) log1p prices. of_point: the loss of a z."""
        return of_point(outputs, target)

    def point(self, outputs: Tensor) -> Tensor:
        """z (B,) of the float32 outputs."""
        return outputs

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate by the name of the weights, where they are not 1."""
        return {}
