"""Types of a combination method: the problem it is fitted to, the fitted combination, and its entry in the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from core.arrays import Floats, Ints
from core.metrics import smape
from ensemble.matrix.level_one import Rows
from ensemble.methods.boosting import Start, Task
from ensemble.methods.fixed import Blend, Space, Trimmed
from ensemble.methods.simplex import fit_simplex


class Combination(Start, Protocol):
    """A fitted combination method: one price from the members' m."""

    def describe(self) -> dict[str, Any]:
        """Parts besides the weights, as JSON values."""


@dataclass(frozen=True, eq=False)
class CombinationProblem:
    """Training rows of a combination with their true prices (n,), and fits that several methods share.

    groups: (n,), equal for rows of one product. seeds: one booster for each. threads: of each training.
    """

    rows: Rows
    prices: Floats
    groups: Ints
    seeds: Sequence[int]
    threads: int = 1

    @property
    def members(self) -> int:
        return self.rows.members.shape[1]

    @cached_property
    def simplex(self) -> dict[Space, Blend]:
        """The best weights in each space."""
        return {space: fit_simplex(self.rows.members, self.prices, space) for space in ("log", "price")}

    @cached_property
    def linear(self) -> Blend:
        """The better of them on these rows."""
        return min(self.simplex.values(), key=lambda blend: smape(self.prices, blend.predict(self.rows)))

    @cached_property
    def on_linear(self) -> Task:
        """For boosters that correct the best weights."""
        return Task(self.rows, self.prices, self.groups, self.linear, self.threads)

    @cached_property
    def on_median(self) -> Task:
        """For boosters that correct the members' median."""
        return Task(self.rows, self.prices, self.groups, Trimmed(self.members, 0.5), self.threads)


@dataclass(frozen=True)
class Method:
    """One way to combine. summary: a line for people. members, rows, groups: how many it needs at least.

    invariant: a change of currency scales its prices, and the order of members changes nothing; of trees neither is exact.
    """

    summary: str
    fit: Callable[[CombinationProblem], Combination]
    members: int = 2
    rows: int = 0
    groups: int = 1
    invariant: bool = True
