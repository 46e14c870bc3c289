"""Greedy ensemble selection with replacement (Caruana, Niculescu-Mizil, Crew and Ksikes 2004), for SMAPE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from ensemble.methods.fixed import Space

ROUNDS = 100
_CELLS = 1 << 18
"""Rows times members that are looked at together: they stay in a processor's cache."""


def select_greedily(relative: Floats, space: Space, rounds: int = ROUNDS) -> Floats:
    """(u,) weights, multiples of one over the number of members drawn, from (n, u) prices relative to the true ones.

    relative: ratios, or their logarithms in log space. Each round adds the member, drawn before or not, whose mean with those
    drawn so far has the lowest SMAPE; the best of all rounds is returned. Of equals the first member is drawn.
    """
    count = relative.shape[1]
    table = np.ascontiguousarray(relative.T, dtype=np.float32)
    total = np.zeros(len(relative), dtype=np.float32)
    drawn, best, lowest = np.zeros(count), np.zeros(count), np.inf
    for size in range(1, rounds + 1):
        scores = _scores(table, total, size, space)
        choice = int(scores.argmin())
        drawn[choice] += 1
        total += table[choice]
        if scores[choice] < lowest:
            lowest, best = scores[choice], drawn / size
    return best


def _scores(table: NDArray[np.float32], total: NDArray[np.float32], size: int, space: Space) -> Floats:
    """(u,) mean term of each member's mean with `size - 1` others, whose sum is `total` (n,)."""
    scores = np.zeros(len(table))
    width = max(1, _CELLS // len(table))
    for start in range(0, len(total), width):
        part = slice(start, start + width)
        sums = table[:, part] + total[part]
        if space == "log":  # tanh(|mean| / 2)
            np.abs(sums, out=sums)
            sums *= np.float32(0.5 / size)
            terms = np.tanh(sums, out=sums)
        else:  # |mean - 1| / (mean + 1)
            terms = np.abs(sums - np.float32(size))
            sums += np.float32(size)
            terms /= sums
        scores += terms.sum(axis=1, dtype=np.float64)
    return scores / len(total)
