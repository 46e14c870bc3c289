"""Screening statistics of members' predictions: logarithms, currencies, copies, leaks; and imputation of missing prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from core.arrays import Floats, Ints
from core.metrics import MAD_TO_DEVIATION, smape

COPY, SIBLING = 0.001, 0.05
"""Standard deviation of the difference of two members' log prices: below, they are nearly copies, or one voice."""
LEAST_VOICES = 3
"""Fewer members, siblings counted once, cannot say who of those that disagree is wrong."""
SHIFT, WIDENING, SIGNIFICANT = 0.25, 1.25, 4.0
"""Limits of the difference between test and out-of-fold prices: in log price; as a factor; and both in standard errors."""
_FIXED_SHARE, _CURRENCY = 0.6, 1.25
_TOO_GOOD = 0.7
_NATURAL = "exp(value), or expm1(value) where it was log1p"  # predictions are too inexact to separate the two
_LOGARITHMS = (
    (_NATURAL, np.exp, np.log),
    (_NATURAL, np.expm1, np.log),
    ("10**value", lambda values: np.power(10.0, values), np.log10),
)
_QUARTILES = (0.25, 0.5, 0.75)
_EVEN = 0.01  # of a price: two members that are nearer than that agree
_MEDIAN_ERROR = 1.2533  # sqrt(pi / 2): standard error of a median of n normal values, in standard deviations / sqrt(n)
_MAD_ERROR = (
    1.1664  # the same of the log of their median absolute deviation (efficiency 0.367: Rousseeuw and Croux 1993)
)


@dataclass(frozen=True)
class WrongUnit:
    """hint: what would make prices of the values. before, after: SMAPE of the values as they stand, and fixed."""

    hint: str
    before: float
    after: float


@dataclass(frozen=True)
class OofTestShift:
    """Difference between a member's test and out-of-fold prices, measured by the other members.

    shift: what its log prices rose by against the others'. spread: factor by which it disagrees with them more. widening: the
    same beside the other members' own factors. shift_errors, widening_errors: how far from 0 and from 1, in standard errors.
    """

    shift: float
    shift_errors: float
    spread: float
    widening: float
    widening_errors: float

    @property
    def shifted(self) -> float:
        """The shift in units of what is allowed; 0 where chance explains it."""
        return abs(self.shift) / SHIFT if self.shift_errors > SIGNIFICANT else 0.0

    @property
    def widened(self) -> float:
        """The widening, likewise."""
        return log(self.widening) / log(WIDENING) if self.widening_errors > SIGNIFICANT else 0.0

    @property
    def excess(self) -> float:
        """The worse of the two; above 1 the two predictions do not come from the same models."""
        return max(self.shifted, self.widened)


def wrong_unit(prices: Floats, values: Floats) -> WrongUnit | None:
    """Logarithms or another currency in (n,) predicted `values`, with what undoes them; None where no hint helps much.

    A hint counts if it brings the SMAPE to less than 0.6 of what it is; a logarithm's also needs values that could be one of
    prices like these. values: finite, of any sign.
    """
    before = smape(prices, values)
    highest, top = 10 * float(prices.max()), float(np.quantile(values, 0.99))
    fixes = []
    for call, undo, limit in _LOGARITHMS:
        if top <= limit(highest):
            fixes.append((f"undo the logarithm: price = {call}", undo(np.minimum(values, limit(highest)))))
    if (values > 0).all():
        ratio = float(np.median(prices / values))
        if abs(log(ratio)) > log(_CURRENCY):
            fixes.append((f"multiply by {ratio:.3g}: is it in another currency?", values * ratio))
    scores = [(smape(prices, fixed), hint) for hint, fixed in fixes]
    after, hint = min(scores, default=(before, ""))
    return WrongUnit(hint, before, after) if after < _FIXED_SHARE * before else None


def siblings(logs: Floats, limit: float = SIBLING) -> Ints:
    """(m,) numbers from 0 for the columns of (n, m) log prices: two share one if a chain of differences whose standard
    deviation is below `limit` joins them.

    All variances of differences come from one product of matrices: var(a - b) = var a + var b - 2 cov(a, b).
    """
    from scipy.sparse.csgraph import connected_components

    centred = logs - logs.mean(axis=0)
    products = centred.T @ centred / len(logs)
    apart = np.diag(products)[:, None] + np.diag(products) - 2 * products
    numbers = connected_components(apart < limit**2, directed=False)[1]
    return np.asarray(numbers, dtype=np.int64)


def disagreement(logs: Floats, voices: Ints) -> Floats:
    """(n, m) each member's log prices minus the median of the other voices' in that row. voices: (m,) from `siblings`; the
    first of the siblings speaks for all, so that copies neither outvote the rest nor hide each other.

    Each row is sorted once: a median without one of the sorted values is read off beside its rank.
    """
    speakers = np.unique(voices, return_index=True)[1]
    order = np.argsort(logs[:, speakers], axis=1, kind="stable")
    ordered = np.take_along_axis(logs[:, speakers], order, axis=1)
    ranks = np.argsort(order, axis=1)
    others = len(speakers) - 1
    low, high = (others - 1) // 2, others // 2
    rows = np.arange(len(logs))
    apart = np.empty_like(logs)
    for member, voice in enumerate(voices):
        rank = ranks[:, voice]
        middle = ordered[rows, low + (rank <= low)] + ordered[rows, high + (rank <= high)]
        apart[:, member] = logs[:, member] - middle / 2
    return apart


def oof_test_shifts(oof: Floats, test: Floats, groups: int | None = None) -> list[OofTestShift]:
    """Difference between each member's test prices (t, m) and its out-of-fold ones (n, m), both in logs; empty for fewer
    than three voices, which cannot be compared with each other.

    A member that has seen the prices of the training rows errs otherwise than the rest there, and like them on the test rows.
    Averaging fold models makes test predictions disagree less, so the spread of a member without leak is about 1 at most; what is
    above it for all members comes from the rows, and is taken off. Each figure is the least of those at three quartiles: other
    shares of products in the test rows move some of them, a leak or a wrong scale all. groups: number of products among the n
    rows, by which standard errors count.
    """
    voices = siblings(oof)
    if len(np.unique(voices)) < LEAST_VOICES:
        return []
    before, after = disagreement(oof, voices), disagreement(test, voices)
    centres = np.quantile(before, _QUARTILES, axis=0), np.quantile(after, _QUARTILES, axis=0)
    shifts = centres[1] - centres[0]
    shift = np.where((np.sign(shifts) == np.sign(shifts[0])).all(axis=0), np.abs(shifts).min(axis=0), 0.0)
    spreads = [
        np.maximum(_EVEN, np.quantile(np.abs(part - middle[1]), _QUARTILES, axis=0))
        for part, middle in zip((before, after), centres, strict=True)
    ]
    spread = (spreads[1] / spreads[0]).min(axis=0)
    chance = sqrt(1 / (groups or len(oof)) + 1 / len(test))
    deviation = MAD_TO_DEVIATION * np.maximum(spreads[0][1], spreads[1][1])
    found = []
    for member, voice in enumerate(voices):
        usual = max(1.0, float(np.median(spread[voices != voice])))
        widening = float(spread[member]) / usual
        found.append(
            OofTestShift(
                float(np.sign(shifts[1, member]) * shift[member]),
                float(shift[member] / (_MEDIAN_ERROR * deviation[member] * chance)),
                float(spread[member]),
                widening,
                log(widening) / (_MAD_ERROR * chance),
            )
        )
    return found


def median_shift(oof: Floats, test: Floats) -> tuple[float, float]:
    """(difference of the medians of the test's and the out-of-fold log prices, the same in standard errors) of one member."""
    middles = np.median(oof), np.median(test)
    deviation = MAD_TO_DEVIATION * max(
        float(np.median(np.abs(part - middle))) for part, middle in zip((oof, test), middles, strict=True)
    )
    shift = float(middles[1] - middles[0])
    error = _MEDIAN_ERROR * max(_EVEN, deviation) * sqrt(1 / len(oof) + 1 / len(test))
    return shift, abs(shift) / error


def too_good(scores: Sequence[float], kinds: Sequence[str], voices: Ints) -> dict[int, float]:
    """Members whose SMAPE is below 0.7 of the mean of the second- and third-best of their kind, siblings counted once: that
    mean by position. Kinds of fewer than three are not compared."""
    found = {}
    for kind in sorted(set(kinds)):
        best: dict[int, int] = {}
        for place in sorted((place for place, own in enumerate(kinds) if own == kind), key=lambda place: scores[place]):
            best.setdefault(int(voices[place]), place)
        if len(best) >= 3:
            first, second, third = list(best.values())[:3]
            usual = (scores[second] + scores[third]) / 2
            if scores[first] < _TOO_GOOD * usual:
                found[first] = usual
    return found


def completed(oof: Floats, test: Floats) -> tuple[Floats, Floats]:
    """(n, m) and (t, m) prices whose NaN are filled where another member has a price for the row; the rest stays NaN.

    ln price = median of the other members' in that row + the median by which the member differs from it on the out-of-fold
    rows where it has a price. All fillings start from the given prices, so the order of members changes nothing.
    """
    before, after = np.log(oof), np.log(test)
    filled = oof.copy(), test.copy()
    for member in np.flatnonzero(np.isnan(before).any(axis=0) | np.isnan(after).any(axis=0)):
        middle = row_medians(np.delete(before, member, axis=1))
        apart = before[:, member] - middle
        if np.isnan(apart).all():
            continue
        offset = float(np.nanmedian(apart))
        for part, logs in zip(filled, (before, after), strict=True):
            rows = np.flatnonzero(np.isnan(logs[:, member]))
            part[rows, member] = np.exp(row_medians(np.delete(logs[rows], member, axis=1)) + offset)
    return filled


def row_medians(table: Floats) -> Floats:
    """(n,) medians of the rows of (n, m) without their NaN; NaN where a row has nothing else."""
    rows, width = table.shape
    if not width:
        return np.full(rows, np.nan)
    ordered = np.sort(table, axis=1)  # NaN come last
    counts = np.maximum(1, (~np.isnan(table)).sum(axis=1))
    places = np.arange(rows)
    middle: Floats = (ordered[places, (counts - 1) // 2] + ordered[places, counts // 2]) / 2
    return middle
