"""Selection of learnt fields: those that repeat what rules read, or say nothing of the training rows' prices, are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import f_oneway

from core.arrays import Floats
from core.data.catalog import Catalog, Strings
from core.fields.learnt_fields import FieldValues, LearntColumn, LearntFields, learn_fields_of, same_numbers
from core.fields.reader import NUMBERS, WORDS, fields_of, labelled_of

_MOST_ROWS = 6_000
"""Rows that are looked at: more find no field that matters."""
_CHANCE = 0.01
"""Most probability that values without any bearing on prices split them as these do."""
_BINS, _FEWEST = 5, 3
"""Groups into which numbers are cut, and rows that a group must have; smaller ones are one group."""
_MOST_ITEMS = 30
_ALMOST_ALL = 0.95


def learn_labelled_fields(catalog: Catalog) -> LearntFields:
    """Fields learnt from the labelled lines of these training rows, chosen by their prices.

    A field that repeats a rule's, or of which an F test finds no bearing on log prices, would only take the place of better ones
    where trees draw features, and cost a Gaussian process a length scale.
    """
    rows = labelled_of(catalog)
    learnt = learn_fields_of(rows, catalog.kinds)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).astype(np.int64))
    if not learnt.columns:
        return learnt
    known = fields_of(catalog).iloc[chosen]
    selection = _Selection(known, np.log(catalog.known_prices[chosen]))
    values = learnt.read([rows[row] for row in chosen])
    return LearntFields(tuple(selection.kept(learnt, values)))


@dataclass(frozen=True)
class _Selection:
    """Rows by which fields are chosen: what rules read of them (n rows), and their log prices (n,)."""

    known: pd.DataFrame
    log_prices: Floats

    def kept(self, learnt: LearntFields, values: FieldValues) -> Iterator[LearntColumn]:
        """The columns with what is left of them, without those of which nothing is left."""
        numbers = iter(values.numbers.T)
        for column in learnt.columns:
            own = [next(numbers) for _ in column.number_names]
            keys = zip(column.numbers, own, strict=False)  # behind a list's numbers comes the number of its items
            left = replace(
                column,
                numbers=tuple(key for key, each in keys if self.tells(_cut(each)) and not self.repeats_number(each)),
                levels=column.levels if self.tells_category(column, values) else 0,
                listed=column.listed and self.tells_items(values.lists[column.label]),
            )
            if left.numbers or left.levels or left.listed:
                yield left

    def tells(self, codes: NDArray[np.int64], tests: int = 1) -> bool:
        """Answers whether groups (n,) of rows differ in price by more than chance. tests: how many groupings are tried."""
        groups = [self.log_prices[codes == code] for code in np.unique(codes)]
        if len(groups) < 2 or len(codes) - len(groups) < _BINS:
            return False
        return bool(f_oneway(*groups).pvalue < _CHANCE / tests)

    def tells_category(self, column: LearntColumn, values: FieldValues) -> bool:
        levels = [values.categories[name] for name in column.category_names]
        return any(map(self.tells, map(_grouped, levels))) and not any(
            _same_groups(levels[-1], self.known[word]) for word in WORDS
        )

    def tells_items(self, lists: Strings) -> bool:
        frequent = Counter(item for items in lists for item in items).most_common(_MOST_ITEMS)
        return any(
            self.tells(np.fromiter((item in items for items in lists), np.int64, len(lists)), len(frequent))
            for item, _ in frequent
        )

    def repeats_number(self, numbers: Floats) -> bool:
        column = pd.Series(numbers, index=self.known.index)
        return any(same_numbers(column, self.known[name]) for name in NUMBERS)


def _cut(numbers: Floats) -> NDArray[np.int64]:
    """Numbers (n,) in groups of about equal size, unknown ones in a group of their own."""
    unknown = np.isnan(numbers)
    edges = np.unique(np.quantile(numbers[~unknown], np.arange(1, _BINS) / _BINS)) if not unknown.all() else numbers[:0]
    return np.where(unknown, -1, np.searchsorted(edges, np.nan_to_num(numbers)))


def _grouped(values: Strings) -> NDArray[np.int64]:
    """Values (n,) by number, rare ones in a group of their own."""
    codes = pd.factorize(values)[0]
    return np.where(np.bincount(codes)[codes] < _FEWEST, -1, codes)


def _same_groups(values: Strings, others: pd.Series) -> bool:
    """Answers whether each value stands for one value of the other field and the other way round, in almost all rows."""
    pairs = pd.DataFrame({"value": values, "other": others.to_numpy()})[values != ""]
    return all(
        _purity(pairs[one], pairs[other]) >= _ALMOST_ALL for one, other in (("value", "other"), ("other", "value"))
    )


def _purity(values: pd.Series, groups: pd.Series) -> float:
    """Share of the rows that have the most frequent value of their group."""
    counts = values.groupby(groups.to_numpy()).value_counts()
    return float(counts.groupby(level=0).max().sum() / max(len(values), 1))
