"""Drift detection: PSI and KS distances between recent requests and the bundle's catalog."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.special import chdtri

from core.arrays import Floats
from core.fields.learnt_fields import list_items
from serving.bundle.reference_stats import NONE, OTHER, ColumnMeasure, measured

RARE = 1e-6
"""Chance alone may exceed a threshold in one window of a million: windows overlap, and many figures are watched for months."""
BINS = 10
_LEAST_BIN = 0.5 / BINS
"""A word of at least this share of the rows has a bin."""
_KNOWN_ROWS = 5
"""A word is known that at least so many rows of the catalog have."""
_HALF_A_ROW = 0.5
"""Stands for none: what is not among so many rows may still be there, and PSI's logarithm wants a number."""


class DriftMeasure(StrEnum):
    """Distance between two distributions: population stability index, Kolmogorov-Smirnov."""

    PSI = "psi"
    KS = "ks"


MOST_PSI = 0.25
"""Above, something has changed if chance does not explain it: the PSI that credit scoring calls a major shift."""
_MOST = {DriftMeasure.PSI: MOST_PSI, DriftMeasure.KS: 0.2}


@dataclass(frozen=True)
class Distance:
    """value: of the measure. chance: what it would rarely exceed if nothing had changed."""

    measure: DriftMeasure
    value: float
    chance: float

    @property
    def limit(self) -> float:
        """Limit that the value must exceed to count."""
        return max(_MOST[self.measure], self.chance)

    @property
    def drifted(self) -> bool:
        return self.value > self.limit


@dataclass(frozen=True)
class Figure(Distance):
    """One comparison. what: `length`, `unit`, `price`, ..."""

    what: str


def psi(expected: Floats, counts: Floats, rows: int) -> Distance:
    """Of bins with these shares (b,), summing to 1, of `rows` rows, and so many rows (b,) now.

    If nothing has changed, PSI / (1/n + 1/N) of windows of n rows is about chi-squared with b - 1 degrees of freedom (Yurdakul
    2018, "Statistical properties of population stability index").
    """
    total, rows = counts.sum(), max(rows, 1)
    shares = np.maximum(counts, _HALF_A_ROW) / total
    sought = np.maximum(expected, _HALF_A_ROW / rows)
    figure = float(((shares - sought) * np.log(shares / sought)).sum())
    scale = 1.0 / total + 1.0 / rows
    return Distance(DriftMeasure.PSI, figure, float(chdtri(max(1, len(expected) - 1), RARE) * scale))


def psi_of_numbers(quantiles: Sequence[float], values: Floats, rows: int) -> Distance:
    """Over about `BINS` bins that hold as many of the expected values each; fewer where values repeat.

    quantiles: 101 of them, expected (`serving.bundle.reference_stats.quantiles`).
    """
    known = np.asarray(quantiles)
    edges = np.unique(known[:: (len(known) - 1) // BINS][1:-1])
    grid = np.linspace(0.0, 1.0, len(known))
    below = np.array([grid[np.searchsorted(known, edge, side="right") - 1] for edge in edges])
    expected = np.diff(np.concatenate([[0.0], below, [1.0]]))
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(expected)).astype(np.float64)
    kept = (expected > 0) | (counts > 0)
    return psi(expected[kept], counts[kept], rows)


def psi_of_words(expected: Mapping[str, float], words: Sequence[str], rows: int) -> Distance:
    """Over the words that are frequent enough to have a bin, the other known ones as one, and the rest as another.

    expected: shares (`serving.bundle.reference_stats.shares`), of `rows` rows. A word has a bin if its share is at
    least `1 / (2 BINS)`.
    Where none is that frequent, as with brands, the bin of the known ones shows what is of another kind. In what proportions they
    come does not count: a list of known brands from A to Z is nothing new.
    """
    shares = {word: share for word, share in expected.items() if word != OTHER}
    frequent = [word for word, share in shares.items() if share >= _LEAST_BIN]
    known, again = _known(shares, rows, OTHER in expected)
    now = Counter(word or NONE for word in words)
    sought = [*(shares[word] for word in frequent), again]
    found = [*(now[word] for word in frequent), sum(now[word] for word in known)]
    sought, found = [*sought, max(0.0, 1.0 - sum(sought))], [*found, len(words) - sum(found)]
    bins = [place for place in range(len(sought)) if sought[place] * rows >= _HALF_A_ROW or found[place]]
    return psi(np.array(sought)[bins], np.array(found, dtype=np.float64)[bins], rows)


def _known(shares: Mapping[str, float], rows: int, cut: bool) -> tuple[list[str], float]:
    """Infrequent words that many of `rows` rows had, and the share that they will have of other rows like these.

    cut: rarer words were cut off. What was counted often was so partly by chance: of other rows, words seen at least
    r times have the share that words seen at least r + 1 times had (Good 1953, "The population frequencies of species"). None
    are known where that is too little for a bin.
    """
    seen = {word: round(share * rows) for word, share in shares.items() if share < _LEAST_BIN}
    least = max(_KNOWN_ROWS, min(seen.values(), default=0) + 1 if cut else 0)
    again = sum(shares[word] for word, count in seen.items() if count > least)
    return ([word for word, count in seen.items() if count >= least], again) if again >= _LEAST_BIN else ([], 0.0)


def ks(quantiles: Sequence[float], values: Floats, rows: int) -> Distance:
    """Largest distance of the values' distribution function from the expected one, which is linear between its quantiles.

    By chance it rarely exceeds sqrt(-ln(RARE / 2) / 2 * (1/n + 1/N)) (Smirnov 1948).
    """
    ordered = np.sort(values)
    count = len(ordered)
    known = np.asarray(quantiles)
    grid = np.linspace(0.0, 1.0, len(known))
    right = grid[np.clip(np.searchsorted(known, ordered, side="right") - 1, 0, None)]
    right = np.where(ordered < known[0], 0.0, np.maximum(right, np.interp(ordered, known, grid)))
    left = grid[np.clip(np.searchsorted(known, ordered, side="left"), None, len(grid) - 1)]
    left = np.minimum(left, np.where(ordered > known[-1], 1.0, np.interp(ordered, known, grid)))
    places = np.arange(count)
    figure = float(max(((places + 1) / count - right).max(), (left - places / count).max(), 0.0))
    chance = np.sqrt(-0.5 * np.log(RARE / 2) * (1.0 / count + 1.0 / max(rows, 1)))
    return Distance(DriftMeasure.KS, figure, float(chance))


WINDOW = 500
"""Rows looked at together, the last ones."""
FEWEST = 100
"""With fewer there are no figures."""
STEP = 25
"""After so many new rows the figures are made again."""


@dataclass(frozen=True)
class Row:
    """Record of a row that was priced. length: of its text in characters. price: predicted. labelled: its fields."""

    length: int
    unit: str
    brand: str
    script: str
    missing_image: bool
    price: float
    labelled: Mapping[str, str] = field(default_factory=dict)


class Drift:
    """The window over the rows of one service. statistics: the bundle's (`serving.bundle.reference_stats.describe`)."""

    def __init__(self, statistics: Mapping[str, Any]) -> None:
        self._known = statistics
        self._rows: deque[Row] = deque(maxlen=WINDOW)
        self._new = 0
        self.figures: tuple[Figure, ...] = ()

    @property
    def reads_fields(self) -> bool:
        """True where the bundle's catalog has columns to compare."""
        return "fields" in self._known

    @property
    def seen(self) -> int:
        """Rows in the window."""
        return len(self._rows)

    def add(self, row: Row) -> tuple[Figure, ...] | None:
        """The figures, where they were made anew because of this row."""
        self._rows.append(row)
        self._new += 1
        if self._new < STEP or len(self._rows) < FEWEST:
            return None
        self._new = 0
        self.figures = self._compare()
        return self.figures

    def _compare(self) -> tuple[Figure, ...]:
        rows, inputs, prices = list(self._rows), self._known["rows"]["inputs"], self._known["rows"]["prices"]
        found: list[tuple[str, Distance]] = []
        numbers = {
            "length": (np.array([row.length for row in rows], dtype=np.float64), "length", inputs),
            "price": (np.log([row.price for row in rows]), "log_price", prices),
        }
        for what, (values, name, count) in numbers.items():
            found += [
                (what, distance(self._known["numbers"][name], values, count)) for distance in (psi_of_numbers, ks)
            ]
        for what in ("unit", "brand", "script"):
            words = [getattr(row, what) for row in rows]
            found.append((what, psi_of_words(self._known["words"][what], words, inputs)))
        share, missing = self._known["missing_pictures"], sum(row.missing_image for row in rows)
        images = psi(np.array([share, 1 - share]), np.array([missing, len(rows) - missing], dtype=np.float64), inputs)
        found.append(("missing_picture", images))
        for name, known in self._known.get("fields", {}).items():
            found += _field_distances(name, known, [row.labelled for row in rows], inputs)
        return tuple(Figure(**vars(distance), what=what) for what, distance in found)


def _field_distances(
    name: str, known: Mapping[str, Any], rows: Sequence[Mapping[str, str]], inputs: int
) -> list[tuple[str, Distance]]:
    """Distances of a column's values, and of the share of rows without one. inputs: rows of the catalog."""
    values = [row.get(known["label"], "") for row in rows]
    if "words" in known:
        return [(f"field {name}", psi_of_words(known["words"], [value.lower() for value in values], inputs))]
    if "items" in known:
        items = [item for value in values for item in list_items(value) or [""]]
        return [(f"field {name}", psi_of_words(known["items"], items, inputs))]
    measure = ColumnMeasure(known.get("measure", ColumnMeasure.NUMBER))
    numbers = np.array([measured(value, measure, known["thousands"]) for value in values])
    there = numbers[~np.isnan(numbers)]
    shares = np.array([known["missing"], 1 - known["missing"]])
    missing = psi(shares, np.array([len(rows) - len(there), len(there)], dtype=np.float64), inputs)
    found = [(f"field {name}, missing", missing)]
    if len(there) >= FEWEST:
        found.append((f"field {name}", psi_of_numbers(known["quantiles"], there, known["rows"])))
    return found
