"""Fixed combinations: mean, geometric mean, median and trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.arrays import Floats
from ensemble.matrix.level_one import Rows
from ensemble.matrix.stored_types import stored

Space = Literal["log", "price"]


@stored("Blend")
@dataclass(frozen=True, eq=False)
class Blend:
    """weights: (m,). space: `log` combines logarithms of prices, `price` the prices themselves (weights >= 0 with sum 1).

    offset: added to the combined logarithm; weights that do not sum to 1 need one.
    """

    weights: Floats
    space: Space
    offset: float = 0.0

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices; members of weight 0 are not looked at."""
        used = np.flatnonzero(self.weights)
        if len(used) == 1 and self.weights[used[0]] == 1 and self.offset == 0:
            return rows.members[:, used[0]].copy()
        if self.space == "price":
            return rows.members[:, used] @ self.weights[used]
        return np.exp(rows.logs[:, used] @ self.weights[used] + self.offset)

    def describe(self) -> dict[str, Any]:
        return {"space": self.space, "offset": self.offset}


@stored("Trimmed")
@dataclass(frozen=True, eq=False)
class Trimmed:
    """The mean of a row's log prices without the `share` lowest and the `share` highest of them; 0.5 is the median."""

    members: int
    share: float

    @property
    def weights(self) -> Floats:
        """(m,) equal: every member has the same say before the row's own prices decide."""
        return np.full(self.members, 1 / self.members)

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices."""
        if self.share >= 0.5:
            return np.exp(rows.centre)
        cut = int(self.members * self.share)
        ordered = np.sort(rows.logs, axis=1)
        return np.exp(ordered[:, cut : self.members - cut].mean(axis=1))

    def describe(self) -> dict[str, Any]:
        return {"space": "log", "trimmed": self.share}
