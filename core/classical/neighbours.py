"""Nearest-neighbour prices: the most similar known products by cosine similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from core.arrays import Floats
from core.classical.target_encoding import own_amounts

Vectors: TypeAlias = "sp.csr_matrix | NDArray[np.float64]"
"""Rows to compare: sparse TF-IDF, or dense states of an encoder."""
STATISTICS = (
    *("near_mean", "near_first", "near_similarity", "near_spread", "near_median", "near_three"),
    *("near_per_unit", "near_amount_ratio"),
)
SHARPNESS = 6.0
_CHUNK = 256


@dataclass(frozen=True)
class Neighbours:
    """references: (m, d) rows of length 1, with common columns left out. log_prices: (m,). log_amounts: (m, a), see `amounts`."""

    references: Vectors
    log_prices: Floats
    log_amounts: Floats
    count: int

    def statistics(self, inputs: Vectors, log_amounts: Floats) -> Floats:
        """(n, 8) of the `count` nearest references of each row (n, d) with its log amounts (n, a), in the order of STATISTICS.

        Weighted mean log price (weight = similarity^6), log price and similarity of the nearest, spread and median of the log
        prices, weighted mean of the nearest three; the log price at their price per base unit, and the log ratio of the row's
        amount to theirs, both NaN unless the row and one of them know the amount in the same dimension.
        """
        out = np.empty((inputs.shape[0], len(STATISTICS)))
        for rows, nearest, similarity in self._nearest(inputs):
            prices, weights = self.log_prices[nearest], _weights(similarity, SHARPNESS)
            mean = (prices * weights).sum(axis=1) / weights.sum(axis=1)
            three = (prices[:, :3] * weights[:, :3]).sum(axis=1) / weights[:, :3].sum(axis=1)
            ratios = self._ratios(nearest, log_amounts[rows])
            known = np.where(np.isnan(ratios), 0.0, weights)
            total = known.sum(axis=1)
            total[total == 0] = np.nan
            ratio = (np.nan_to_num(ratios) * known).sum(axis=1) / total
            per_unit = (prices * known).sum(axis=1) / total + ratio
            columns = [mean, prices[:, 0], similarity[:, 0], prices.std(axis=1), np.median(prices, axis=1), three]
            out[rows] = np.column_stack([*columns, per_unit, ratio])
        return out

    def predict(self, inputs: Vectors, log_amounts: Floats, sharpness: float, *, per_unit: bool) -> Floats:
        """(n,) log prices of the nearest, averaged with weights similarity^sharpness.

        per_unit: a neighbour that knows its amount in the row's dimension says its price per base unit times the row's amount.
        """
        out = np.empty(inputs.shape[0])
        for rows, nearest, similarity in self._nearest(inputs):
            prices, weights = self.log_prices[nearest], _weights(similarity, sharpness)
            if per_unit:
                prices = prices + np.nan_to_num(self._ratios(nearest, log_amounts[rows]))
            out[rows] = (prices * weights).sum(axis=1) / weights.sum(axis=1)
        return out

    def _nearest(self, inputs: Vectors) -> Iterator[tuple[slice, NDArray[np.int64], Floats]]:
        """(rows, places of their nearest references (b, count), similarities (b, count)), the nearest first."""
        count = min(self.count, len(self.log_prices))
        transposed = self.references.T if isinstance(self.references, np.ndarray) else self.references.T.tocsr()
        for start in range(0, inputs.shape[0], _CHUNK):
            likeness = normalize(inputs[start : start + _CHUNK]) @ transposed
            likeness = likeness if isinstance(likeness, np.ndarray) else likeness.toarray()
            nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            similarity = np.take_along_axis(likeness, nearest, axis=1)
            # Equal similarities are ordered by the reference's place, so that the result does not hang on the partition.
            order = np.lexsort((nearest, -similarity), axis=1)
            nearest = np.take_along_axis(nearest, order, axis=1)
            similarity = np.take_along_axis(similarity, order, axis=1).astype(np.float64)
            yield slice(start, start + len(nearest)), nearest, similarity

    def _ratios(self, nearest: NDArray[np.int64], log_amounts: Floats) -> Floats:
        """(b, count) log ratio of each row's amount to its neighbours', in the row's own dimension; NaN where one is unknown."""
        dimension, own = own_amounts(log_amounts)
        return np.asarray(own[:, None] - self.log_amounts[nearest, dimension[:, None]], dtype=np.float64)


def learn_neighbours(
    inputs: Vectors, log_prices: Floats, log_amounts: Floats, count: int, max_rows: int, seed: int
) -> Neighbours:
    """Neighbours among at most `max_rows` of these rows, drawn by seed: the work grows with the square of the rows."""
    rows = np.arange(len(log_prices))
    if len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))
    unit = normalize(inputs[rows])
    return Neighbours(
        unit if isinstance(unit, np.ndarray) else unit.tocsr(), log_prices[rows], log_amounts[rows], count
    )


def telling_columns(inputs: sp.csr_matrix, max_share: float = 0.02, max_rows: int = 200) -> NDArray[np.bool_]:
    """Mask (d,) of columns rare enough to tell products apart: common words cost most time and say least."""
    return np.asarray(inputs.getnnz(axis=0)) <= max(max_rows, max_share * inputs.shape[0])


def _weights(similarity: Floats, sharpness: float) -> Floats:
    return np.asarray(np.maximum(similarity, 1e-3) ** sharpness, dtype=np.float64)
