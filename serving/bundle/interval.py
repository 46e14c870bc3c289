"""Prediction interval of a price: residuals of the stack on held-out rows.

`ensemble.methods.smape_minimizer.Conditional` gives a row's distribution of log price: residuals by neighbourhood of price,
over a scale that a booster reads off how the members disagree and off the row's features. The interval goes from its 10% to
its 90% quantile. The served price averages fold models, whose members agree more than single ones do: intervals are stretched
so that they are on average as wide on the test rows as on the rows their coverage was measured on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Floats, Ints
from ensemble.matrix.level_one import Rows
from ensemble.methods.smape_minimizer import Conditional, fit_conditional

LEVEL = 0.8
"""The share of true prices that should lie in an interval."""
_ROUNDING = 1e-9
"""Relative: where all prices are one number, an interval is that number but for the last bits."""


@dataclass(frozen=True)
class IntervalQuality:
    """coverage: share of prices in intervals made without them. width: those intervals' mean width in log price."""

    coverage: float
    width: float


def bounds(conditional: Conditional, prices: Floats, rows: Rows, stretch: float = 1.0) -> Floats:
    """(n, 2) lowest and highest price of each row's interval; the price itself, `prices` (n,), is always inside."""
    atoms = np.sort(conditional.atoms(prices, rows), axis=1)
    logs = np.log(prices)[:, None]
    tail = (1 - LEVEL) / 2
    places = atoms.shape[1] * np.array([tail, 1 - tail]) - 0.5  # an atom stands for the middle of its part
    below = np.floor(places).astype(int)
    ends = atoms[:, below] + (places - below) * (atoms[:, below + 1] - atoms[:, below])
    apart = stretch * (ends - logs)
    return np.exp(logs + np.column_stack([np.minimum(apart[:, 0], 0), np.maximum(apart[:, 1], 0)]))


def fit_interval(
    combined: Floats, prices: Floats, rows: Rows, folds: Ints, seed: int = 0
) -> tuple[Conditional, IntervalQuality]:
    """From prices out of fold, `combined` (n,), and true ones. Evaluated on each of `folds` (n,) by a fit to the others."""
    ends = np.empty((len(prices), 2))
    for fold in np.unique(folds):
        inside = folds == fold
        fitted = fit_conditional(combined[~inside], prices[~inside], rows.take(~inside), seed)
        ends[inside] = bounds(fitted, combined[inside], rows.take(inside))
    covered = (ends[:, 0] <= prices * (1 + _ROUNDING)) & (prices * (1 - _ROUNDING) <= ends[:, 1])
    return fit_conditional(combined, prices, rows, seed), IntervalQuality(float(covered.mean()), width(ends))


def width(ends: Floats) -> float:
    """Mean width in log price of (n, 2) intervals."""
    return float(np.log(ends[:, 1] / ends[:, 0]).mean())
