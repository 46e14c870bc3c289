"""Leaks in a shop's columns: numbers, categories and texts that tell the price nearly alone, found before any training."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.column_mapping import FieldColumn
from core.data.folds import Folds
from core.data.price_format import plain_numbers
from core.fields.column_kinds import first_number
from core.fields.reader import labelled_of
from core.fields.units import thousands_mark
from core.quality.leaks import MIN_LEAK_ROWS, Leak, LeakKind, has_few_prices

MIN_COLUMN_RANK, MIN_COLUMN_RATIO, SAME_RATIO = 0.95, 0.9, 0.01
"""Rank correlation, or share of rows with one ratio (within SAME_RATIO), from which a column tells the price nearly alone."""
MIN_ALONE, MIN_BANDED, MIN_ORDERED = 0.9, 0.5, 0.95
"""Share of the variance of other products' log prices that a column's values explain, from which they tell the price nearly
alone: by itself, or together with the share of pairs that they order as prices do. Honest columns reached 0.79 and 0.87."""
MIN_TOLD, SAME_PRICE = 0.5, 0.001
"""Share of a column's values with the row's price among their numbers (within SAME_PRICE), less that with another row's price.
Honest texts reached 0.01."""
_MOST_PAIRED, _MOST_ROWS = 1_000, 5_000
_NUMBER = re.compile(r"\d[\d.,]*")
_TOKEN = re.compile(r"\w")


def find_column_leaks(train: Catalog, fields: Sequence[FieldColumn], folds: Folds) -> list[Leak]:
    """Columns that tell the price nearly alone: by their order, as a multiple of it, by their values, or in their words."""
    if not fields or has_few_prices(train.known_prices):
        return []
    labelled, logs = labelled_of(train), np.log(train.known_prices)
    half = _halves(folds)
    found = []
    for field in fields:
        values = np.array([row.get(field.label.lower(), "").lower() for row in labelled], dtype=object)
        rows = np.flatnonzero([_TOKEN.search(value) is not None for value in values])
        if len(rows) < MIN_LEAK_ROWS:
            continue
        prices = train.known_prices[rows]
        sentence = (
            _numbers(values[rows], prices)
            or _values(values[rows], logs[rows], half[rows])
            or _told(values[rows], prices)
        )
        if sentence:
            found.append(
                Leak(
                    LeakKind.COLUMN,
                    f"column {field.name!r} tells the price nearly alone: {sentence}",
                    f"leave it out with --ignore {field.name} unless it is known before the price is",
                )
            )
    return found


def _halves(folds: Folds) -> NDArray[np.int64]:
    """(n,) 0 or 1: half of the products each, so that what one says of the other is said of other products."""
    products = np.unique(folds.groups, return_inverse=True)[1]
    return np.random.default_rng(0).permutation(int(products.max()) + 1)[products] % 2


def _numbers(values: NDArray[np.object_], prices: Floats) -> str:
    """The first numbers' order, or their one ratio to the prices; "" where neither tells much."""
    thousands = thousands_mark(values)
    numbers = np.array([first_number(value, thousands) for value in values])
    known = np.isfinite(numbers) & (numbers > 0)
    if known.sum() < MIN_LEAK_ROWS:
        return ""
    ratios = numbers[known] / prices[known]
    multiple = float((np.abs(ratios / np.median(ratios) - 1) < SAME_RATIO).mean())
    order = _rank_correlation(numbers[known], prices[known])
    if order <= MIN_COLUMN_RANK and multiple <= MIN_COLUMN_RATIO:
        return ""
    return f"rank correlation {order:.2f}, the same multiple of the price in {multiple:.0%} of the rows"


def _values(values: NDArray[np.object_], logs: Floats, half: NDArray[np.int64]) -> str:
    """The values as categories, of which the other half's mean prices are known: bands of prices, and codes for them."""
    means = np.full(len(values), np.nan)
    for each in (0, 1):
        learn, held_out = half != each, half == each
        table = pd.Series(logs[learn]).groupby(values[learn]).mean()
        means[held_out] = pd.Series(values[held_out]).map(table)
    seen = np.flatnonzero(np.isfinite(means))
    if len(seen) < max(MIN_LEAK_ROWS, len(values) / 2):
        return _codes(values, logs)
    spread = float(np.square(logs[seen] - logs[seen].mean()).sum())
    explained = 1 - float(np.square(logs[seen] - means[seen]).sum()) / max(spread, 1e-12)
    if explained < MIN_BANDED:
        return ""
    ordered = _ordered(means[seen], logs[seen], half[seen])
    if explained < MIN_ALONE and ordered < MIN_ORDERED:
        return ""
    return (
        f"its values explain {explained:.0%} of the variance of other products' log prices, and order {ordered:.0%} of the "
        "pairs of products as their prices do"
    )


def _codes(values: NDArray[np.object_], logs: Floats) -> str:
    """Values that hardly repeat: only their alphabetical order can tell."""
    order = _rank_correlation(np.unique(values.astype(str), return_inverse=True)[1], logs)
    return f"rank correlation of its alphabetical order {order:.2f}" if order > MIN_COLUMN_RANK else ""


def _ordered(means: Floats, logs: Floats, half: NDArray[np.int64]) -> float:
    """Share of the pairs that two different means of one half order as the prices do, among those that they order at all."""
    chosen = np.random.default_rng(0).permutation(len(means))[:_MOST_PAIRED]
    one, two = (np.sign(column[chosen, None] - column[chosen]) for column in (means, logs))
    agreeing = (one * two)[half[chosen, None] == half[chosen]]
    return float((agreeing > 0).sum() / max(1, int((agreeing != 0).sum())))


def _told(values: NDArray[np.object_], prices: Floats) -> str:
    """The price among a value's numbers, as in `was 12.99, now cheaper`; other rows' prices show what is chance."""
    chosen = np.random.default_rng(0).permutation(len(values))[:_MOST_ROWS]
    numbers = [_all_numbers(values[row]) for row in chosen]

    def share(of: Floats) -> float:
        hits = [bool((np.abs(each / price - 1) < SAME_PRICE).any()) for each, price in zip(numbers, of, strict=True)]
        return float(np.mean(hits))

    own, other = share(prices[chosen]), share(np.roll(prices[chosen], 1))
    return f"{own:.0%} of its values have the price among their numbers" if own - other >= MIN_TOLD else ""


def _all_numbers(value: str) -> Floats:
    """Each number of a value in both readings of its marks: `1,299.50` and `1.299,50` are 1299.5."""
    found = [match.rstrip(".,") for match in _NUMBER.findall(value)]
    return plain_numbers(
        [form for each in found for form in (each.replace(",", ""), each.replace(".", "").replace(",", "."))]
    )


def _rank_correlation(one: NDArray[np.generic], other: Floats) -> float:
    """Absolute Spearman correlation; 0 for a constant column."""
    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return 0.0
    return abs(float(pd.Series(one).corr(pd.Series(other), method="spearman")))
