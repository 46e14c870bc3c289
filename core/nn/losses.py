"""Losses on log prices (SMAPE, Huber, L1, mixed) and the conversion from network output to price.

A network's output is `z`, any finite number. The log price it stands for is `floored(z)`, which is z itself except near
and below log1p(0.01), where it bends smoothly, so that a lower price cannot come out. All losses compare
`floored(z)` with `log1p(price)`, so that what is minimised is what is predicted.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from torch import Tensor, nn
from torch.nn import functional as F

LOWEST_PRICE, HIGHEST_PRICE = 0.01, 1e7
"""Bounds of every predicted price. It is scaled (`core.data.price_scale`): the median of the training prices is below 100."""

_FLOOR = math.log1p(LOWEST_PRICE)
_CEILING = math.log1p(HIGHEST_PRICE)
# How sharply the floor bends: at 5, the log price of 1 is moved by 0.006 and that of 2 by 0.001.
_SHARPNESS = 5.0


def targets(prices: ArrayLike) -> NDArray[np.float64]:
    """(n,) log1p of scaled prices: a network's target."""
    return np.log1p(np.asarray(prices, dtype=np.float64))


def prices(z: ArrayLike) -> NDArray[np.float64]:
    """(n,) scaled prices for network outputs (n,); finite and at least 0.01 for any finite z."""
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
    """Each row's Huber loss of log1p prices: quadratic within 1 of the target, linear beyond."""
    return F.huber_loss(floored(z), target, reduction="none")


class Loss(BaseModel):
    """Loss of each training row. Its fields are its parameters, which become settings of every network's config.

    To add one: subclass it, and name it in LOSSES. Another loss may have a field of the same name if it means the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def __call__(self, z: Tensor, target: Tensor) -> Tensor:
        """(n,) losses of network outputs z (n,) for target (n,) log1p prices."""


class Smape(Loss):
    """SMAPE alone: its gradient vanishes where the error is largest."""

    def __call__(self, z: Tensor, target: Tensor) -> Tensor:
        return smape(z, target)


class Huber(Loss):
    """Huber's loss of log1p prices."""

    def __call__(self, z: Tensor, target: Tensor) -> Tensor:
        return huber(z, target)


class L1(Loss):
    """Absolute error of log1p prices."""

    def __call__(self, z: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(floored(z), target, reduction="none")


class SmapeHuber(Loss):
    """Weighted sum of SMAPE and Huber: the second still pulls where the first has gone flat."""

    smape_weight: float = Field(0.5, ge=0, le=1, description="share of SMAPE in smape_huber")

    def __call__(self, z: Tensor, target: Tensor) -> Tensor:
        return self.smape_weight * smape(z, target) + (1.0 - self.smape_weight) * huber(z, target)


LOSSES: dict[str, type[Loss]] = {"smape": Smape, "huber": Huber, "l1": L1, "smape_huber": SmapeHuber}
"""Registry of losses by the name that the setting `loss` gives them."""


def make_loss(name: str, settings: Mapping[str, Any]) -> Loss:
    """The loss of that name, with its own parameters out of `settings`; the others are left alone."""
    kind = LOSSES[name]
    return kind(**{field: settings[field] for field in kind.model_fields if field in settings})


def loss_parameters() -> dict[str, FieldInfo]:
    """Parameters of all losses by name."""
    return {name: field for kind in LOSSES.values() for name, field in kind.model_fields.items()}


class PriceNetwork(nn.Module):
    """Base class of networks whose output is z (B,); one that predicts more of a price overrides these methods."""

    def loss(self, outputs: Tensor, target: Tensor, of_point: Loss) -> Tensor:
        """(B,) losses of the float32 outputs for target (B,) log1p prices. of_point: the loss of a z."""
        return of_point(outputs, target)

    def point(self, outputs: Tensor) -> Tensor:
        """z (B,) of the float32 outputs."""
        return outputs

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate by the name of the weights, where they are not 1."""
        return {}
