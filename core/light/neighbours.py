"""Prices of the most similar known products, by cosine similarity of sparse rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

Floats = NDArray[np.float64]
STATISTICS = ("near_mean", "near_first", "near_similarity", "near_spread", "near_median", "near_three")
_CHUNK = 256
_SHARPNESS = 6


@dataclass(frozen=True)
class Neighbours:
    """references: (m, d) rows of length 1, with common columns left out. log_prices: (m,)."""

    references: sp.csr_matrix
    log_prices: Floats
    count: int

    def statistics(self, inputs: sp.csr_matrix) -> Floats:
        """(n, 6) of the `count` nearest references of each row, in the order of STATISTICS.

        Weighted mean log price (weight = similarity^6), log price and similarity of the nearest, spread and median of the log
        prices, weighted mean of the nearest three.
        """
        count = min(self.count, len(self.log_prices))
        out = np.empty((inputs.shape[0], len(STATISTICS)))
        transposed = self.references.T.tocsr()
        for start in range(0, inputs.shape[0], _CHUNK):
            likeness = (normalize(inputs[start : start + _CHUNK]) @ transposed).toarray()
            nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            similarity = np.take_along_axis(likeness, nearest, axis=1)
            # Equal similarities are ordered by the reference's place, so that the result does not hang on the partition.
            order = np.lexsort((nearest, -similarity), axis=1)
            nearest = np.take_along_axis(nearest, order, axis=1)
            similarity = np.take_along_axis(similarity, order, axis=1).astype(np.float64)
            out[start : start + _CHUNK] = _summary(self.log_prices[nearest], similarity)
        return out


def learn_neighbours(inputs: sp.csr_matrix, log_prices: Floats, count: int, max_rows: int, seed: int) -> Neighbours:
    """Neighbours among at most `max_rows` of these rows, drawn by seed: the work grows with the square of the rows."""
    rows = np.arange(len(log_prices))
    if len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))
    return Neighbours(normalize(inputs[rows]).tocsr(), log_prices[rows], count)


def telling_columns(inputs: sp.csr_matrix, max_share: float = 0.02, max_rows: int = 200) -> NDArray[np.bool_]:
    """(d,) which columns are rare enough to tell products apart: comparing by words that all share costs most and says least."""
    return np.asarray(inputs.getnnz(axis=0)) <= max(max_rows, max_share * inputs.shape[0])


def _summary(prices: Floats, similarity: Floats) -> Floats:
    weights = np.maximum(similarity, 1e-3) ** _SHARPNESS
    mean = (prices * weights).sum(axis=1) / weights.sum(axis=1)
    three = (prices[:, :3] * weights[:, :3]).sum(axis=1) / weights[:, :3].sum(axis=1)
    spread, median = prices.std(axis=1), np.median(prices, axis=1)
    return np.column_stack([mean, prices[:, 0], similarity[:, 0], spread, median, three])
