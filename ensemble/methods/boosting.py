"""LightGBM stacking: boosters on the members' prices and the rows' features.

A booster corrects a start in log price: the median of the row's members, or the best linear blend of them. Every seed leaves a
part of the products out, stops where their SMAPE is lowest, and the seeds' corrections are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, Ints
from core.atomic_files import digest
from core.metrics import touching_curvature
from ensemble.matrix.level_one import Rows, rounded
from ensemble.matrix.stored_types import stored

if TYPE_CHECKING:
    import lightgbm


MAX_ROUNDS = 220
PATIENCE = 20
PARTS = 5
"""A seed leaves one of so many parts of the groups out."""
MIN_BOOSTING_ROWS = 100
"""With fewer rows no tree can split."""
MIN_GROUPS = 2 * PARTS
"""With fewer groups the part to stop by may be nearly all rows."""
_KINK = 0.1
"""Distances in log price below which the SMAPE's slope is rounded, so that its curvature has a bound."""
_COLUMNS = 40
"""Columns that a tree chooses among, if that is less than 60% of them."""
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.2,
    "num_leaves": 31,
    "max_bin": 31,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "num_threads": 1,  # validation runs several fits side by side, and threads that wait for each other cost more than they save
    "deterministic": True,
    "force_col_wise": True,
    "feature_pre_filter": False,
    "verbosity": -1,
}


class Start(Protocol):
    """Combination of the members that a booster corrects."""

    @property
    def weights(self) -> Floats:
        """(m,) how much each member counts; a booster's are those of what it corrects."""

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices, finite and > 0."""


@stored("Boosted")
@dataclass(frozen=True, eq=False)
class Boosted:
    """`start` times the exponential of several boosters' mean correction."""

    start: Start
    models: tuple[lightgbm.Booster, ...]

    @property
    def weights(self) -> Floats:
        """(m,) the weights of what is corrected: what trees make of a member is no weight."""
        return self.start.weights

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices."""
        start = self.start.predict(rows)
        shown = table(rows, start)
        corrections = [model.predict(shown, num_threads=1) for model in self.models]
        return np.asarray(start * np.exp(np.mean(corrections, axis=0)))

    def describe(self) -> dict[str, Any]:
        return {
            "boosters": len(self.models),
            "rounds": [model.best_iteration for model in self.models],
            "fingerprint": tree_hash(self.models),
        }


def tree_hash(models: Sequence[lightgbm.Booster]) -> str:
    """Of the trees alone: the text behind them holds settings, such as the number of threads, that change no price."""
    return digest(*(model.model_to_string().partition("\nparameters:")[0] for model in models))


def table(rows: Rows, start: Floats) -> NDArray[np.float32]:
    """(n, c + 1) what a booster sees: the rows' statistics and the start (n,), as its distance from the members' median."""
    distance = rounded(np.log(start) - rows.centre)
    return np.column_stack([rows.statistics, distance.astype(np.float32)])


class Task:
    """Training data of all boosters that correct one start.

    prices: (n,) true ones. groups: (n,), rows of one number are left out together. threads: of each training; they change nothing
    but its time.
    """

    def __init__(self, rows: Rows, prices: Floats, groups: Ints, start: Start, threads: int = 1) -> None:
        begin = start.predict(rows)
        self.start, self.threads, self._groups = start, threads, groups
        self.shown, self.goal = table(rows, begin), np.log(prices) - np.log(begin)
        self._data: dict[int, tuple[lightgbm.Dataset, lightgbm.Dataset]] = {}

    def data(self, seed: int) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
        """(to learn from, to stop by) for this seed."""
        import lightgbm

        if seed not in self._data:
            left_out = parts_of(self._groups, seed) == 0
            learn = lightgbm.Dataset(self.shown[~left_out], label=self.goal[~left_out], params=SETTINGS)
            stop = lightgbm.Dataset(self.shown[left_out], label=self.goal[left_out], reference=learn, params=SETTINGS)
            self._data[seed] = learn.construct(), stop.construct()
        return self._data[seed]


def fit_booster(task: Task, objective: str | Callable[..., Any], seeds: Sequence[int]) -> Boosted:
    """Boosters, one per seed, for the corrections of the task's start to the true prices.

    objective: LightGBM's name of one, or a function of (corrections, data) to (slope, curvature). The same input gives the same
    trees, on any number of cores.
    """
    import lightgbm

    from core.classical.gradient_boosting import on_free_cores, smape_metric

    settings = {
        **SETTINGS,
        "feature_fraction": min(0.6, _COLUMNS / task.shown.shape[1]),
        "min_data_in_leaf": max(20, len(task.goal) // 200),
        "objective": objective,
        "alpha": 0.3,
        "metric": "none",
        "num_threads": task.threads,
    }
    models = []
    for seed in seeds:
        learn, stop = task.data(seed)
        early = lightgbm.early_stopping(PATIENCE, verbose=False)
        with on_free_cores(task.threads) as adapting:
            model = lightgbm.train(
                {**settings, "seed": seed}, learn, MAX_ROUNDS, valid_sets=[stop], feval=smape_metric,
                callbacks=[early, *adapting],
            )  # fmt: skip
        models.append(model)
    return Boosted(task.start, tuple(models))


def parts_of(groups: Ints, seed: int) -> Ints:
    """(n,) numbers 0 to PARTS - 1, drawn anew for every seed; rows of one group get the same."""
    numbers, owners = np.unique(groups, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(numbers))[owners] % PARTS


def touching_smape_objective(corrections: Floats, data: lightgbm.Dataset) -> tuple[Floats, Floats]:
    """(slope, curvature) of each row's SMAPE in its correction (`core.metrics.touching_curvature`), as LightGBM asks.

    A whole step never overshoots. Both are scaled to a curvature near 1.
    """
    distance = np.asarray(corrections, dtype=np.float64) - data.get_label()
    curvature = touching_curvature(distance, _KINK, scale=_KINK)
    return curvature * distance, np.maximum(curvature, 1e-6)
