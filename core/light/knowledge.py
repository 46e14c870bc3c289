"""What known products tell of the price of a new one: the feature table of the boosted trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from core.catalog import Catalog
from core.fields import NUMBERS
from core.light import neighbours as near
from core.light import targets as target
from core.light.amounts import log_amounts
from core.light.embeddings import TextReader
from core.light.inputs import Inputs, learn_inputs
from core.light.linear import Linear, choose_alpha, fit_ridge
from core.light.store import fields_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What decides the feature table, apart from the rows. Its fields are described in the boosted architecture's Config."""

    inner_folds: int
    smoothing: float
    neighbours: int
    neighbour_rows: int
    svd_components: int
    embedding_components: int
    max_terms: int
    number_weight: float
    seed: int


@dataclass(frozen=True)
class View:
    """Rows as they are compared: fields, sparse inputs (n, d), log amounts (n, a), and states of an encoder (n, width) or None."""

    fields: pd.DataFrame
    inputs: sp.csr_matrix
    log_amounts: Floats
    states: Floats | None

    def take(self, rows: NDArray[np.bool_]) -> View:
        """The rows where the mask (n,) is true."""
        states = None if self.states is None else self.states[rows]
        return View(self.fields[rows], self.inputs[rows], self.log_amounts[rows], states)


@dataclass(frozen=True)
class Priced:
    """What was learnt from the prices of some rows; says something of rows that are not among them.

    near_states, state_ridge: neighbours by states of an encoder, and a ridge on them; None without an encoder.
    """

    targets: target.TargetStatistics
    ridge: Linear
    neighbours: near.Neighbours
    near_states: near.Neighbours | None
    state_ridge: Linear | None

    def features(self, view: View, telling: NDArray[np.bool_]) -> Floats:
        """(n, f) in the order of PRICED, and of PRICED_BY_STATES with an encoder."""
        linear = self.ridge.predict(view.inputs)[:, None]
        found = self.neighbours.statistics(view.inputs[:, telling], view.log_amounts)
        parts = [self.targets.encode(view.fields), linear, found]
        if self.near_states is not None and self.state_ridge is not None:
            parts += [self.state_ridge.predict(view.states)[:, None]]
            parts += [self.near_states.statistics(view.states, view.log_amounts)]
        return np.hstack(parts)


PRICED: tuple[str, ...] = (*target.STATISTICS, "ridge", *near.STATISTICS)
PRICED_BY_STATES: tuple[str, ...] = ("state ridge", *(f"state {name}" for name in near.STATISTICS))


@dataclass(frozen=True)
class Knowledge:
    """Everything needed to turn a catalog into the feature table.

    components: (d, c) of the inputs. telling: (d,) columns by which neighbours are found. reader: of an encoder's states, with
    their mean (width,) and their first components (width, p).
    """

    inputs: Inputs
    components: Floats
    telling: NDArray[np.bool_]
    priced: Priced
    reader: TextReader | None = None
    state_mean: Floats | None = None
    state_components: Floats | None = None

    @property
    def names(self) -> list[str]:
        """Names of the feature table's columns."""
        parts = [*NUMBERS, *PRICED, *(PRICED_BY_STATES if self.reader else ())]
        parts += [f"svd {place}" for place in range(self.components.shape[1])]
        if self.state_components is not None:
            parts += [f"state {place}" for place in range(self.state_components.shape[1])]
        return [name.replace(" ", "_") for name in parts]

    def view(self, catalog: Catalog) -> View:
        """The rows as this knowledge compares them."""
        return _view(catalog, self.inputs, self.reader)

    def features(self, catalog: Catalog) -> Floats:
        """(n, f) features of rows that were not learnt from."""
        view = self.view(catalog)
        return self.table(view, self.priced.features(view, self.telling))

    def table(self, view: View, priced: Floats) -> Floats:
        """(n, f): number fields, price features, components."""
        parts = [view.fields[list(NUMBERS)].to_numpy(np.float64), priced, view.inputs @ self.components]
        if view.states is not None and self.state_components is not None:
            parts.append((view.states - self.state_mean) @ self.state_components)
        return np.hstack(parts)


def learn_knowledge(
    catalog: Catalog,
    folds: NDArray[np.int64],
    settings: Settings,
    check_time: Callable[[str], None],
    reader: TextReader | None = None,
) -> tuple[Knowledge, Floats]:
    """The knowledge of all rows, and the rows' own feature table (n, f).

    Price features of a row in that table come from what the rows of other inner folds (n,) cost, never from its own price or
    the price of its product's other rows. reader: of an encoder whose states are features as well.
    """
    log_prices = np.log(catalog.known_prices)
    inputs = learn_inputs(catalog, settings.max_terms, settings.number_weight)
    view = _view(catalog, inputs, reader)
    telling = near.telling_columns(view.inputs)
    check_time("reading the text")
    alpha = choose_alpha(view.inputs, log_prices, folds, lambda: check_time("choosing the ridge penalty"))

    def learn(rows: NDArray[np.bool_]) -> Priced:
        return _learn_priced(view.take(rows), telling, log_prices[rows], alpha, settings)

    everything = learn(np.ones(len(catalog), np.bool_))
    knowledge = Knowledge(
        inputs, _components(view.inputs, settings), telling, everything, reader, *_state_components(view, settings)
    )
    priced: Floats | None = None
    for fold in np.unique(folds):
        inside = folds == fold
        found = learn(~inside).features(view.take(inside), telling)
        priced = np.empty((len(catalog), found.shape[1])) if priced is None else priced
        priced[inside] = found
        check_time("making out-of-fold features")
    assert priced is not None
    return knowledge, knowledge.table(view, priced)


def _view(catalog: Catalog, inputs: Inputs, reader: TextReader | None) -> View:
    fields = fields_of(catalog)
    states = None if reader is None else reader.states(catalog.texts.tolist())
    return View(fields, inputs.matrix(catalog), log_amounts(fields), states)


_STATE_ALPHA = 1.0
"""Of the ridge on states, which have length 1."""


def _learn_priced(
    view: View, telling: NDArray[np.bool_], log_prices: Floats, alpha: float, settings: Settings
) -> Priced:
    def neighbours(vectors: near.Vectors) -> near.Neighbours:
        return near.learn_neighbours(
            vectors, log_prices, view.log_amounts, settings.neighbours, settings.neighbour_rows, settings.seed
        )

    return Priced(
        target.learn_targets(view.fields, log_prices, settings.smoothing),
        fit_ridge(view.inputs, log_prices, alpha),
        neighbours(view.inputs[:, telling]),
        None if view.states is None else neighbours(view.states),
        None if view.states is None else fit_dense_ridge(view.states, log_prices, _STATE_ALPHA),
    )


def _components(matrix: sp.csr_matrix, settings: Settings) -> Floats:
    """The first right singular vectors, (d, c)."""
    count = min(settings.svd_components, min(matrix.shape) - 1)
    if count < 1:
        return np.zeros((matrix.shape[1], 0))
    return np.asarray(randomized_svd(matrix, count, n_iter=4, random_state=settings.seed)[2].T, dtype=np.float64)


def _state_components(view: View, settings: Settings) -> tuple[Floats | None, Floats | None]:
    """The states' mean (width,) and their first principal components (width, p)."""
    if view.states is None:
        return None, None
    mean = view.states.mean(axis=0)
    count = min(settings.embedding_components, *view.states.shape)
    return mean, np.linalg.eigh(np.cov(view.states, rowvar=False))[1][:, ::-1][:, :count].copy()
