"""What known products tell of the price of a new one: the feature table of the boosted trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from core.catalog import Catalog
from core.fields import NUMBERS
from core.files import read_json, write_json
from core.light import neighbours as near
from core.light import targets as target
from core.light.inputs import Inputs, learn_inputs, load_inputs
from core.light.linear import Linear, choose_alpha, fit_ridge
from core.light.store import fields_of, load_arrays, save_arrays, sparse_arrays, sparse_from

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What decides the feature table, apart from the rows. Its fields are described in the boosted architecture's Config."""

    inner_folds: int
    smoothing: float
    neighbours: int
    neighbour_rows: int
    svd_components: int
    max_terms: int
    number_weight: float
    seed: int


@dataclass(frozen=True)
class Priced:
    """What was learnt from the prices of some rows; says something of rows that are not among them."""

    targets: target.TargetStatistics
    ridge: Linear
    neighbours: near.Neighbours

    def features(self, fields: pd.DataFrame, inputs: sp.csr_matrix, telling: NDArray[np.bool_]) -> Floats:
        """(n, f) in the order of `PRICED`."""
        linear = self.ridge.predict(inputs)[:, None]
        return np.hstack([self.targets.encode(fields), linear, self.neighbours.statistics(inputs[:, telling])])


PRICED: tuple[str, ...] = (*target.STATISTICS, "ridge", *near.STATISTICS)


@dataclass(frozen=True)
class Knowledge:
    """Everything needed to turn a catalog into the feature table. telling: (d,) columns by which neighbours are found."""

    inputs: Inputs
    components: Floats  # (d, c)
    telling: NDArray[np.bool_]
    priced: Priced

    @property
    def names(self) -> list[str]:
        """Names of the feature table's columns."""
        parts = (*NUMBERS, *PRICED, *(f"svd {place}" for place in range(self.components.shape[1])))
        return [name.replace(" ", "_") for name in parts]

    def features(self, catalog: Catalog) -> Floats:
        """(n, f) features of rows that were not learnt from."""
        fields, inputs = fields_of(catalog), self.inputs.matrix(catalog)
        return _table(fields, self.priced.features(fields, inputs, self.telling), inputs @ self.components)

    def save(self, folder: Path) -> None:
        self.inputs.save(folder)
        write_json(folder / "targets.json", self.priced.targets.record())
        arrays = {
            "components": self.components,
            "telling": self.telling,
            "ridge": self.priced.ridge.coefficients,
            "intercept": np.array(self.priced.ridge.intercept),
            "neighbour prices": self.priced.neighbours.log_prices,
            "neighbour count": np.array(self.priced.neighbours.count),
        }
        save_arrays(folder / "knowledge.npz", arrays | sparse_arrays(self.priced.neighbours.references, "references"))


def load_knowledge(folder: Path) -> Knowledge:
    """Reads back what `Knowledge.save` wrote."""
    arrays = load_arrays(folder / "knowledge.npz")
    neighbours = near.Neighbours(
        sparse_from(arrays, "references"), arrays["neighbour prices"], int(arrays["neighbour count"])
    )
    ridge = Linear(arrays["ridge"], float(arrays["intercept"]))
    targets = target.targets_from_record(read_json(folder / "targets.json"))
    return Knowledge(load_inputs(folder), arrays["components"], arrays["telling"], Priced(targets, ridge, neighbours))


def learn_knowledge(
    catalog: Catalog, folds: NDArray[np.int64], settings: Settings, check_time: Callable[[str], None]
) -> tuple[Knowledge, Floats]:
    """The knowledge of all rows, and the rows' own feature table (n, f).

    Price features of a row in that table come from what the rows of other inner folds (n,) cost, never from its own price or
    the price of its product's other rows.
    """
    fields, log_prices = fields_of(catalog), np.log(catalog.known_prices)
    inputs = learn_inputs(catalog, settings.max_terms, settings.number_weight)
    matrix = inputs.matrix(catalog)
    telling = near.telling_columns(matrix)
    check_time("reading the text")
    components = _components(matrix, settings)
    alpha = choose_alpha(matrix, log_prices, folds, lambda: check_time("choosing the ridge penalty"))
    priced = np.empty((len(catalog), len(PRICED)))
    for fold in np.unique(folds):
        inside = folds == fold
        others = _learn_priced(fields[~inside], matrix[~inside], telling, log_prices[~inside], alpha, settings)
        priced[inside] = others.features(fields[inside], matrix[inside], telling)
        check_time("making out-of-fold features")
    everything = _learn_priced(fields, matrix, telling, log_prices, alpha, settings)
    return Knowledge(inputs, components, telling, everything), _table(fields, priced, matrix @ components)


def _learn_priced(
    fields: pd.DataFrame,
    matrix: sp.csr_matrix,
    telling: NDArray[np.bool_],
    log_prices: Floats,
    alpha: float,
    settings: Settings,
) -> Priced:
    return Priced(
        target.learn_targets(fields, log_prices, settings.smoothing),
        fit_ridge(matrix, log_prices, alpha),
        near.learn_neighbours(
            matrix[:, telling], log_prices, settings.neighbours, settings.neighbour_rows, settings.seed
        ),
    )


def _components(matrix: sp.csr_matrix, settings: Settings) -> Floats:
    """The first right singular vectors, (d, c)."""
    count = min(settings.svd_components, min(matrix.shape) - 1)
    if count < 1:
        return np.zeros((matrix.shape[1], 0))
    return np.asarray(randomized_svd(matrix, count, n_iter=4, random_state=settings.seed)[2].T, dtype=np.float64)


def _table(fields: pd.DataFrame, priced: Floats, reduced: Floats) -> Floats:
    return np.hstack([fields[list(NUMBERS)].to_numpy(np.float64), priced, reduced])
