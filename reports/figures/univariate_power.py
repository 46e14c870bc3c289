"""What one field alone tells of the price. A field that tells nearly all of it deserves a look: it may not be known in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeRegressor

from core.arrays import Floats, Ints
from core.fields import NUMBERS
from core.quality.leaks import TELLS_NUMBER

MIN_ROWS = 50
SHOWN = 15
RARE = 0.02
"""Share of the rows from which on a field is looked at."""
_FOLDS, _LEAVES, _LEAST = 5, 32, 10
_SMOOTHING = 5.0
_WORDS = ("brand", "kind", "head", "unit")


def strengths(fields: pd.DataFrame, prices: Floats, groups: Ints, lengths: Floats) -> list[dict[str, Any]]:
    """share: of the variance of log prices that the field alone tells of other products' rows, 0 to 1; the highest first.

    Numbers by a small regression tree, words by their mean log price, shrunk to the mean of all; a missing value is a value.
    suspicious: more than any honest field of the catalogs known (`core.quality.leaks`).
    """
    count = len(np.unique(groups))
    if len(prices) < MIN_ROWS or count < _FOLDS:
        return []
    logs = np.log(prices)
    folds = list(GroupKFold(_FOLDS).split(logs, groups=groups))
    columns = {"characters of text": lengths}
    columns |= {name: fields[name].to_numpy(np.float64) for name in NUMBERS if fields[name].notna().mean() >= RARE}
    told = {name: _by_tree(column, logs, folds) for name, column in columns.items()}
    told |= {name: _by_means(fields[name], logs, folds) for name in _WORDS if (fields[name] != "").mean() >= RARE}
    ordered = sorted(told.items(), key=lambda each: -each[1])[:SHOWN]
    return [{"name": name, "share": share, "suspicious": share >= TELLS_NUMBER} for name, share in ordered if share > 0]


def _by_tree(column: Floats, logs: Floats, folds: list[tuple[Ints, Ints]]) -> float:
    values, told = column[:, None], np.empty(len(logs))
    for learn, judge in folds:
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST, random_state=0)
        told[judge] = tree.fit(values[learn], logs[learn]).predict(values[judge])
    return _share(told, logs)


def _by_means(column: pd.Series, logs: Floats, folds: list[tuple[Ints, Ints]]) -> float:
    told, words = np.empty(len(logs)), column.to_numpy()
    for learn, judge in folds:
        mean = logs[learn].mean()
        grouped = pd.Series(logs[learn]).groupby(words[learn]).agg(["sum", "count"])
        known = (grouped["sum"] + _SMOOTHING * mean) / (grouped["count"] + _SMOOTHING)
        told[judge] = pd.Series(words[judge]).map(known).fillna(mean)
    return _share(told, logs)


def _share(told: Floats, logs: Floats) -> float:
    variance = float(np.square(logs - logs.mean()).sum())
    return max(0.0, 1.0 - float(np.square(logs - told).sum()) / variance) if variance > 0 else 0.0
