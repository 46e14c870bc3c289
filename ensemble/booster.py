"""A small LightGBM on top of a blend: learns for which rows the blend is too high or too low from how the members disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.files import digest
from ensemble.blend import Blend

if TYPE_CHECKING:
    import lightgbm

Floats = NDArray[np.float64]

ROUNDS = 200
MIN_ROWS = 100
"""With fewer rows no tree can split."""
_KINK = 0.1
"""Distances in log price below which the SMAPE's slope is rounded, so that its curvature has a bound."""
_SETTINGS: dict[str, Any] = {
    "learning_rate": 0.06,
    "num_leaves": 15,
    "max_bin": 63,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "num_threads": 1,  # validation runs several fits side by side, and threads that wait for each other cost more than they save
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,
    "verbosity": -1,
}


@dataclass(frozen=True, eq=False)
class Boosted:
    """The average of several boosters' corrections, in log space, to `base`."""

    base: Blend
    models: tuple[lightgbm.Booster, ...]

    @property
    def weights(self) -> Floats:
        """The weights of the blend that is corrected, (m,)."""
        return self.base.weights

    def predict(self, members: Floats) -> Floats:
        """(n,) prices from (n, m)."""
        base = self.base.predict(members)
        table = features(members, base)
        corrections = [model.predict(table, num_threads=1) for model in self.models]
        return base * np.exp(np.mean(corrections, axis=0))

    @property
    def fingerprint(self) -> str:
        """A hash of the trees."""
        return digest(*(model.model_to_string() for model in self.models))


def fit_booster(members: Floats, prices: Floats, base: Blend, seeds: Sequence[int]) -> Boosted:
    """Boosters, one per seed, that minimise the SMAPE of `base` times their correction against `prices` (n,).

    members: (n, m). The same input gives the same trees, on any number of cores.
    """
    import lightgbm

    start = base.predict(members)
    table = features(members, start)
    miss = np.log(start) - np.log(prices)
    data = lightgbm.Dataset(table, label=-miss, params=_SETTINGS, free_raw_data=False)
    leaf = max(20, len(prices) // 200)
    models = []
    for seed in seeds:
        settings = {
            **_SETTINGS,
            "min_data_in_leaf": leaf,
            "seed": seed,
            "objective": smape_objective,
        }
        models.append(lightgbm.train(settings, data, num_boost_round=ROUNDS))
    return Boosted(base, tuple(models))


def smape_objective(corrections: Floats, data: lightgbm.Dataset) -> tuple[Floats, Floats]:
    """(slope, curvature) of `2 tanh(|d| / 2)` in each row's correction, with d = correction - label in log price.

    The slope `sign(d) sech^2(d/2)` is rounded near 0; the curvature is that of the quadratic which touches the term from
    above, so that it is positive and a whole step never overshoots. Both are scaled to a curvature near 1.
    """
    distance = np.asarray(corrections, dtype=np.float64) - data.get_label()
    flat = 1.0 - np.tanh(distance / 2) ** 2
    curvature = flat * _KINK / np.sqrt(distance**2 + _KINK**2)
    return curvature * distance, np.maximum(curvature, 1e-6)


def features(members: Floats, base: Floats) -> Floats:
    """(n, 2 m + 8) facts of each row: what the blend says, how each member differs from it, and how much they disagree.

    Columns: log of the blend; each member's log price minus it; each member's rank among the members (0 to 1);
    standard deviation, lowest, quartiles, median, highest and width of those differences.
    """
    logs = np.log(base)
    apart = np.log(members) - logs[:, None]
    ordered = np.sort(apart, axis=1)
    ranks = np.argsort(np.argsort(apart, axis=1, kind="stable"), axis=1, kind="stable") / max(1, members.shape[1] - 1)
    quartiles = np.quantile(ordered, (0.25, 0.5, 0.75), axis=1)
    low, high = ordered[:, 0], ordered[:, -1]
    return np.column_stack([logs, apart, ranks, apart.std(axis=1), low, high, high - low, *quartiles])
