"""Figures of the catalog itself: prices, texts, pictures and folds. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.catalog import Catalog
from core.folds import Folds
from core.workspace import Facts
from reports.material import Floats
from reports.rows import text_lengths

_MAX_BINS = 36


def data_figures(train: Catalog, test: Catalog, folds: Folds, facts: Facts) -> dict[str, Any]:
    """Everything that section 5 of the report shows."""
    prices = train.known_prices
    quantiles = np.quantile(prices, [0, 0.25, 0.5, 0.75, 1]).tolist()
    sizes = np.unique(folds.groups, return_counts=True)[1]
    return {
        "rows": {"train": len(train), "test": len(test)},
        "price": {
            **dict(zip(("min", "q25", "median", "q75", "max"), quantiles, strict=True)),
            "mean": float(prices.mean()),
        },
        "price_histogram": log_histogram(prices),
        "length_histogram": log_histogram(*(np.maximum(text_lengths(rows), 1) for rows in (train, test))),
        "length_median": {"train": _median_length(train), "test": _median_length(test)},
        "links": {"train": _linked(train), "test": _linked(test)},
        "pictures": facts.images,
        "products": {"count": len(sizes), "largest": int(sizes.max())},
        "folds": [_fold(prices, folds, fold) for fold in range(folds.k)],
        "fold_mode": facts.fold_mode,
        "fold_groups": facts.fold_groups,
        "overlap": facts.overlap,
    }


def log_histogram(*columns: Floats) -> dict[str, Any]:
    """Shares (0..1) of each column's values (> 0) in bins equally wide in log, the same for all columns."""
    low, high = min(float(each.min()) for each in columns), max(float(each.max()) for each in columns)
    bins = int(np.clip(np.sqrt(len(columns[0])), 8, _MAX_BINS))
    edges = np.geomspace(low, high if high > low else low * 1.01, bins + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounding must not push a value over the edge
    shares = [(np.histogram(each, edges)[0] / len(each)).tolist() for each in columns]
    return {"edges": edges.tolist(), "shares": shares}


def _median_length(catalog: Catalog) -> float:
    return float(np.median(text_lengths(catalog)))


def _linked(catalog: Catalog) -> float:
    """Share of rows that name a picture."""
    return float(np.mean(catalog.picture_names != ""))


def _fold(prices: Floats, folds: Folds, fold: int) -> dict[str, Any]:
    inside = folds.split(fold)[1]
    return {
        "fold": fold,
        "rows": len(inside),
        "products": len(np.unique(folds.groups[inside])),
        "median_price": float(np.median(prices[inside])),
        "mean_price": float(prices[inside].mean()),
    }
