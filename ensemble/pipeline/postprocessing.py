"""Post-processing steps of combined prices, each kept only if held-out rows confirm it.

To add one: a module with a dataclass for the fitted step (decorated with `stored`, see `ensemble.matrix.stored_types`) and a
function that fits it, as `quantile_spread`; and a line in STEPS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core.arrays import Floats
from core.metrics import smape
from ensemble.matrix.level_one import Rows
from ensemble.matrix.stored_types import stored
from ensemble.methods.smape_minimizer import Conditional, fit_conditional, smape_point
from ensemble.pipeline.quantile_spread import fit_spread

_TAIL = 0.05
_SLOPES = tuple(np.linspace(0.4, 1.2, 17))
_COMMON = 0.1
"""An ending counts as common if so many of the true prices have it."""
_UNITS = (1, 10)


class PostprocessingStep(Protocol):
    """A fitted change of prices."""

    def predict(self, prices: Floats, rows: Rows) -> Floats:
        """(n,) prices, finite and > 0, from (n,)."""

    def describe(self) -> dict[str, Any]:
        """The step's parameters as JSON values."""


@stored("Decision")
@dataclass(frozen=True, eq=False)
class Decision:
    """The price of lowest expected SMAPE under the residuals of the row's neighbourhood."""

    conditional: Conditional

    def predict(self, prices: Floats, rows: Rows) -> Floats:
        return np.exp(smape_point(self.conditional.atoms(prices, rows)))

    def describe(self) -> dict[str, Any]:
        return {"neighbourhoods": len(self.conditional.shapes), "atoms": self.conditional.shapes.shape[1]}


@stored("Shrinkage")
@dataclass(frozen=True)
class Shrinkage:
    """Below `low` and above `high` (log prices) the distance to them is multiplied by a slope of its own."""

    low: float
    high: float
    below: float
    above: float

    def predict(self, prices: Floats, rows: Rows) -> Floats:
        logs = np.log(prices)
        below, above = np.minimum(logs - self.low, 0), np.maximum(logs - self.high, 0)
        return np.exp(logs + (self.below - 1) * below + (self.above - 1) * above)

    def describe(self) -> dict[str, Any]:
        return {name: round(value, 6) for name, value in vars(self).items()}


@stored("Endings")
@dataclass(frozen=True)
class PriceEndings:
    """Prices are moved to the nearest one that ends, within `unit`, as many true prices do: 12.99 with unit 1, 129 with 10.

    No price moves by more than half a unit, nor by more than 5%.
    """

    unit: int
    endings: tuple[float, ...]

    def predict(self, prices: Floats, rows: Rows) -> Floats:
        base = np.floor(prices / self.unit) * self.unit
        near = np.stack([base + shift + ending for shift in (-self.unit, 0, self.unit) for ending in self.endings])
        nearest = np.take_along_axis(near, np.abs(near - prices).argmin(axis=0)[None], axis=0)[0]
        return np.where((nearest > 0) & (np.abs(nearest - prices) <= 0.05 * prices), nearest, prices)

    def describe(self) -> dict[str, Any]:
        return {"unit": self.unit, "endings": list(self.endings)}


def fit_decision(combined: Floats, prices: Floats, rows: Rows, seed: int) -> PostprocessingStep | None:
    return Decision(fit_conditional(combined, prices, rows, seed))


def fit_shrinkage(combined: Floats, prices: Floats, rows: Rows, seed: int) -> PostprocessingStep | None:
    """The slopes of lowest SMAPE for each tail of 5% of the rows; None if both are 1."""
    low, high = (float(edge) for edge in np.quantile(np.log(combined), (_TAIL, 1 - _TAIL)))

    def lowest(make: Callable[[float], Shrinkage]) -> float:
        return min(_SLOPES, key=lambda slope: (smape(prices, make(slope).predict(combined, rows)), abs(slope - 1)))

    below = lowest(lambda slope: Shrinkage(low, high, slope, 1.0))
    above = lowest(lambda slope: Shrinkage(low, high, 1.0, slope))
    return None if below == above == 1.0 else Shrinkage(low, high, float(below), float(above))


def fit_endings(combined: Floats, prices: Floats, rows: Rows, seed: int) -> PostprocessingStep | None:
    """The common endings, in whole cents, in the unit of lowest SMAPE; None where none is common."""
    steps = []
    for unit in _UNITS:
        endings, counts = np.unique(np.round(prices % unit, 2) % unit, return_counts=True)
        common = tuple(float(ending) for ending in endings[counts >= _COMMON * len(prices)])
        if common:
            steps.append(PriceEndings(unit, common))
    return min(steps, key=lambda step: smape(prices, step.predict(combined, rows)), default=None)


@dataclass(frozen=True)
class StepFactory:
    """Fits a step to prices out of fold (n,), true ones (n,), the rows and a seed; None where there is nothing to change.

    needs_quantiles: tried only where members give quantiles. reads_members: its prices depend on the members' own prices.
    """

    fit: Callable[[Floats, Floats, Rows, int], PostprocessingStep | None]
    needs_quantiles: bool = False
    reads_members: bool = True


STEPS: dict[str, StepFactory] = {
    "spread": StepFactory(fit_spread, needs_quantiles=True),
    "decision": StepFactory(fit_decision),
    "shrinkage": StepFactory(fit_shrinkage, reads_members=False),
    "endings": StepFactory(fit_endings, reads_members=False),
}
"""In the order in which they are tried and applied."""


def applicable(names: Sequence[str], rows: Rows) -> tuple[str, ...]:
    """Those of the steps that these rows have what they need for."""
    return tuple(name for name in names if rows.quantiles is not None or not STEPS[name].needs_quantiles)
