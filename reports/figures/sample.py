"""The fields of some rows of both files: reading them all takes longer than a report may."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.arrays import Ints
from core.data.catalog import Catalog
from core.fields import read_fields

MOST = 20_000
"""Training rows whose fields are read; of more rows so many are drawn."""
MOST_TOLD_APART = 5_000
"""Rows of each file that are told apart: an AUC is then known to half a point."""


@dataclass(frozen=True, eq=False)
class FieldTables:
    """Fields (`core.fields`) of `train_rows` and of `test_rows`, which rise."""

    train: pd.DataFrame
    train_rows: Ints
    test: pd.DataFrame
    test_rows: Ints

    def sides(self, train: Catalog, test: Catalog) -> tuple[Catalog, Catalog, tuple[pd.DataFrame, pd.DataFrame]]:
        """As many rows of each file as are told apart, with their fields."""
        places = _drawn(len(self.train_rows), MOST_TOLD_APART)
        return (
            train.take(self.train_rows[places]),
            test.take(self.test_rows),
            (self.train.iloc[places].reset_index(drop=True), self.test),
        )


def read_tables(train: Catalog, test: Catalog) -> FieldTables:
    """Of all rows, or of as many as a report has time for."""
    inside, outside = _drawn(len(train), MOST), _drawn(len(test), MOST_TOLD_APART)
    return FieldTables(read_fields(train.texts[inside]), inside, read_fields(test.texts[outside]), outside)


def _drawn(rows: int, most: int) -> Ints:
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False)).astype(np.int64)
