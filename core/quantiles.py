"""Quantiles of a price's distribution, as members tell them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = tuple(place / 10 for place in range(1, 10))
"""Of the quantiles that a model gives: deciles."""


def histogram_quantiles(probabilities: Floats, edges: Floats, levels: Sequence[float] = LEVELS) -> Floats:
    """(n, q) quantiles of n histograms: probabilities (n, k) of the k bins between edges (k + 1,), even within a bin."""
    below = np.hstack([np.zeros((len(probabilities), 1)), np.cumsum(probabilities, axis=1)])
    below /= below[:, -1:]
    rows = [np.interp(levels, row, edges) for row in below]
    return np.array(rows).reshape(len(probabilities), len(levels))
