"""Post-processing step from members' quantiles: the price of lowest expected SMAPE under their spread.

A row's distribution is its members' quantile functions in log price, averaged by weight (Vincent 1912; Ratcliff 1979), each moved
from the member's price to the combination's. How much narrower it is there, and by how much it is shifted, is fitted: a
combination errs less than its members, and may already be where the expected SMAPE is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import Floats
from core.metrics import smape
from core.protocols.architecture import LEVELS
from ensemble.matrix.level_one import Rows
from ensemble.matrix.stored_types import stored
from ensemble.methods.simplex import fit_simplex
from ensemble.methods.smape_minimizer import smape_point

ATOMS = 17
_STRETCHES = (0.5, 0.7, 1.0, 1.4, 2.0)
_SHIFTS = np.linspace(-0.2, 0.2, 41)
_SAMPLE = 20_000


@stored("Spread")
@dataclass(frozen=True, eq=False)
class Spread:
    """The price of lowest expected SMAPE under the members' own quantiles around the combination's price.

    weights: (p,) of the members that give quantiles. Their distances from the member's price are multiplied by `stretch`;
    `shift` (in log price) is added to the point.
    """

    weights: Floats
    stretch: float
    shift: float

    def predict(self, prices: Floats, rows: Rows) -> Floats:
        deviations = _deviations(self.weights, rows)
        return np.asarray(prices * np.exp(smape_point(self.stretch * deviations) + self.shift))

    def describe(self) -> dict[str, Any]:
        return {"members": self.weights.round(6).tolist(), "stretch": self.stretch, "shift": round(self.shift, 6)}


def fit_spread(combined: Floats, prices: Floats, rows: Rows, seed: int) -> Spread | None:
    """The weights of lowest SMAPE of the members with quantiles, then stretch and shift; None where no member has any."""
    if rows.quantiles is None:
        return None
    sample = np.sort(np.random.default_rng(seed).permutation(len(prices))[:_SAMPLE])
    combined, prices, rows = combined[sample], prices[sample], rows.take(sample)
    assert rows.quantiles is not None
    weights = fit_simplex(rows.members[:, rows.quantiles.members], prices, "log").weights
    deviations = _deviations(weights, rows)

    def lowest(stretch: float) -> tuple[float, float, float]:
        points = combined * np.exp(smape_point(stretch * deviations))
        return min((smape(prices, points * np.exp(shift)), stretch, float(shift)) for shift in _SHIFTS)

    _, stretch, shift = min(map(lowest, _STRETCHES))
    return Spread(weights, stretch, shift)


def _deviations(weights: Floats, rows: Rows) -> Floats:
    """(n, ATOMS) equally likely log prices less the members' own; crossing quantiles are sorted."""
    if rows.quantiles is None:
        raise ValueError("these rows have no members' quantiles")
    points = rows.logs[:, rows.quantiles.members]
    apart = np.sort(rows.quantiles.logs, axis=2) - points[:, :, None]
    return np.asarray(np.einsum("npq,p->nq", apart, weights) @ _TO_ATOMS)


def _to_atoms() -> Floats:
    """(9, ATOMS) the linear map from values at LEVELS to those at the middles of equal parts; the last slopes go on outside."""
    levels = np.array(LEVELS)
    wanted = (np.arange(ATOMS) + 0.5) / ATOMS
    left = np.clip(np.searchsorted(levels, wanted) - 1, 0, len(levels) - 2)
    share = (wanted - levels[left]) / (levels[left + 1] - levels[left])
    table = np.zeros((len(levels), ATOMS))
    table[left, np.arange(ATOMS)] = 1 - share
    table[left + 1, np.arange(ATOMS)] = share
    return table


_TO_ATOMS = _to_atoms()
