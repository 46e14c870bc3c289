"""Target encoding: smoothed mean log prices by brand, kind and word, and prices per unit; callers keep a row's own price out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Floats
from core.fields.learnt_fields import FieldValues

KEYS: dict[str, tuple[str, ...]] = {
    "brand": ("brand",),
    "kind": ("kind",),
    "head": ("head",),
    "brand head": ("brand", "head"),
    "brand kind": ("brand", "kind"),
}
"""Keys by which prices are averaged: fields, joined."""
UNIT_KEYS = ("brand", "kind", "head")
"""Keys by which prices per base unit are averaged, each dimension of amounts by itself."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TargetTable:
    """Smoothed mean log price of each value of a key, less the overall mean, and how many rows had the value.

    (sum of log prices + smoothing * overall mean) / (rows + smoothing): the empirical-Bayes form of Micci-Barreca (2001).
    """

    places: dict[str, int]
    means: Floats
    counts: Floats

    def encode(self, values: Iterable[str]) -> Floats:
        """(n, 2): mean and log1p of the count; zeros for a value never seen."""
        found = np.array([self.places.get(value, len(self.means)) for value in values], dtype=np.int64)
        return np.column_stack([np.append(self.means, 0.0)[found], np.log1p(np.append(self.counts, 0.0)[found])])


def learn_table(values: Sequence[str] | NDArray[np.object_], log_prices: Floats, smoothing: float) -> TargetTable:
    """The statistics of one key's values (n,) with their log prices (n,); n may be 0."""
    if len(values) == 0:
        return TargetTable({}, np.zeros(0), np.zeros(0))
    codes, names = pd.factorize(np.asarray(values, dtype=object))
    counts = np.bincount(codes, minlength=len(names)).astype(np.float64)
    sums = np.bincount(codes, weights=log_prices - log_prices.mean(), minlength=len(names))
    return TargetTable({str(name): place for place, name in enumerate(names)}, sums / (counts + smoothing), counts)


@dataclass(frozen=True)
class CategoryStatistics:
    """Tables of learnt categories and of the items of learnt lists, by the name of the field."""

    categories: dict[str, TargetTable]
    items: dict[str, TargetTable]

    @property
    def names(self) -> list[str]:
        """Names of the columns of `encode`."""
        of_lists = [f"{name} items {statistic}" for name in self.items for statistic in _OF_SEVERAL]
        return [*(f"{name} {part}" for name in self.categories for part in ("mean", "count")), *of_lists]

    def encode(self, values: FieldValues) -> Floats:
        """(n, len(names)): mean and count of each category, then the statistics of the items' means."""
        parts = [table.encode(values.categories[name]) for name, table in self.categories.items()]
        parts += [_of_several(table, values.lists[name]) for name, table in self.items.items()]
        return np.hstack([np.zeros((len(values.numbers), 0)), *parts])

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {part: {name: _record(table) for name, table in getattr(self, part).items()} for part in _PARTS}


_PARTS = ("categories", "items")
_OF_SEVERAL = ("mean", "highest", "lowest", "sure mean")


def learn_categories(values: FieldValues, log_prices: Floats, smoothing: float) -> CategoryStatistics:
    """Statistics of these rows' prices by learnt fields; to encode rows that are not among them."""
    items = {name: _learn_words(lists, log_prices, smoothing) for name, lists in values.lists.items()}
    categories = {name: learn_table(column, log_prices, smoothing) for name, column in values.categories.items()}
    return CategoryStatistics(categories, items)


def categories_from_record(record: dict[str, Any]) -> CategoryStatistics:
    """Reads back what `CategoryStatistics.record` gave; {} for models without learnt fields."""
    return CategoryStatistics(
        *({name: _table(entry) for name, entry in record.get(part, {}).items()} for part in _PARTS)
    )


def _learn_words(rows: Iterable[Sequence[str]], log_prices: Floats, smoothing: float) -> TargetTable:
    listed = list(rows)
    repeated = np.repeat(log_prices, [len(row) for row in listed])
    return learn_table([word for row in listed for word in row], repeated, smoothing)


def _of_several(table: TargetTable, rows: Iterable[Sequence[str]]) -> Floats:
    """(n, 4): mean, highest, lowest of each row's words, and their mean weighted by how often each was seen."""
    listed = list(rows)
    out = np.zeros((len(listed), len(_OF_SEVERAL)))
    flat = table.encode([word for row in listed for word in row])
    ends = np.cumsum([len(row) for row in listed])
    for place, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
        if end > start:
            means, counts = flat[start:end, 0], flat[start:end, 1]
            sure = (means * counts).sum() / max(counts.sum(), 1e-9)
            out[place] = means.mean(), means.max(), means.min(), sure
    return out


@dataclass(frozen=True)
class TargetStatistics:
    """Tables of all KEYS, of the words of the names, and of prices per base unit (log price less log amount).

    units: by UNIT_KEYS and dimension, less the dimension's mean; unit_means: (a,) those means, NaN where no row has an amount.
    """

    tables: dict[str, TargetTable]
    words: TargetTable
    units: dict[str, TargetTable]
    unit_means: Floats

    def encode(self, fields: pd.DataFrame) -> Floats:
        """(n, len(STATISTICS)) in their order: mean and count of each key, then of the means of the name's words.

        The last of the words' is their mean weighted by how often each word was seen. Then, by UNIT_KEYS, the log price at the
        key's price per base unit, NaN for a row that states no amount.
        """
        keys = [self.tables[key].encode(_key(fields, key)) for key in KEYS]
        return np.hstack([*keys, _of_several(self.words, map(_words, fields["name"])), self._per_unit(fields)])

    def _per_unit(self, fields: pd.DataFrame) -> Floats:
        dimension, own = own_amounts(log_amounts(fields))
        base = own + self.unit_means[dimension]
        encoded = [self.units[key].encode(_unit_key(fields, key, dimension))[:, 0] for key in UNIT_KEYS]
        return np.column_stack([base + each for each in encoded])

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "keys": {key: _record(table) for key, table in self.tables.items()},
            "words": _record(self.words),
            "units": {key: _record(table) for key, table in self.units.items()},
            "unit_means": [None if np.isnan(mean) else float(mean) for mean in self.unit_means],
        }


STATISTICS: tuple[str, ...] = (
    *(f"{key} {statistic}" for key in KEYS for statistic in ("mean", "count")),
    *(f"words {statistic}" for statistic in _OF_SEVERAL),
    *(f"{key} per unit" for key in UNIT_KEYS),
)


def learn_targets(fields: pd.DataFrame, log_prices: Floats, smoothing: float) -> TargetStatistics:
    """Statistics of these rows' prices; to encode rows that are not among them."""
    tables = {key: learn_table(_key(fields, key), log_prices, smoothing) for key in KEYS}
    words = _learn_words(map(_words, fields["name"]), log_prices, smoothing)
    return TargetStatistics(tables, words, *_learn_units(fields, log_prices, smoothing))


def _learn_units(fields: pd.DataFrame, log_prices: Floats, smoothing: float) -> tuple[dict[str, TargetTable], Floats]:
    dimension, own = own_amounts(log_amounts(fields))
    per_unit = log_prices - own
    known = ~np.isnan(per_unit)
    rows = np.bincount(dimension[known], minlength=len(DIMENSIONS))
    sums = np.bincount(dimension[known], weights=per_unit[known], minlength=len(DIMENSIONS))
    means = np.where(rows > 0, sums / np.maximum(rows, 1), np.nan)
    centred = (per_unit - means[dimension])[known]
    values = {key: np.array(_unit_key(fields, key, dimension), dtype=object)[known].tolist() for key in UNIT_KEYS}
    return {key: learn_table(values[key], centred, smoothing) for key in UNIT_KEYS}, means


def targets_from_record(record: dict[str, Any]) -> TargetStatistics:
    """Reads back what `TargetStatistics.record` gave."""
    means = np.array([np.nan if mean is None else mean for mean in record["unit_means"]], dtype=np.float64)
    keys, units = ({key: _table(entry) for key, entry in record[part].items()} for part in ("keys", "units"))
    return TargetStatistics(keys, _table(record["words"]), units, means)


def _table(entry: dict[str, Any]) -> TargetTable:
    places = {value: place for place, value in enumerate(entry["values"])}
    return TargetTable(places, np.array(entry["means"], dtype=np.float64), np.array(entry["counts"], dtype=np.float64))


def _record(table: TargetTable) -> dict[str, Any]:
    return {"values": list(table.places), "means": table.means.tolist(), "counts": table.counts.tolist()}


def _key(fields: pd.DataFrame, key: str) -> list[str]:
    return [" | ".join(values) for values in zip(*(fields[name] for name in KEYS[key]), strict=True)]


def _unit_key(fields: pd.DataFrame, key: str, dimension: NDArray[np.int64]) -> list[str]:
    """Values of the key, each with the number of the row's dimension: grams are not compared with pieces."""
    return [f"{place} | {value}" for place, value in zip(dimension, _key(fields, key), strict=True)]


def _words(name: str) -> list[str]:
    return sorted(set(_WORD.findall(name)))


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


def own_amounts(amounts: Floats) -> tuple[NDArray[np.int64], Floats]:
    """(n,) the first dimension in which each row of (n, a) log amounts knows its amount (0: in none), and that amount."""
    dimension = np.asarray((~np.isnan(amounts)).argmax(axis=1), dtype=np.int64)
    return dimension, amounts[np.arange(len(dimension)), dimension]
