"""Target statistics: what products with the same brand, kind or word cost. Their caller keeps the row's own price out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KEYS: dict[str, tuple[str, ...]] = {
    "brand": ("brand",),
    "kind": ("kind",),
    "head": ("head",),
    "brand head": ("brand", "head"),
    "brand kind": ("brand", "kind"),
}
"""Keys by which prices are averaged: fields, joined."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TargetTable:
    """Smoothed mean log price of each value of a key, less the overall mean, and how many rows had the value.

    (sum of log prices + smoothing * overall mean) / (rows + smoothing): the empirical-Bayes form of Micci-Barreca (2001).
    """

    places: dict[str, int]
    means: Floats
    counts: Floats

    def encode(self, values: Sequence[str]) -> Floats:
        """(n, 2): mean and log1p of the count; zeros for a value never seen."""
        found = np.array([self.places.get(value, len(self.means)) for value in values], dtype=np.int64)
        return np.column_stack([np.append(self.means, 0.0)[found], np.log1p(np.append(self.counts, 0.0)[found])])


def learn_table(values: Sequence[str], log_prices: Floats, smoothing: float) -> TargetTable:
    """The statistics of one key's values (n,) with their log prices (n,)."""
    codes, names = pd.factorize(np.asarray(values, dtype=object))
    counts = np.bincount(codes, minlength=len(names)).astype(np.float64)
    sums = np.bincount(codes, weights=log_prices - log_prices.mean(), minlength=len(names))
    return TargetTable({str(name): place for place, name in enumerate(names)}, sums / (counts + smoothing), counts)


@dataclass(frozen=True)
class TargetStatistics:
    """Tables of all KEYS, and of the words of the names."""

    tables: dict[str, TargetTable]
    words: TargetTable

    def encode(self, fields: pd.DataFrame) -> Floats:
        """(n, len(STATISTICS)) in their order: mean and count of each key, then of the means of the name's words.

        The last is their mean weighted by how often each word was seen.
        """
        keys = [self.tables[key].encode(_key(fields, key)) for key in KEYS]
        return np.hstack([*keys, self._of_words(fields["name"])])

    def _of_words(self, names: pd.Series) -> Floats:
        out = np.zeros((len(names), 4))
        words = [_words(name) for name in names]
        flat = self.words.encode([word for row in words for word in row])
        ends = np.cumsum([len(row) for row in words])
        for place, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
            if end > start:
                means, counts = flat[start:end, 0], flat[start:end, 1]
                sure = (means * counts).sum() / max(counts.sum(), 1e-9)
                out[place] = means.mean(), means.max(), means.min(), sure
        return out

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {name: _record(table) for name, table in {**self.tables, "words": self.words}.items()}


STATISTICS: tuple[str, ...] = (
    *(f"{key} {statistic}" for key in KEYS for statistic in ("mean", "count")),
    *(f"words {statistic}" for statistic in ("mean", "highest", "lowest", "sure mean")),
)


def learn_targets(fields: pd.DataFrame, log_prices: Floats, smoothing: float) -> TargetStatistics:
    """Statistics of these rows' prices; to encode rows that are not among them."""
    tables = {key: learn_table(_key(fields, key), log_prices, smoothing) for key in KEYS}
    words = [_words(name) for name in fields["name"]]
    repeated = np.repeat(log_prices, [len(row) for row in words])
    if len(repeated) == 0:
        return TargetStatistics(tables, TargetTable({}, np.zeros(0), np.zeros(0)))
    return TargetStatistics(tables, learn_table([word for row in words for word in row], repeated, smoothing))


def targets_from_record(record: dict[str, Any]) -> TargetStatistics:
    """Reads back what `TargetStatistics.record` gave."""
    tables = {
        name: TargetTable(
            {value: place for place, value in enumerate(entry["values"])},
            np.array(entry["means"], dtype=np.float64),
            np.array(entry["counts"], dtype=np.float64),
        )
        for name, entry in record.items()
    }
    words = tables.pop("words")
    return TargetStatistics(tables, words)


def _record(table: TargetTable) -> dict[str, Any]:
    return {"values": list(table.places), "means": table.means.tolist(), "counts": table.counts.tolist()}


def _key(fields: pd.DataFrame, key: str) -> list[str]:
    return [" | ".join(values) for values in zip(*(fields[name] for name in KEYS[key]), strict=True)]


def _words(name: str) -> list[str]:
    return sorted(set(_WORD.findall(name)))
