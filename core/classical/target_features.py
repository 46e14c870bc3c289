"""Target feature table of the boosted trees: encodings, neighbours' prices and unit prices, made on inner folds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from core.arrays import Floats, load_arrays, loaded_once, save_arrays, sparse_arrays, sparse_from
from core.atomic_files import read_json, write_json
from core.classical import neighbours as near
from core.classical import target_encoding as target
from core.classical.frozen_encoder import FrozenTextEncoder
from core.classical.linear import LinearModel, choose_alpha, fit_dense_ridge, fit_ridge
from core.classical.target_encoding import log_amounts
from core.classical.tfidf_inputs import TfidfInputs, learn_inputs, load_inputs
from core.data.catalog import Catalog
from core.fields import NUMBERS
from core.fields.learnt_fields import FieldValues


@dataclass(frozen=True)
class TargetFeatureSettings:
    """Settings of the feature table. Its fields are described in the boosted architecture's Config."""

    inner_folds: int
    smoothing: float
    neighbours: int
    neighbour_rows: int
    svd_components: int
    embedding_components: int
    max_terms: int
    number_weight: float
    labelled_fields: bool
    seed: int


@dataclass(frozen=True)
class ComparedRows:
    """Rows as they are compared: fields, sparse inputs (n, d), log amounts (n, a), and states of an encoder (n, width)."""

    fields: pd.DataFrame
    values: FieldValues
    inputs: sp.csr_matrix
    log_amounts: Floats
    states: Floats | None

    def take(self, rows: NDArray[np.bool_]) -> ComparedRows:
        """The rows where the mask (n,) is true."""
        states = None if self.states is None else self.states[rows]
        return ComparedRows(
            self.fields[rows], self.values.take(rows), self.inputs[rows], self.log_amounts[rows], states
        )


@dataclass(frozen=True)
class PriceStatistics:
    """Statistics and models learnt from the prices of some rows, for features of other rows.

    by_states: a ridge on states of an encoder, and neighbours by them; None without an encoder.
    """

    targets: target.TargetStatistics
    categories: target.CategoryStatistics
    ridge: LinearModel
    neighbours: near.Neighbours
    by_states: tuple[LinearModel, near.Neighbours] | None

    def features(self, view: ComparedRows, telling: NDArray[np.bool_]) -> Floats:
        """(n, f) in the order of PRICED, the learnt categories, and PRICED_BY_STATES with an encoder."""
        linear = self.ridge.predict(view.inputs)[:, None]
        found = self.neighbours.statistics(view.inputs[:, telling], view.log_amounts)
        parts = [self.targets.encode(view.fields), linear, found, self.categories.encode(view.values)]
        if self.by_states is not None and view.states is not None:
            ridge, neighbours = self.by_states
            parts += [ridge.predict(view.states)[:, None], neighbours.statistics(view.states, view.log_amounts)]
        return np.hstack(parts)


_UNSAFE = re.compile(r"[\s\[\]{}:\",]+")
"""LightGBM refuses JSON's own characters in names of features."""
PRICED: tuple[str, ...] = (*target.STATISTICS, "ridge", *near.STATISTICS)
PRICED_BY_STATES: tuple[str, ...] = ("state ridge", *(f"state {name}" for name in near.STATISTICS))


@dataclass(frozen=True)
class StateProjection:
    """An encoder's states: who reads them, their mean (width,) and their first principal components (width, p)."""

    reader: FrozenTextEncoder
    mean: Floats
    components: Floats


@dataclass(frozen=True, eq=False)
class TargetFeatures:
    """Fitted feature extractor: turns a catalog into the feature table.

    components: (d, c) of the inputs. telling: (d,) columns by which neighbours are found.
    """

    inputs: TfidfInputs
    components: Floats
    telling: NDArray[np.bool_]
    priced: PriceStatistics
    reading: StateProjection | None

    @property
    def names(self) -> list[str]:
        """Names of the feature table's columns."""
        parts = [*self.numbers, *PRICED, *self.priced.categories.names, *(PRICED_BY_STATES if self.reading else ())]
        parts += [f"svd {place}" for place in range(self.components.shape[1])]
        if self.reading is not None:
            parts += [f"state {place}" for place in range(self.reading.components.shape[1])]
        return _distinct([_UNSAFE.sub("_", name) for name in parts])

    @property
    def numbers(self) -> list[str]:
        """The number fields, those that rules read before the learnt ones."""
        return [*NUMBERS, *self.inputs.learnt.number_names]

    def features(self, catalog: Catalog) -> Floats:
        """(n, f) features of rows that were not learnt from."""
        return catalog.derived(self, lambda: self._features(catalog))

    def _features(self, catalog: Catalog) -> Floats:
        view = _view(catalog, self.inputs, None if self.reading is None else self.reading.reader)
        return self.table(view, self.priced.features(view, self.telling))

    def table(self, view: ComparedRows, priced: Floats) -> Floats:
        """(n, f): number fields, price features, components."""
        parts = [view.fields[self.numbers].to_numpy(np.float64), priced, view.inputs @ self.components]
        if self.reading is not None and view.states is not None:
            parts.append((view.states - self.reading.mean) @ self.reading.components)
        return np.hstack(parts)


def learn_target_features(
    catalog: Catalog,
    folds: NDArray[np.int64],
    settings: TargetFeatureSettings,
    check_time: Callable[[str], None],
    reader: FrozenTextEncoder | None = None,
) -> tuple[TargetFeatures, Floats]:
    """TargetFeatures learnt from all rows, and the rows' own feature table (n, f).

    Price features of a row in that table come from what the rows of other inner folds (n,) cost, never from its own price or
    the price of its product's other rows. reader: of an encoder whose states are features as well.
    """
    catalog = catalog.with_memory()  # its learnt fields are asked for three times, and its matrix is kept anyway
    log_prices = np.log(catalog.known_prices)
    inputs = learn_inputs(catalog, settings.max_terms, settings.number_weight, labelled=settings.labelled_fields)
    view = _view(catalog, inputs, reader)
    telling = near.telling_columns(view.inputs)
    check_time("reading the text")
    alpha = choose_alpha(view.inputs, log_prices, folds, lambda: check_time("choosing the ridge penalty"))

    def learn(rows: NDArray[np.bool_]) -> PriceStatistics:
        return _learn_priced(view.take(rows), telling, log_prices[rows], alpha, settings)

    everything = learn(np.ones(len(catalog), np.bool_))
    components, reading = _components(view.inputs, settings), _reading(view.states, reader, settings)
    target_features = TargetFeatures(inputs, components, telling, everything, reading)
    width = len(PRICED) + len(everything.categories.names) + (len(PRICED_BY_STATES) if reading else 0)
    priced = np.empty((len(catalog), width))
    for fold in np.unique(folds):
        inside = folds == fold
        priced[inside] = learn(~inside).features(view.take(inside), telling)
        check_time("making out-of-fold features")
    return target_features, target_features.table(view, priced)


def _view(catalog: Catalog, inputs: TfidfInputs, reader: FrozenTextEncoder | None) -> ComparedRows:
    fields = inputs.fields(catalog)
    states = None if reader is None else reader.states(catalog.texts.tolist())
    return ComparedRows(fields, inputs.values(catalog), inputs.matrix(catalog), log_amounts(fields), states)


def _distinct(names: list[str]) -> list[str]:
    """The names, a repeated one with its place behind it."""
    return [name if name not in names[:place] else f"{name}_{place}" for place, name in enumerate(names)]


_STATE_ALPHA = 1.0
"""Of the ridge on states, which have length 1."""


def _learn_priced(
    view: ComparedRows, telling: NDArray[np.bool_], log_prices: Floats, alpha: float, settings: TargetFeatureSettings
) -> PriceStatistics:
    def neighbours(vectors: near.Vectors) -> near.Neighbours:
        return near.learn_neighbours(
            vectors, log_prices, view.log_amounts, settings.neighbours, settings.neighbour_rows, settings.seed
        )

    by_states = None
    if view.states is not None:
        by_states = fit_dense_ridge(view.states, log_prices, _STATE_ALPHA), neighbours(view.states)
    return PriceStatistics(
        target.learn_targets(view.fields, log_prices, settings.smoothing),
        target.learn_categories(view.values, log_prices, settings.smoothing),
        fit_ridge(view.inputs, log_prices, alpha),
        neighbours(view.inputs[:, telling]),
        by_states,
    )


def _components(matrix: sp.csr_matrix, settings: TargetFeatureSettings) -> Floats:
    """The first right singular vectors, (d, c)."""
    count = min(settings.svd_components, min(matrix.shape) - 1)
    if count < 1:
        return np.zeros((matrix.shape[1], 0))
    return np.asarray(randomized_svd(matrix, count, n_iter=4, random_state=settings.seed)[2].T, dtype=np.float64)


def _reading(
    states: Floats | None, reader: FrozenTextEncoder | None, settings: TargetFeatureSettings
) -> StateProjection | None:
    if states is None or reader is None:
        return None
    count = min(settings.embedding_components, *states.shape)
    directions = np.linalg.eigh(np.cov(states, rowvar=False))[1]
    return StateProjection(reader, states.mean(axis=0), directions[:, ::-1][:, :count].copy())


def save_target_features(target_features: TargetFeatures, folder: Path) -> None:
    """Writes everything but the encoder itself, which is named by its files' hash."""
    priced, reading = target_features.priced, target_features.reading
    target_features.inputs.save(folder)
    write_json(folder / "targets.json", priced.targets.record() | priced.categories.record())
    arrays: dict[str, NDArray[Any]] = {"components": target_features.components, "telling": target_features.telling}
    arrays |= {**linear_arrays(priced.ridge, "ridge"), **neighbour_arrays(priced.neighbours, "near")}
    if reading is not None and priced.by_states is not None:
        ridge, neighbours = priced.by_states
        write_json(folder / "reader.json", reading.reader.record)
        arrays |= {**linear_arrays(ridge, "state"), **neighbour_arrays(neighbours, "state near")}
        arrays |= {"state mean": reading.mean, "state components": reading.components}
    save_arrays(folder / "knowledge.npz", arrays)


def load_target_features(folder: Path, reader: FrozenTextEncoder | None = None) -> TargetFeatures:
    """Reads back what `save_target_features` wrote. reader: the training's own, which knows its cache; else one without."""
    if reader is not None:
        return _load(folder, reader)
    files = [folder / name for name in ("inputs.json", "inputs.npz", "targets.json", "knowledge.npz", "reader.json")]
    return loaded_once("knowledge", [path for path in files if path.exists()], lambda: _load(folder, None))


def _load(folder: Path, reader: FrozenTextEncoder | None) -> TargetFeatures:
    arrays, path = load_arrays(folder / "knowledge.npz"), folder / "reader.json"
    targets = read_json(folder / "targets.json")
    by_states, reading = None, None
    if path.exists():
        by_states = linear_from(arrays, "state"), neighbours_from(arrays, "state near")
        reader = reader or FrozenTextEncoder(**read_json(path))
        reading = StateProjection(reader, arrays["state mean"], arrays["state components"])
    priced = PriceStatistics(
        target.targets_from_record(targets),
        target.categories_from_record(targets),
        linear_from(arrays, "ridge"),
        neighbours_from(arrays, "near"),
        by_states,
    )
    return TargetFeatures(load_inputs(folder), arrays["components"], arrays["telling"], priced, reading)


def neighbour_arrays(neighbours: near.Neighbours, name: str) -> dict[str, NDArray[Any]]:
    """Neighbours as arrays for `save_arrays`, under names that begin with `name`."""
    arrays: dict[str, NDArray[Any]] = {
        f"{name} prices": neighbours.log_prices,
        f"{name} amounts": neighbours.log_amounts,
        f"{name} count": np.array(neighbours.count),
    }
    if isinstance(neighbours.references, np.ndarray):
        return arrays | {f"{name} references": neighbours.references}
    return arrays | sparse_arrays(neighbours.references, f"{name} references")


def neighbours_from(arrays: dict[str, NDArray[Any]], name: str) -> near.Neighbours:
    """The neighbours that `neighbour_arrays` took apart."""
    dense = arrays.get(f"{name} references")
    references = sparse_from(arrays, f"{name} references") if dense is None else dense
    prices, amounts, count = (arrays[f"{name} {part}"] for part in ("prices", "amounts", "count"))
    return near.Neighbours(references, prices, amounts, int(count))


def linear_arrays(linear: LinearModel, name: str) -> dict[str, NDArray[Any]]:
    """A linear model as arrays for `save_arrays`, under names that begin with `name`."""
    return {f"{name} coefficients": linear.coefficients, f"{name} intercept": np.array(linear.intercept)}


def linear_from(arrays: dict[str, NDArray[Any]], name: str) -> LinearModel:
    """The linear model that `linear_arrays` took apart."""
    return LinearModel(arrays[f"{name} coefficients"], float(arrays[f"{name} intercept"]))
