"""SMAPE-optimal weights on the simplex, by an active-set solver.

One row's term is `200 tanh(|d| / 2)` percent with `d = ln p - ln y`; its slope in `ln p` is `100 sign(d) sech^2(d / 2)`.
The term is a concave function of `d^2`, so the quadratic that touches it at the current point lies above it everywhere:
minimising the quadratics' sum over the simplex (a small quadratic programme) and searching along the way there never climbs
(iteratively reweighted least squares as majorise-minimise; Lange, Hunter and Yang 2000). The programme has exact zeros
as solutions, its gradient at the current point is the exact one, and one step costs one pass over the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.metrics import smape_of_logs, touching_curvature
from ensemble.matrix.level_one import fingerprint
from ensemble.methods.fixed import Blend, Space
from ensemble.methods.greedy import select_greedily

_WIDTHS = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
"""The kink at d = 0 is rounded below these distances, one after the other: the widest shows the way, the last one is exact."""
_ROUGH = 3
"""So many widths are enough to see which start leads lowest; only that one is followed to the end."""
_STEPS = 60
_GAIN = 1e-7
"""A step that gains less than this share of the SMAPE ends a width."""
_SCREEN_ROWS = 10_000
_SCREEN_STEPS = 10
_CORNERS = 5
_DESCENTS = 3
_ELSEWHERE = 0.2
"""Starts whose weights differ by less in sum end in the same place."""
_NEGLIGIBLE = 1e-4
"""Weights that gain nothing on rows where a member is sane, and lose much where its price is a million times too high."""
_STRIDE = 32.0
"""Longer steps blow up the rounding of a target that hardly differs."""
_BLOCK = 8_192
_ABSURD = 1e12
"""Any weight that counts makes such a ratio's term 200 percent; larger ones would overflow when squared."""


def fit_simplex(members: Floats, prices: Floats, space: Space) -> Blend:
    """The blend of `members` (n, m) with the lowest SMAPE against `prices` (n,) found from several starts.

    Never worse on these rows than the best single member, equal weights and greedy selection in the same space. The order of
    members has no influence, and copies of a member share its weight equally.
    """
    columns, owners = distinct(members)
    relative = relative_prices(members[:, columns], prices, space)
    return Blend(shared(_minimise(relative, space), owners), space)


def refit_without(logs: Floats, weights: Floats, member: int) -> Floats:
    """(m,) the best weights found near `weights` of which `member` has none.

    logs: (n, m) members' log prices minus the true ones. Members without a weight leave the weights as they are.
    """
    if weights[member] == 0:
        return weights
    others = np.arange(len(weights)) != member
    left = weights[others]
    start = left / left.sum() if left.sum() > 0 else np.full(len(left), 1 / len(left))
    found = np.zeros(len(weights))
    found[others] = _descend(np.ascontiguousarray(logs[:, others]), start, "log", _WIDTHS, _STEPS)
    return found


def relative_prices(members: Floats, prices: Floats, space: Space) -> Floats:
    """(n, u) members' prices over the true ones (n,), at most _ABSURD; their logarithms in log space."""
    relative = members / prices[:, None]
    if space == "log":
        return np.asarray(np.log(relative, out=relative))
    return np.minimum(relative, _ABSURD, out=relative)


def blend_smape(relative: Floats, weights: Floats, space: Space) -> float:
    """SMAPE in percent of `weights` (u,) on members relative to the true prices, (n, u): ratios, or their logarithms."""
    return _smape(relative @ weights, space)


def distinct(members: Floats) -> tuple[list[int], NDArray[np.intp]]:
    """Positions of different columns, in an order that their contents alone decide; each column's place among them."""
    names = [fingerprint(column) for column in members.T]
    first = {name: names.index(name) for name in sorted(set(names))}
    places = {name: place for place, name in enumerate(first)}
    return list(first.values()), np.array([places[name] for name in names], dtype=np.intp)


def shared(weights: Floats, owners: NDArray[np.intp]) -> Floats:
    """(m,) weights of all columns from those of the different ones, (u,): copies get equal parts."""
    return np.asarray(weights[owners] / np.bincount(owners)[owners])


def _minimise(relative: Floats, space: Space) -> Floats:
    """The lowest of all that was seen, going down from greedy selection and from the best starts on a sample of the rows."""
    corners = np.eye(relative.shape[1])
    if len(corners) == 1:
        return corners[0]
    step = max(1, len(relative) // _SCREEN_ROWS)
    sample = np.ascontiguousarray(relative[::step])
    singles = np.array([_smape(column, space) for column in relative.T])
    greedy = select_greedily(relative, space)
    starts = [_descend(sample, start, space, _WIDTHS[1:2], _SCREEN_STEPS) for start in _starts(singles)]
    starts.sort(key=lambda start: blend_smape(sample, start, space))
    found = [_descend(relative, start, space, _WIDTHS[:_ROUGH], _STEPS) for start in [greedy, *_different(starts)]]
    simple = [corners[singles.argmin()], np.full(len(corners), 1 / len(corners)), greedy]
    found += simple
    best = min(found, key=lambda weights: blend_smape(relative, weights, space))
    best = _descend(relative, best, space, _WIDTHS[_ROUGH:], _STEPS)
    cleared = np.where(best < _NEGLIGIBLE, 0.0, best)
    cleared /= cleared.sum()
    limit = min(blend_smape(relative, weights, space) for weights in simple)
    return cleared if blend_smape(relative, cleared, space) <= limit else best


def _different(starts: list[Floats]) -> list[Floats]:
    """The first of `starts` and the next ones that lie elsewhere."""
    kept: list[Floats] = []
    for start in starts:
        if len(kept) < _DESCENTS and all(np.abs(start - other).sum() > _ELSEWHERE for other in kept):
            kept.append(start)
    return kept


def _starts(singles: Floats) -> Iterator[Floats]:
    """Equal weights, weights that fall with a member's SMAPE, the best members; a lattice for two or three members."""
    count = len(singles)
    yield np.full(count, 1 / count)
    for softness in (1.0, 5.0):
        weights = np.exp((singles.min() - singles) / softness)
        yield weights / weights.sum()
    # A little inside of the corners, where every member's pull is felt.
    for best in np.argsort(singles, kind="stable")[:_CORNERS]:
        yield 0.9 * np.eye(count)[best] + 0.1 / count
    if count <= 3:
        for first in range(1, 8):
            for second in range(1, 9 - first) if count == 3 else (8 - first,):
                yield np.array([first, second, 8 - first - second][:count]) / 8


def _descend(relative: Floats, weights: Floats, space: Space, widths: tuple[float, ...], steps: int) -> Floats:
    combined = relative @ weights
    value = _smape(combined, space)
    for width in widths:
        for _ in range(steps):
            target = simplex_minimum(_quadratic(relative, combined, space, width), weights)
            ahead = relative @ target
            step, lower = _search_line(combined, ahead, value, _longest(weights, target), space)
            if step > 0:
                weights = np.maximum(weights + step * (target - weights), 0.0)
                combined = combined + step * (ahead - combined)
            gained, value = value - lower, lower
            if gained <= _GAIN * value:
                break
    return weights / weights.sum()


def _quadratic(relative: Floats, combined: Floats, space: Space, width: float) -> Floats:
    """(u, u) matrix G: `w' G w` touches the smoothed SMAPE (up to a factor and a constant) at the current weights."""
    distance = combined if space == "log" else np.log(combined)
    curvature = touching_curvature(distance, width)
    scale, shift = np.sqrt(curvature), None
    if space == "price":
        # ln p is not linear in the weights; its tangent is, and as they sum to 1 its constant joins each ratio.
        scale, shift = scale / combined, scale * (distance - 1.0)
    matrix = np.zeros((relative.shape[1], relative.shape[1]))
    for start in range(0, len(relative), _BLOCK):
        rows = slice(start, start + _BLOCK)
        part = relative[rows] * scale[rows, None]
        if shift is not None:
            part += shift[rows, None]
        matrix += part.T @ part
    return matrix


def _longest(weights: Floats, target: Floats) -> float:
    """The largest step from `weights` through `target` that stays on the simplex, at least 1 and at most _STRIDE."""
    falling = target < weights
    if not falling.any():
        return 1.0
    return float(np.clip(np.min(weights[falling] / (weights - target)[falling]), 1.0, _STRIDE))


def _search_line(combined: Floats, ahead: Floats, value: float, longest: float, space: Space) -> tuple[float, float]:
    """(step, SMAPE there) of the lowest point met when a step of 1 is doubled while it gains, or halved until it does.

    The quadratic is too steep for rows near the kink, so that longer steps than 1 often gain more. (0, value) if none gains.
    """

    def at(step: float) -> float:
        return _smape(combined + step * (ahead - combined), space)

    step, best = 1.0, at(1.0)
    if best < value:
        while step < longest:
            longer = min(2 * step, longest)
            reached = at(longer)
            if reached >= best:
                break
            step, best = longer, reached
        return step, best
    while step > 1e-3:
        step /= 2
        reached = at(step)
        if reached < value:
            return step, reached
    return 0.0, value


def _smape(combined: Floats, space: Space) -> float:
    if space == "log":
        return smape_of_logs(combined)
    return 200.0 * float((np.abs(combined - 1.0) / (combined + 1.0)).mean())


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
