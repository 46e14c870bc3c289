"""Level-one rows: members' prices and what methods derive from them, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.atomic_files import digest

RANKED = 40
"""With more members a booster is shown how far each is from the others, but no longer its rank among them."""

_DIGITS = 5


def rounded(values: Floats) -> Floats:
    """To 1/100,000 in log price. A tree splits wherever it can, also between values that differ by rounding alone, and the same
    model rounds otherwise in another form or on another machine."""
    return np.round(values, _DIGITS)


def fingerprint(*tables: Floats) -> str:
    """A hash of the numbers in them."""
    return digest(*(np.ascontiguousarray(table, dtype="<f8").tobytes() for table in tables))


@dataclass(frozen=True, eq=False)
class MemberQuantiles:
    """Quantiles of the prices of those p members that give any.

    members: (p,) their places among the columns. logs: (n, p, 9) log prices at `core.protocols.architecture.LEVELS`, finite.
    """

    members: NDArray[np.int64]
    logs: NDArray[np.float32]

    @classmethod
    def of(cls, members: Sequence[int], prices: Sequence[Floats]) -> MemberQuantiles:
        """Of p members' prices at the levels, (n, 9) each."""
        return cls(np.array(members, dtype=np.int64), np.log(np.stack(prices, axis=1)).astype(np.float32))

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> MemberQuantiles:
        return MemberQuantiles(self.members, self.logs[rows])


@dataclass(frozen=True, eq=False)
class Rows:
    """members: (n, m) prices, finite and > 0. features: (n, f) other numbers of the rows, NaN where unknown; f may be 0.

    quantiles: those of the members that give any, None where none does.
    """

    members: Floats
    features: Floats
    quantiles: MemberQuantiles | None = None

    def __len__(self) -> int:
        return len(self.members)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """These rows alone; the statistics are taken along where they are known."""
        quantiles = None if self.quantiles is None else self.quantiles.take(rows)
        taken = Rows(self.members[rows], self.features[rows], quantiles)
        for name in ("logs", "centre", "statistics"):
            if name in self.__dict__:
                taken.__dict__[name] = self.__dict__[name][rows]
        return taken

    @cached_property
    def logs(self) -> Floats:
        """(n, m) log prices."""
        return np.log(self.members)

    @cached_property
    def centre(self) -> Floats:
        """(n,) median of each row's log prices."""
        return np.median(self.logs, axis=1)

    @cached_property
    def statistics(self) -> NDArray[np.float32]:
        """(n, c) what a booster is shown of each row, the same in any currency but for the first column.

        Columns: the centre; each member's log price minus it; each member's rank (0 to 1; at most RANKED members); standard
        deviation, mean, lowest, quartiles, highest, width and quartile distance of those differences; the features. All but the
        features are `rounded`.
        """
        apart = self.logs - self.centre[:, None]
        ordered = np.sort(apart, axis=1)
        low, high = ordered[:, 0], ordered[:, -1]
        first, third = np.quantile(ordered, (0.25, 0.75), axis=1)
        columns = [self.centre, apart]
        if 1 < apart.shape[1] <= RANKED:
            places = np.argsort(np.argsort(apart, axis=1, kind="stable"), axis=1, kind="stable")
            columns.append(places / (apart.shape[1] - 1))
        columns += [apart.std(axis=1), apart.mean(axis=1), low, first, third, high, high - low, third - first]
        return np.column_stack([rounded(np.column_stack(columns)), self.features]).astype(np.float32)
