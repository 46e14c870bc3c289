"""Affine stacking: log-space weights of either sign, with a ridge towards equal weights.

Minimises mean `200 tanh(|d| / 2)` with `d = ln p - ln y` plus a ridge `r |w - 1/m|^2` by the quadratics that touch the terms
from above (see `ensemble.simplex`), each solved exactly within the bounds. The intercept is free, so that a currency changes
nothing; the ridge's strength comes from a path evaluated on rows left out.
"""

from __future__ import annotations

import numpy as np

from core.arrays import Floats, Ints
from core.metrics import touching_curvature
from ensemble.methods.fixed import Blend
from ensemble.methods.simplex import distinct, shared

BOUND = 2.0
"""No weight is further from 0: opposite weights on near copies would blow up what the test rows differ in."""
RIDGES = (10.0, 1.0, 0.1, 0.01, 0.001)
"""Strengths, relative to the spread of the members around their mean."""
_WIDTHS = (1.0, 0.1, 0.01)
_STEPS = 8
_PATH_ROWS = 12_000
_PARTS = 2


def fit_affine(members: Floats, prices: Floats, parts: Ints) -> Blend:
    """The blend of `members` (n, m) for `prices` (n,). parts: (n,), rows of one part are left out together to choose the ridge.

    The order of members has no influence; copies of a member share its weight equally.
    """
    columns, owners = distinct(members)
    logs, truth = np.log(members[:, columns]), np.log(prices)
    ridge = RIDGES[0] if len(columns) == 1 else _choose_ridge(logs, truth, parts)
    weights, offset = _minimise(logs, truth, ridge)
    return Blend(shared(weights, owners), "log", offset)


def _choose_ridge(logs: Floats, truth: Floats, parts: Ints) -> float:
    """The ridge of lowest SMAPE on rows left out."""
    sample = slice(None, None, max(1, len(logs) // _PATH_ROWS))
    logs, truth = logs[sample], truth[sample]
    halves = np.unique(parts[sample], return_inverse=True)[1] % _PARTS
    scores = []
    for ridge in RIDGES:
        evaluated = np.empty(len(truth))
        for half in range(_PARTS):
            rows = halves == half
            weights, offset = _minimise(logs[~rows], truth[~rows], ridge)
            evaluated[rows] = np.tanh(np.abs(logs[rows] @ weights + offset - truth[rows]) / 2)
        scores.append(float(evaluated.mean()))
    return RIDGES[int(np.argmin(scores))]


def _minimise(logs: Floats, truth: Floats, ridge: float) -> tuple[Floats, float]:
    """((u,) weights, intercept) by iteratively reweighted ridge regression from equal weights."""
    count = logs.shape[1]
    equal = np.full(count, 1 / count)
    centre = logs.mean(axis=1)
    spread = float(np.square(logs - centre[:, None]).mean())
    goal = truth - centre  # what equal weights leave over: the ridge pulls the change from them to zero
    change, offset = np.zeros(count), float(np.median(goal))
    for width in _WIDTHS:
        for _ in range(_STEPS):
            distance = logs @ change + offset - goal
            curvature = touching_curvature(distance, width)
            before = change
            change, offset = _ridge_step(logs, goal, curvature, ridge * max(spread, 1e-6), BOUND, equal)
            if np.abs(change - before).max() < 1e-4:
                break
    return equal + change, offset


def _ridge_step(
    logs: Floats, goal: Floats, curvature: Floats, ridge: float, bound: float, equal: Floats
) -> tuple[Floats, float]:
    """(change, intercept) that minimise `sum c (x v + a - g)^2 / sum c + ridge |v|^2` with |equal + v| <= bound."""
    share = curvature / curvature.sum()
    middle, level = share @ logs, float(share @ goal)
    centred = logs - middle
    weighted = centred * share[:, None]
    matrix = weighted.T @ centred + ridge * np.eye(len(middle))
    change = np.linalg.solve(matrix, weighted.T @ (goal - level))
    if (np.abs(equal + change) > bound).any():
        change = _within(matrix, weighted.T @ (goal - level), -bound - equal, bound - equal)
    return change, level - float(middle @ change)


def _within(matrix: Floats, side: Floats, low: Floats, high: Floats) -> Floats:
    """The minimiser of `v' matrix v / 2 - side' v` between `low` and `high`; matrix positive definite."""
    from scipy.optimize import lsq_linear

    root = np.linalg.cholesky(matrix).T
    return np.asarray(lsq_linear(root, np.linalg.solve(root.T, side), (low, high), method="bvls").x)
