"""Selection of trials for cross-validation: smoothed metrics and noise of the holdout. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, inf
from typing import Any

SURVIVES = 3.0
"""A trial that is worse than the best by more than so many standard errors of the difference is not cross-validated."""


@dataclass(frozen=True)
class Finished:
    """A trial with a result that may be promoted to a member. steady, standard_error: see `JobOutcome`."""

    number: int
    searched: dict[str, Any]
    name: str
    smape: float
    best_epoch: int
    steady: float
    standard_error: float | None


def steady(curve: Sequence[float]) -> float:
    """The best SMAPE of a learning curve, without half of what its neighbours do not explain.

    The epoch before and the one after the best foretell a value between them; at the last epoch, the two before it do, in a
    straight line. A best value below what was foretold is luck to one half at least: the minimum of noisy values is biased
    downwards, and another fold will not repeat it.
    """
    best = min(range(len(curve)), key=curve.__getitem__)
    if 0 < best < len(curve) - 1:
        foretold = (curve[best - 1] + curve[best + 1]) / 2
    elif best == len(curve) - 1 and len(curve) > 2:
        foretold = 2 * curve[best - 1] - curve[best - 2]
    else:
        foretold = curve[best]
    return max(curve[best], (curve[best] + foretold) / 2)


def survivors(ranking: Sequence[Finished]) -> list[Finished]:
    """Those of a ranking, best first, that may be as good as its first within the spread over the holdout rows."""
    return [each for each in ranking if each.steady - ranking[0].steady <= SURVIVES * _spread(each, ranking[0])]


def _spread(one: Finished, other: Finished) -> float:
    if one.standard_error is None or other.standard_error is None:
        return inf
    return hypot(one.standard_error, other.standard_error)
