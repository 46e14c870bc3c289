"""Catalog figures: prices, texts, images, folds, and the univariate power of each field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeRegressor

from core.arrays import Floats, Ints
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.fields import NUMBERS
from core.quality.leaks import MIN_NUMBER_SHARE
from core.store.workspace import WorkspaceFacts
from reports.figures.adversarial_validation import adversarial_validation
from reports.figures.data_quality import duplicates
from reports.figures.report_inputs import FieldTables
from reports.figures.row_figures import log_edges, text_lengths

_MAX_BINS = 36


def data_figures(
    train: Catalog, test: Catalog, folds: Folds, facts: WorkspaceFacts, submitted: Floats | None, fields: FieldTables
) -> dict[str, Any]:
    """Prices, lengths, images, folds and duplicates of both files, adversarial validation, univariate power."""
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
        "strengths": univariate_power(
            fields.train, inside.known_prices, folds.groups[fields.train_rows], text_lengths(inside.texts)
        ),
        "shift": adversarial_validation(*fields.validation_sample(train, test)),
    }


def log_histogram(*columns: Floats) -> dict[str, Any]:
    """Shares (0..1) of each column's values (> 0) in bins equally wide in log, the same for all columns."""
    edges = log_edges(columns, int(np.clip(np.sqrt(len(columns[0])), 8, _MAX_BINS)))
    shares = [(np.histogram(each, edges)[0] / len(each)).tolist() for each in columns]
    return {"edges": edges.tolist(), "shares": shares}


def _linked(catalog: Catalog) -> float:
    """Share of rows that name an image."""
    return float(np.mean(catalog.image_names != ""))


def _fold(prices: Floats, folds: Folds, fold: int) -> dict[str, Any]:
    inside = folds.split(fold)[1]
    return {
        "fold": fold,
        "rows": len(inside),
        "products": len(np.unique(folds.groups[inside])),
        "median_price": float(np.median(prices[inside])),
        "mean_price": float(prices[inside].mean()),
    }


MIN_POWER_ROWS = 50
SHOWN = 15
RARE = 0.02
"""Share of the rows from which a field is evaluated."""
_FOLDS, _LEAVES, _LEAST = 5, 32, 10
_SMOOTHING = 5.0
_WORDS = ("brand", "kind", "head", "unit")


def univariate_power(fields: pd.DataFrame, prices: Floats, groups: Ints, lengths: Floats) -> list[dict[str, Any]]:
    """share: of the variance of log prices that the field alone explains in other products' rows, 0 to 1; the highest first.

    Numbers by a small regression tree, words by their mean log price, shrunk to the mean of all; a missing value is a value.
    suspicious: more than any leak-free field of the catalogs known (`core.quality.leaks`).
    """
    count = len(np.unique(groups))
    if len(prices) < MIN_POWER_ROWS or count < _FOLDS:
        return []
    logs = np.log(prices)
    folds = list(GroupKFold(_FOLDS).split(logs, groups=groups))
    columns = {"characters of text": lengths}
    columns |= {name: fields[name].to_numpy(np.float64) for name in NUMBERS if fields[name].notna().mean() >= RARE}
    predicted = {name: _by_tree(column, logs, folds) for name, column in columns.items()}
    predicted |= {name: _by_means(fields[name], logs, folds) for name in _WORDS if (fields[name] != "").mean() >= RARE}
    ordered = sorted(predicted.items(), key=lambda each: -each[1])[:SHOWN]
    return [
        {"name": name, "share": share, "suspicious": share >= MIN_NUMBER_SHARE} for name, share in ordered if share > 0
    ]


def _by_tree(column: Floats, logs: Floats, folds: list[tuple[Ints, Ints]]) -> float:
    values, predicted = column[:, None], np.empty(len(logs))
    for learn, held in folds:
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST, random_state=0)
        predicted[held] = tree.fit(values[learn], logs[learn]).predict(values[held])
    return _share(predicted, logs)


def _by_means(column: pd.Series, logs: Floats, folds: list[tuple[Ints, Ints]]) -> float:
    predicted, words = np.empty(len(logs)), column.to_numpy()
    for learn, held in folds:
        mean = logs[learn].mean()
        grouped = pd.Series(logs[learn]).groupby(words[learn]).agg(["sum", "count"])
        known = (grouped["sum"] + _SMOOTHING * mean) / (grouped["count"] + _SMOOTHING)
        predicted[held] = pd.Series(words[held]).map(known).fillna(mean)
    return _share(predicted, logs)


def _share(predicted: Floats, logs: Floats) -> float:
    variance = float(np.square(logs - logs.mean()).sum())
    return max(0.0, 1.0 - float(np.square(logs - predicted).sum()) / variance) if variance > 0 else 0.0
