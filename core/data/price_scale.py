"""Price scale: the power of ten that a catalog's prices are divided by before anything learns, and its way back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from core.arrays import Floats

UNSCALED = 1.0
MAX_PRICE = 1e100
"""No currency has a higher one, and the squares of errors stay finite."""
_LOW, _HIGH = 10.0, 100.0
_MOST_ZEROS = 99
_IN_UNITS = ("mae", "rmse")


def choose_scale(prices: Floats) -> float:
    """Power of ten by which the median of prices (n,) lies in [10, 100): 1 for most currencies, 1e6 for laptops in rupiah."""
    median = float(np.median(prices))
    zeros = math.floor(math.log10(median)) - 1
    if median / _power(zeros) >= _HIGH:  # the logarithm is rounded: 1000 may count as a little less
        zeros += 1
    elif median / _power(zeros) < _LOW:
        zeros -= 1
    return _power(max(-_MOST_ZEROS, min(zeros, _MOST_ZEROS)))


def to_scale(prices: Floats, scale: float) -> Floats:
    """Prices of any shape in currency units, divided by the scale."""
    return prices if scale == UNSCALED else _divided(prices, scale)


def to_units(prices: Floats, scale: float) -> Floats:
    """Scaled prices of any shape in currency units again; 15 digits, so that 1299 does not come back as 1298.9999999999998."""
    if scale == UNSCALED:
        return prices
    found = np.asarray(_divided(prices, 1 / scale), dtype=np.float64)
    return np.array([float(f"{price:.15g}") for price in found.ravel().tolist()]).reshape(found.shape)


def metrics_in_units(metrics: Mapping[str, float], scale: float) -> dict[str, float]:
    """Metrics of scaled prices with the absolute errors in currency units; SMAPE and R2 have no unit."""
    return {name: value * scale if name in _IN_UNITS else value for name, value in metrics.items()}


def _divided(prices: Floats, scale: float) -> Floats:
    """Below 1 a power of ten has no exact float, its inverse has one."""
    return np.asarray(prices / scale if scale >= 1 else prices * float(round(1 / scale)))


def _power(zeros: int) -> float:
    return float(f"1e{zeros}")
