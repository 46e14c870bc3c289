"""SMAPE-minimising point forecast of a price distribution, and the quantile boosters that estimate the distribution.

A distribution is given by equally likely atoms in log price. `E[2 tanh(|x - A| / 2)]` is concave in x between neighbouring
atoms, since every term is concave on each side of its own kink: the minimum lies on an atom, and trying them all is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from ensemble.matrix.level_one import Rows
from ensemble.matrix.stored_types import stored
from ensemble.methods.boosting import SETTINGS, Start, Task, table, tree_hash

if TYPE_CHECKING:
    import lightgbm


LEVELS = tuple((2 * place + 1) / 18 for place in range(9))
"""Of the quantile boosters: the middles of nine equally likely parts."""
ATOMS = 33
MAX_CELLS = 12
_CELL_ROWS = 300
_SAMPLE = 10_000
_ROUNDS = 100
_SCALE_ROUNDS = 40
_BLOCK = 4_096


def smape_point(atoms: Floats) -> Floats:
    """(n,) log prices, each the atom of its row with the lowest expected SMAPE, from (n, q) equally likely log prices."""
    points = np.empty(len(atoms))
    for start in range(0, len(atoms), _BLOCK):
        part = atoms[start : start + _BLOCK]
        apart = np.abs(part[:, :, None] - part[:, None, :])
        expected = np.tanh(apart.astype(np.float32) / 2).sum(axis=2)
        points[start : start + _BLOCK] = part[np.arange(len(part)), expected.argmin(axis=1)]
    return points


@stored("Quantiles")
@dataclass(frozen=True, eq=False)
class Quantiles:
    """Quantile boosters for the correction of `start`, one per level of LEVELS."""

    start: Start
    models: tuple[lightgbm.Booster, ...]

    @property
    def weights(self) -> Floats:
        """(m,) the weights of what is corrected."""
        return self.start.weights

    def atoms(self, rows: Rows) -> Floats:
        """(n, 9) log prices in rising order; crossing quantiles are sorted (Chernozhukov, Fernandez-Val, Galichon 2010)."""
        start = self.start.predict(rows)
        shown = table(rows, start)
        corrections = np.column_stack([model.predict(shown, num_threads=1) for model in self.models])
        return np.log(start)[:, None] + np.sort(corrections, axis=1)

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices of lowest expected SMAPE."""
        return np.exp(smape_point(self.atoms(rows)))

    def describe(self) -> dict[str, Any]:
        return {"levels": [round(level, 4) for level in LEVELS], "fingerprint": tree_hash(self.models)}


def fit_quantiles(task: Task, seed: int) -> Quantiles:
    """Quantile boosters on at most _SAMPLE of the rows: nine levels need nine trainings."""
    sample = np.random.default_rng(seed).permutation(len(task.goal))[:_SAMPLE]
    sample.sort()
    data = _dataset(task.shown[sample], task.goal[sample])
    models = [_train(data, {"objective": "quantile", "alpha": level}, _ROUNDS, seed) for level in LEVELS]
    return Quantiles(task.start, tuple(models))


@stored("Conditional")
@dataclass(frozen=True, eq=False)
class Conditional:
    """Distribution of true log prices around a combination's: residuals of rows out of fold, by neighbourhood.

    scale: a booster for the absolute residual of a row. edges: (c - 1,) log prices between the neighbourhoods. shapes: (c, q)
    residuals over scale at equally likely quantiles.
    """

    scale: lightgbm.Booster
    edges: Floats
    shapes: Floats

    def atoms(self, prices: Floats, rows: Rows) -> Floats:
        """(n, q) equally likely log prices of rows whose combined prices are `prices` (n,)."""
        cell = np.searchsorted(self.edges, np.log(prices), side="right")
        return np.log(prices)[:, None] + self.shapes[cell] * _scales(self.scale, table(rows, prices))[:, None]


def fit_conditional(combined: Floats, prices: Floats, rows: Rows, seed: int) -> Conditional:
    """From prices out of fold, `combined` (n,), and the true ones, `prices` (n,).

    A residual is measured by a scale that was fitted to the other half of the rows: by its own it would look too small.
    """
    residual = np.log(prices) - np.log(combined)
    shown, size = table(rows, combined), np.abs(residual)
    half = np.random.default_rng(seed).permutation(len(prices)) % 2
    shape = np.empty(len(prices))
    for each in range(2):
        other = _fit_scale(shown[half != each], size[half != each], seed)
        shape[half == each] = residual[half == each] / _scales(other, shown[half == each])
    cells = int(np.clip(len(prices) // _CELL_ROWS, 1, MAX_CELLS))
    logs = np.log(combined)
    edges = np.quantile(logs, np.arange(1, cells) / cells)
    cell = np.searchsorted(edges, logs, side="right")
    levels = (np.arange(ATOMS) + 0.5) / ATOMS
    everywhere = np.quantile(shape, levels)
    shapes = [np.quantile(shape[cell == each], levels) if (cell == each).any() else everywhere for each in range(cells)]
    return Conditional(_fit_scale(shown, size, seed), edges, np.array(shapes))


def _fit_scale(shown: NDArray[np.float32], size: Floats, seed: int) -> lightgbm.Booster:
    return _train(_dataset(shown, size), {"objective": "huber", "alpha": 0.3}, _SCALE_ROUNDS, seed)


def _scales(model: lightgbm.Booster, shown: NDArray[np.float32]) -> Floats:
    return np.maximum(np.asarray(model.predict(shown, num_threads=1)), 1e-3)


def _dataset(shown: NDArray[np.float32], goal: Floats) -> lightgbm.Dataset:
    import lightgbm

    return lightgbm.Dataset(shown, label=goal, params=SETTINGS).construct()


def _train(data: lightgbm.Dataset, objective: dict[str, Any], rounds: int, seed: int) -> lightgbm.Booster:
    import lightgbm

    settings = {
        **SETTINGS,
        "num_leaves": 15,
        "feature_fraction": 0.6,
        "min_data_in_leaf": max(20, data.num_data() // 200),
        "seed": seed,
        **objective,
    }
    return lightgbm.train(settings, data, rounds)
