"""From log prices to prices that are finite and positive, whatever the text was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Floats

_BEYOND = 1.0


@dataclass(frozen=True)
class PriceRange:
    """The log prices that a model may answer with."""

    low: float
    high: float

    def prices(self, log_prices: Floats) -> Floats:
        """exp of the log prices, (n,), held within the range."""
        return np.exp(np.clip(log_prices, self.low, self.high))


def range_of(log_prices: Floats) -> PriceRange:
    """From e times below the lowest price learnt to e times above the highest: a strange text is no ground for going further."""
    return PriceRange(float(log_prices.min()) - _BEYOND, float(log_prices.max()) + _BEYOND)
