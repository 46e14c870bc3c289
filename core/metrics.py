"""Metrics: SMAPE and its standard errors, MAE, RMSE, R2, bootstrap; the only place that computes a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.arrays import Floats


def smape_terms(true: ArrayLike, predicted: ArrayLike) -> Floats:
    """Each row's share of the SMAPE in percent, (n,) in 0..200: `200 |p-y| / (|p|+|y|)`; 0 where both are 0.

    Raises ValueError for shapes that differ and for values that are not finite.
    """
    y, p = _checked(true, predicted)
    size = np.abs(y) + np.abs(p)
    return np.divide(200.0 * np.abs(p - y), size, out=np.zeros_like(size), where=size > 0)


def smape_terms_of_logs(difference: Floats) -> Floats:
    """The same for positive prices whose logarithms differ by so much, any shape: `200 tanh(|d| / 2)`."""
    return np.asarray(200.0 * np.tanh(np.abs(difference) / 2))


def smape_of_logs(difference: Floats) -> float:
    """SMAPE in percent of positive prices whose logarithms differ by so much."""
    return float(smape_terms_of_logs(difference).mean())


def smape_slope(difference: NDArray[Any]) -> NDArray[Any]:
    """Size of a row's SMAPE gradient by the log price, as a fraction: `sech^2(d / 2)`, the slope of `2 tanh(|d| / 2)`."""
    return np.asarray(1.0 - np.square(np.tanh(0.5 * difference)))


def touching_curvature(difference: Floats, width: float, scale: float = 1.0) -> Floats:
    """`scale` times the curvature of the parabola that touches `2 tanh(|d| / 2)` at d from above: `sech^2(d / 2) / |d|`.

    |d| is rounded below `width`, the slope is not: times d, this is the exact gradient away from the kink (majorise-minimise).
    """
    return np.asarray(smape_slope(difference) * scale / np.sqrt(np.square(difference) + width**2))


def smoothed_curvature(difference: Floats, width: float) -> Floats:
    """Curvature of the parabola that touches `2 tanh(s / 2)` at d from above, with `s = sqrt(d^2 + width^2) - width`.

    The loss itself is smoothed: times d, this is its exact gradient everywhere.
    """
    root = np.sqrt(np.square(difference) + width**2)
    return np.asarray(smape_slope(root - width) / root)


def smape(true: ArrayLike, predicted: ArrayLike) -> float:
    """Symmetric mean absolute percentage error in percent, 0 (exact) to 200 (worst): the challenge's measure."""
    return float(smape_terms(true, predicted).mean())


def mae(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error in currency units."""
    y, p = _checked(true, predicted)
    return float(np.abs(p - y).mean())


def rmse(true: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error in currency units."""
    y, p = _checked(true, predicted)
    return float(np.sqrt(np.square(p - y).mean()))


def r2(true: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the price variance explained: 1 is exact, 0 is the mean price; 0 where all true prices are equal."""
    y, p = _checked(true, predicted)
    variance = float(np.square(y - y.mean()).sum())  # of equal prices too it may be above 0: their mean is rounded
    return 1.0 - float(np.square(p - y).sum()) / variance if variance > 0 and np.ptp(y) > 0 else 0.0


MAD_TO_DEVIATION = 1.4826
"""Times the median absolute deviation: the standard deviation, where values are normal."""


def robust_deviation(values: Floats) -> float:
    """Robust standard deviation of the values (n,), by their median absolute deviation: outliers do not count."""
    return MAD_TO_DEVIATION * float(np.median(np.abs(values - np.median(values))))


_SCORES = {"smape": smape, "mae": mae, "rmse": rmse, "r2": r2}
METRICS = tuple(_SCORES)


def all_metrics(true: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """The four figures shown for every trial, member and stack."""
    return {name: score(true, predicted) for name, score in _SCORES.items()}


def constant_floor(prices: ArrayLike) -> tuple[float, float]:
    """The best single price for all rows and its SMAPE: (price, smape). What a model must beat.

    The optimum is one of the given prices' neighbourhood; the SMAPE of a constant is evaluated at 512 quantiles.
    """
    y = np.asarray(prices, dtype=np.float64)
    candidates = np.unique(np.quantile(y, np.linspace(0.0, 1.0, 512)))
    scores = [smape(y, np.full_like(y, price)) for price in candidates]
    best = int(np.argmin(scores))
    return float(candidates[best]), float(scores[best])


def group_standard_error(terms: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Standard error of the mean of `terms` (n,), with rows of one group counted as one cluster.

    Cluster-robust form: sqrt(sum over groups of (sum of centred terms)^2) / n, with the g/(g-1) correction.
    """
    t = np.asarray(terms, dtype=np.float64)
    labels = np.arange(len(t)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(labels, weights=t - t.mean())
    count = len(sums)
    return float(np.sqrt(np.square(sums).sum() * count / (count - 1)) / len(t)) if count > 1 else float("inf")


def group_bootstrap(
    terms: ArrayLike, groups: ArrayLike, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) percentile interval of the mean of `terms` (n,) when whole groups (n,) are drawn anew with replacement.

    Efron and Tibshirani 1993, chapter 13, with groups as the units. One group gives (-inf, inf): nothing is known of others.
    """
    t = np.asarray(terms, dtype=np.float64)
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, sizes = np.bincount(labels, weights=t), np.bincount(labels).astype(np.float64)
    if len(sums) < 2:
        return float("-inf"), float("inf")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for number in range(resamples):
        drawn = rng.integers(0, len(sums), len(sums))
        means[number] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _checked(true: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1 or len(y) == 0:
        raise ValueError(f"true {y.shape} and predicted {p.shape} must be equally long, non-empty vectors")
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        raise ValueError("true and predicted prices must be finite")
    return y, p
