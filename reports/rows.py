"""Figures of single rows: where predictions are near, where they fail, and on what. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.catalog import Catalog
from core.folds import Folds
from core.metrics import group_standard_error, smape_terms
from core.predictions import Member
from reports.material import Floats

WORST = 20
PRICE_BANDS, LENGTH_BANDS = 10, 6
TEXT_LIMIT = 10_000
"""Characters shown of one row's text: twenty rows of emoji, escaped, stay below 1 MB."""
_SHORT = 160
_CELLS = 36


def row_figures(train: Catalog, folds: Folds, predicted: Floats, members: Sequence[Member]) -> dict[str, Any]:
    """Density, bands and worst rows of one set of honest prices (n,), over the rows that have one."""
    known = np.flatnonzero(np.isfinite(predicted))
    prices, guessed, groups = train.known_prices[known], predicted[known], folds.groups[known]
    lengths = text_lengths(train)[known]
    return {
        "density": density(prices, guessed),
        "by_price": by_band(prices, prices, guessed, groups, PRICE_BANDS),
        "by_length": by_band(lengths, prices, guessed, groups, LENGTH_BANDS),
        "worst": worst_rows(train, predicted, folds, members),
    }


def text_lengths(catalog: Catalog) -> Floats:
    """(n,) characters of each row's text."""
    return np.array([len(text) for text in catalog.texts], dtype=np.float64)


def density(prices: Floats, predicted: Floats) -> dict[str, Any]:
    """Rows per cell of a square grid over log true (x) and log predicted (y) price. cells: [x, y, rows], empty ones left out."""
    both = np.concatenate([prices, predicted])
    low, high = float(both.min()), float(both.max())
    edges = np.geomspace(low, high if high > low else low * 1.01, _CELLS + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounding must not push a row over the edge
    counts = np.histogram2d(prices, predicted, bins=[edges, edges])[0].astype(int)
    cells = [[int(x), int(y), int(counts[x, y])] for x, y in np.argwhere(counts)]
    return {"edges": edges.tolist(), "cells": cells}


def by_band(
    values: Floats, prices: Floats, predicted: Floats, groups: NDArray[np.int64], count: int
) -> list[dict[str, Any]]:
    """SMAPE, its standard error and the median of predicted over true price in up to `count` bands of equally many rows.

    low, high: the smallest and largest value in the band. Equal values are never divided, so there may be fewer bands.
    """
    terms, ratios = smape_terms(prices, predicted), predicted / prices
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1]))
    band = np.searchsorted(cuts, values, side="left")
    found = []
    for number in np.unique(band):
        inside = band == number
        error = group_standard_error(terms[inside], groups[inside])
        found.append(
            {
                "low": float(values[inside].min()),
                "high": float(values[inside].max()),
                "rows": int(inside.sum()),
                "smape": float(terms[inside].mean()),
                "standard_error": error if np.isfinite(error) else None,
                "ratio": float(np.median(ratios[inside])),
            }
        )
    return found


def worst_rows(train: Catalog, predicted: Floats, folds: Folds, members: Sequence[Member]) -> list[dict[str, Any]]:
    """The rows with the largest share of the SMAPE, the first in the file first where equal."""
    known = np.flatnonzero(np.isfinite(predicted))
    terms = smape_terms(train.known_prices[known], predicted[known])
    places = np.argsort(-terms, kind="stable")[:WORST]
    return [
        {
            "sample_id": str(train.ids[row]),
            "row": row + 1,
            "fold": int(folds.assignment[row]),
            "price": float(train.known_prices[row]),
            "predicted": float(predicted[row]),
            "smape": float(term),
            "short": shortened(train.texts[row]),
            "text": train.texts[row][:TEXT_LIMIT],
            "text_length": len(train.texts[row]),
            "members": {member.id: _known(member.oof[row]) for member in members},
        }
        for row, term in zip(known[places].tolist(), terms[places].tolist(), strict=True)
    ]


def shortened(text: str) -> str:
    """The text on one line, cut between words at 160 characters."""
    line = " ".join(text[: 4 * _SHORT].split())
    if len(line) <= _SHORT and len(text) <= 4 * _SHORT:
        return line
    head = line[:_SHORT]
    return (head.rsplit(" ", 1)[0] if " " in head[_SHORT // 2 :] else head) + " …"


def _known(price: float) -> float | None:
    return float(price) if np.isfinite(price) else None
