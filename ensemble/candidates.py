"""The ways to combine members, from the simplest to the most complex. To add one: a function and a line in `fit_candidates`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.metrics import smape
from ensemble.blend import Blend, fit_simplex
from ensemble.booster import MIN_ROWS, Boosted, fit_booster

Floats = NDArray[np.float64]

SINGLE, MEAN, SIMPLEX_LOG, SIMPLEX_PRICE, BOOSTER = (
    "best single",
    "geometric mean",
    "simplex log",
    "simplex price",
    "booster",
)


class Combination(Protocol):
    """A fitted way to make one price of m."""

    @property
    def weights(self) -> Floats:
        """(m,) how much each member counts; a booster's are those of the blend that it corrects."""

    def predict(self, members: Floats) -> Floats:
        """(n,) prices, finite and > 0, from (n, m)."""


def candidate_names(members: int, rows: int) -> tuple[str, ...]:
    """The candidates that make sense for so many members and rows, simplest first."""
    names = (SINGLE,) if members == 1 else (SINGLE, MEAN, SIMPLEX_LOG, SIMPLEX_PRICE)
    return (*names, BOOSTER) if rows >= MIN_ROWS else names


def fit_candidates(
    members: Floats, prices: Floats, names: Sequence[str], seeds: Sequence[int]
) -> dict[str, Combination]:
    """Each of the named candidates fitted to `members` (n, m) and true `prices` (n,). seeds: one booster for each."""
    count = members.shape[1]
    fitted: dict[str, Combination] = {}
    if SINGLE in names:
        best = int(np.argmin([smape(prices, column) for column in members.T]))
        fitted[SINGLE] = Blend(np.eye(count)[best], "log")
    if MEAN in names:
        fitted[MEAN] = Blend(np.full(count, 1 / count), "log")
    if SIMPLEX_PRICE in names:
        fitted[SIMPLEX_PRICE] = fit_simplex(members, prices, "price")
    if SIMPLEX_LOG in names or BOOSTER in names:
        blend = fit_simplex(members, prices, "log")
        if SIMPLEX_LOG in names:
            fitted[SIMPLEX_LOG] = blend
        if BOOSTER in names:
            fitted[BOOSTER] = fit_booster(members, prices, blend, seeds)
    return fitted


def describe(combination: Combination, names: Sequence[str]) -> dict[str, Any]:
    """A fitted combination in JSON's terms: weights by member, and what else it is made of."""
    weights = {name: round(float(weight), 6) for name, weight in zip(names, combination.weights, strict=True)}
    if isinstance(combination, Boosted):
        trees = {"boosters": len(combination.models), "fingerprint": combination.fingerprint}
        return {"weights": weights, "space": combination.base.space, **trees}
    if isinstance(combination, Blend):
        return {"weights": weights, "space": combination.space}
    raise TypeError(f"no description for {type(combination).__name__}")
