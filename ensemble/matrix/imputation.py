"""Rows for which a member has no price, completed from the other members'. True prices are never looked at."""

from __future__ import annotations

import numpy as np

from core.arrays import Floats


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
