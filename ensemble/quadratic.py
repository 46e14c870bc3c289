"""The small quadratic programme inside the solver for weights: a positive definite form on the simplex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RIDGE = 1e-11
_TOLERANCE = 1e-9


def simplex_minimum(matrix: Floats, start: Floats) -> Floats:
    """The weights w >= 0 with sum 1, (u,), where `w' matrix w` is least; matrix (u, u) positive semidefinite.

    A primal active-set method (Nocedal and Wright 2006, algorithm 16.3) from the feasible point `start`: on the members of
    positive weight the minimum is where all slopes are equal; a weight that would turn negative stops at 0, and a member whose
    slope is lower than that of the others joins them. Variables are scaled by the diagonal: a member that is absurd on a few
    rows makes the matrix too ill-conditioned for anything else.
    """
    scale = np.sqrt(np.diag(matrix))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = matrix / np.outer(scale, scale) + _RIDGE * np.eye(len(matrix))
    weights, free = start.copy(), start > 0
    barred = np.zeros(len(matrix), dtype=bool)  # joined and left at once: rounding, not descent
    for _ in range(20 * len(matrix)):
        inside = np.flatnonzero(free)
        level = np.linalg.solve(scaled[np.ix_(inside, inside)], 1 / scale[inside]) / scale[inside]
        target = level / level.sum()
        if (target <= 0).any():
            _towards(weights, free, barred, inside, target)
            continue
        weights[inside] = target
        slopes = matrix @ weights
        common = float(weights @ slopes)
        gain = np.where(free | barred, np.inf, (slopes - common) / scale)
        best = int(gain.argmin())
        if not np.isfinite(gain[best]) or slopes[best] >= common * (1 - _TOLERANCE):
            break
        free[best] = True
    return weights / weights.sum()


def _towards(
    weights: Floats, free: NDArray[np.bool_], barred: NDArray[np.bool_], inside: NDArray[np.intp], target: Floats
) -> None:
    """Moves `weights` towards `target` until the first of them is 0, and lets those go that are."""
    before = weights[inside]
    falling = target <= 0
    steps = before[falling] / np.maximum(before[falling] - target[falling], np.finfo(float).tiny)
    step = float(steps.min())
    gone = inside[np.flatnonzero(falling)[steps <= step]]
    weights[inside] = np.maximum(before + step * (target - before), 0.0)
    weights[gone] = 0.0
    free[gone] = False
    if step > 0:
        barred[:] = False
    else:
        barred[gone] = True
