"""Drift: a window of the last rows beside the catalog that the bundle was made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.bundle.reference_stats import script
from serving.monitoring.drift_metrics import Distance, ks, psi, psi_of_numbers, psi_of_words

WINDOW = 500
"""Rows looked at together, the last ones."""
FEWEST = 100
"""With fewer nothing is said."""
STEP = 25
"""After so many new rows the figures are made again."""
MOST_PSI, MOST_KS = 0.25, 0.2
"""Above, something has changed if chance does not explain it: 0.25 is the PSI that credit scoring calls a major shift."""


@dataclass(frozen=True)
class Row:
    """What is kept of a row that was priced. length: of its text in characters. price: predicted, in currency units."""

    length: int
    unit: str
    brand: str
    script: str
    missing_picture: bool
    price: float


@dataclass(frozen=True)
class Figure:
    """One comparison. what: `length`, `unit`, `price`, ... measure: `psi` or `ks`."""

    what: str
    measure: str
    value: float
    chance: float

    @property
    def limit(self) -> float:
        """What the value must exceed to count."""
        return max(MOST_PSI if self.measure == "psi" else MOST_KS, self.chance)

    @property
    def drifted(self) -> bool:
        return self.value > self.limit


def row_of(text: str, unit: str, brand: str, picture: bool, price: float) -> Row:
    return Row(len(text), unit, brand, script(text), not picture, price)


class Drift:
    """The window over the rows of one service. statistics: the bundle's (`serving.bundle.reference_stats.describe`)."""

    def __init__(self, statistics: Mapping[str, Any], window: int = WINDOW) -> None:
        self._known = statistics
        self._rows: deque[Row] = deque(maxlen=window)
        self._new = 0
        self.figures: tuple[Figure, ...] = ()

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
        found = []
        numbers = {
            "length": (np.array([row.length for row in rows], dtype=np.float64), "length", inputs),
            "price": (np.log([row.price for row in rows]), "log_price", prices),
        }
        for what, (values, name, count) in numbers.items():
            quantiles = self._known["numbers"][name]
            found += [_figure(what, "psi", psi_of_numbers(quantiles, values, count))]
            found += [_figure(what, "ks", ks(quantiles, values, count))]
        for what in ("unit", "brand", "script"):
            expected = self._known["words"][what]
            found.append(_figure(what, "psi", psi_of_words(expected, [getattr(row, what) for row in rows], inputs)))
        share, missing = self._known["missing_pictures"], sum(row.missing_picture for row in rows)
        pictures = psi(np.array([share, 1 - share]), np.array([missing, len(rows) - missing], dtype=np.float64), inputs)
        return (*found, _figure("missing_picture", "psi", pictures))


def _figure(what: str, measure: str, distance: Distance) -> Figure:
    return Figure(what, measure, distance.figure, distance.chance)
