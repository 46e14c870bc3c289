"""Figures of the catalog itself: prices, texts, pictures and folds. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.store.workspace import Facts
from reports.figures.adversarial_validation import shift_figures
from reports.figures.data_quality import duplicates
from reports.figures.row_figures import log_edges, text_lengths
from reports.figures.sample import FieldTables
from reports.figures.univariate_power import strengths

_MAX_BINS = 36


def data_figures(
    train: Catalog, test: Catalog, folds: Folds, facts: Facts, submitted: Floats | None, fields: FieldTables
) -> dict[str, Any]:
    """Prices, lengths, pictures, folds and duplicates of both files, how unlike they are, and what one field alone tells."""
    prices = train.known_prices
    quantiles = np.quantile(prices, [0, 0.25, 0.5, 0.75, 1]).tolist()
    sizes = np.unique(folds.groups, return_counts=True)[1]
    lengths = [text_lengths(rows.texts) for rows in (train, test)]
    inside = train.take(fields.train_rows)
    return {
        "rows": {"train": len(train), "test": len(test)},
        "price": {
            **dict(zip(("min", "q25", "median", "q75", "max"), quantiles, strict=True)),
            "mean": float(prices.mean()),
        },
        "price_histogram": log_histogram(prices, *([] if submitted is None else [submitted])),
        "submitted_median": None if submitted is None else float(np.median(submitted)),
        "length_histogram": log_histogram(*(np.maximum(each, 1) for each in lengths)),
        "length_median": {name: float(np.median(each)) for name, each in zip(("train", "test"), lengths, strict=True)},
        "links": {"train": _linked(train), "test": _linked(test)},
        "pictures": facts.images,
        "products": {"count": len(sizes), "largest": int(sizes.max())},
        "duplicates": duplicates(train, test, folds),
        "folds": [_fold(prices, folds, fold) for fold in range(folds.k)],
        "fold_mode": facts.fold_mode,
        "fold_groups": facts.fold_groups,
        "overlap": facts.overlap,
        "sampled": len(inside) if len(inside) < len(train) else None,
        "strengths": strengths(
            fields.train, inside.known_prices, folds.groups[fields.train_rows], text_lengths(inside.texts)
        ),
        "shift": shift_figures(*fields.sides(train, test)),
    }


def log_histogram(*columns: Floats) -> dict[str, Any]:
    """Shares (0..1) of each column's values (> 0) in bins equally wide in log, the same for all columns."""
    edges = log_edges(columns, int(np.clip(np.sqrt(len(columns[0])), 8, _MAX_BINS)))
    shares = [(np.histogram(each, edges)[0] / len(each)).tolist() for each in columns]
    return {"edges": edges.tolist(), "shares": shares}


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
