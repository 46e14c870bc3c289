"""How much of it there is, by dimension: prices per base unit are compared only where both sides know the same one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "g": ("total_g", "value_g"),
    "ml": ("total_ml", "value_ml"),
    "count": ("total_count", "value_count", "pack"),
    "cm2": ("area",),
}
"""Dimension -> number fields that hold an amount in its base unit; the first that is there counts."""


def log_amounts(fields: pd.DataFrame) -> Floats:
    """(n, len(DIMENSIONS)) logarithms of amounts in base units, NaN where the text does not say or says 0."""
    amounts = np.full((len(fields), len(DIMENSIONS)), np.nan)
    for column, names in zip(amounts.T, DIMENSIONS.values(), strict=True):
        for name in reversed(names):  # the first one that is there overwrites the others
            values = fields[name].to_numpy(np.float64)
            np.copyto(column, values, where=~np.isnan(values))
    return np.log(np.where(amounts > 0, amounts, np.nan))


def own_dimension(amounts: Floats) -> NDArray[np.int64]:
    """(n,) the first dimension in which each row of (n, a) log amounts knows its amount; 0 where it knows none."""
    return np.asarray((~np.isnan(amounts)).argmax(axis=1), dtype=np.int64)
