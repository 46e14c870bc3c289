"""Row figures: prices, errors and groups of single rows for the charts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, Ints
from core.metrics import group_standard_error, smape_terms

PRICE_BANDS, LENGTH_BANDS = 10, 6
VALUES = 12
"""Units or brands shown by themselves, the most frequent; the others share a line."""
CALIBRATION_BANDS, DRIFT_PARTS, DRIFT_ROWS = 10, 30, 30
"""Parts at most, and rows in a part at least."""
_CELLS = 36
_FEWEST = 5


def text_lengths(texts: Iterable[str]) -> Floats:
    """(n,) characters of each row's text."""
    return np.array([len(text) for text in texts], dtype=np.float64)


def log_edges(columns: Sequence[Floats], bins: int) -> Floats:
    """(bins + 1,) edges of bins equally wide in log that hold every value (> 0) of the columns."""
    low, high = min(float(each.min()) for each in columns), max(float(each.max()) for each in columns)
    edges = np.geomspace(low, high if high > low else low * 1.01, bins + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounding must not push a value over the edge
    return edges


def density(prices: Floats, predicted: Floats) -> dict[str, Any]:
    """Rows per cell of a square grid over log true (x) and log predicted (y) price. cells: [x, y, rows], empty ones left out."""
    edges = log_edges([prices, predicted], _CELLS)
    counts = np.histogram2d(prices, predicted, bins=[edges, edges])[0].astype(int)
    cells = [[int(x), int(y), int(counts[x, y])] for x, y in np.argwhere(counts)]
    return {"edges": edges.tolist(), "cells": cells}


def by_band(values: Floats, prices: Floats, predicted: Floats, groups: Ints, count: int) -> list[dict[str, Any]]:
    """SMAPE, its standard error and the median of predicted over true price in up to `count` bands of equally many rows.

    low, high: the smallest and largest value in the band. Equal values are never divided, so there may be fewer bands.
    """
    band = _bands(values, count)
    return [
        {
            "low": float(values[inside].min()),
            "high": float(values[inside].max()),
            **_scores(prices[inside], predicted[inside], groups[inside]),
        }
        for inside in (band == number for number in np.unique(band))
    ]


def by_value(values: Sequence[str], prices: Floats, predicted: Floats, groups: Ints) -> list[dict[str, Any]]:
    """The same for each of the most frequent values, the most frequent first, then the other ones together.

    An empty value is called `not stated`, and stands last. Values of fewer than 5 rows are among the others. Empty where all
    rows are of one part.
    """
    named = np.array(values, dtype=object)
    counts = Counter(value for value in values if value != "")
    shown = [name for name, rows in counts.most_common(VALUES) if rows >= _FEWEST]
    others = ~np.isin(named, [*shown, ""])
    parts = [
        *((name, named == name) for name in shown),
        (f"{len(counts) - len(shown):,} others", others),
        ("not stated", named == ""),
    ]
    found = [
        {"value": name, **_scores(prices[rows], predicted[rows], groups[rows])} for name, rows in parts if rows.any()
    ]
    return found if len(found) > 1 else []


def _scores(prices: Floats, predicted: Floats, groups: Ints) -> dict[str, Any]:
    terms = smape_terms(prices, predicted)
    error = group_standard_error(terms, groups)
    return {
        "rows": len(prices),
        "smape": float(terms.mean()),
        "standard_error": error if np.isfinite(error) else None,
        "ratio": float(np.median(predicted / prices)),
    }


def _bands(values: Floats, count: int) -> NDArray[np.intp]:
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(cuts, values, side="left")


def calibration(prices: Floats, predicted: Floats) -> list[dict[str, Any]]:
    """Bands of predicted price, equally many rows in each: its median, and quartiles of true over predicted price.

    Calibrated prices have a median ratio of 1 in every band.
    """
    ratio, band = prices / predicted, _bands(predicted, CALIBRATION_BANDS)
    found = []
    for inside in (band == number for number in np.unique(band)):
        low, middle, high = np.quantile(ratio[inside], [0.25, 0.5, 0.75]).tolist()
        known = {"predicted": float(np.median(predicted[inside])), "rows": int(inside.sum())}
        found.append({**known, "low": low, "ratio": middle, "high": high})
    return found


def drift(ids: Sequence[str], prices: Floats, predicted: Floats, groups: Ints) -> dict[str, Any]:
    """Mean of `ln true - ln predicted` in parts of equally many rows, in the order of the ids, with two standard errors in which
    rows of one product count as one. mean: of all rows; the best price for the SMAPE need not make it 0.

    by: `id`, where each id ends in a number, its place; else `row`, the order of the training file.
    """
    ends = [re.search(r"(\d{1,18})\D*$", name) for name in ids]
    numbers = [int(end[1]) if end else -1 for end in ends]
    numbered = min(numbers, default=-1) >= 0 and len(set(numbers)) == len(numbers)
    order = np.argsort(np.array(numbers, dtype=np.int64), kind="stable") if numbered else np.arange(len(prices))
    errors = np.log(prices[order]) - np.log(predicted[order])
    parts = []
    for rows in np.array_split(np.arange(len(order)), min(DRIFT_PARTS, max(1, len(order) // DRIFT_ROWS))):
        mean = float(errors[rows].mean())
        error = group_standard_error(errors[rows], groups[order[rows]])
        spread = 2 * error if np.isfinite(error) else 0.0
        first, last = str(ids[order[rows[0]]]), str(ids[order[rows[-1]]])
        place = {"from": first, "to": last, "place": int(rows[0] + rows[-1]) / 2 + 1}
        parts.append({**place, "mean": mean, "low": mean - spread, "high": mean + spread})
    return {"by": "id" if numbered else "row", "mean": float(errors.mean()), "parts": parts}
