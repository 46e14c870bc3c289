"""Cross-validated members for the tables of benchmarks, on a sweep's folds; each training is made once and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from parts_of_portfolio import Portfolio

from core.architectures import architecture
from core.arrays import load_arrays, save_arrays
from core.atomic_files import digest_json
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.folds import Folds, make_folds
from core.data.price_scale import choose_scale, to_scale
from core.data.reading import read_catalogs
from core.protocols.architecture import Context, make_config
from core.store.oof_store import CORE_VERSION, geometric_mean
from ensemble.matrix.matrix import DataHashes, Matrix, assemble
from ensemble.matrix.row_features import of_catalog
from ensemble.matrix.screening import Column, Targets


@dataclass(frozen=True, eq=False)
class Ground:
    """A catalog with its folds and the folder that keeps what was trained on it. true: (t,) prices of its test rows."""

    name: str
    train: Catalog
    test: Catalog
    folds: Folds
    true: np.ndarray
    keep: Path

    @property
    def cache(self) -> Cache:
        return Cache(self.keep / "cache")


def prepare(
    folder: Path, keep: Path, *, seed: int = 0, k: int = 5, some: Callable[[int], np.ndarray] = np.arange
) -> Ground:
    """The catalog of a folder, its prices scaled as a workspace does. seed: of its folds. some: of so many training rows, the
    numbers of those that are there.
    """
    read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
    train = read.train.take(some(len(read.train)))
    folds, _ = make_folds(train, read.test, k=k, seed=seed, fold_groups="auto")
    true = pd.read_csv(folder / "test_prices.csv", dtype={"sample_id": str}).set_index("sample_id")
    scale = choose_scale(train.known_prices)
    train = replace(train.with_groups(folds.groups), prices=to_scale(train.known_prices, scale))
    true_prices = to_scale(true.loc[read.test.ids, "price"].to_numpy(), scale)
    return Ground(folder.name, train, read.test, folds, true_prices, keep)


def train_fold(ground: Ground, seed: int, name: str, settings: Mapping[str, Any], fold: int) -> Path:
    """Where the prices of one fold's rows and of the test rows are, after one training."""
    key = digest_json([CORE_VERSION, settings, ground.train.fingerprint, ground.folds.hash, seed])
    path = ground.keep / ground.name / f"{name}-{key}-{fold}.npz"
    if not path.exists():
        kind = architecture(name)
        config = make_config(kind.Config, settings)
        learn, held = ground.folds.split(fold)
        start = time.perf_counter()
        with TemporaryDirectory() as folder:
            context = Context(seed, ground.cache, Path(folder), threads=1)
            model = kind.train(ground.train.take(learn), None, config, context)
            rows = ground.train.take(held).without_prices()
            arrays = {"oof": model.predict(rows), "test": model.predict(ground.test)}
            for role, catalog in (("oof", rows), ("test", ground.test)):
                if (quantiles := model.predict_quantiles(catalog)) is not None:
                    arrays[f"{role} quantiles"] = quantiles
        save_arrays(path, {**arrays, "seconds": np.array(time.perf_counter() - start)})
    return path


def in_rows(ground: Ground, of_folds: Sequence[np.ndarray]) -> np.ndarray:
    """The folds' predictions in the order of the training rows."""
    found = np.empty((len(ground.train), *of_folds[0].shape[1:]))
    for fold, predicted in enumerate(of_folds):
        found[ground.folds.split(fold)[1]] = predicted
    return found


def cross_validate(ground: Ground, portfolio: Portfolio, pool: ProcessPoolExecutor, seed: int = 0) -> list[Column]:
    """The portfolio's members, in its order. seed: of their trainings."""
    k = ground.folds.k
    jobs = [(name, settings, fold) for name, settings in portfolio.values() for fold in range(k)]
    paths = list(pool.map(partial(train_fold, ground, seed), *zip(*jobs, strict=True)))
    columns = []
    for place, label in enumerate(portfolio):
        fits = [load_arrays(path) for path in paths[place * k : (place + 1) * k]]
        seconds = float(sum(fit["seconds"] for fit in fits))
        test = geometric_mean([fit["test"] for fit in fits])
        quantiles = None
        if "oof quantiles" in fits[0]:
            spread = geometric_mean([fit["test quantiles"] for fit in fits])
            quantiles = (in_rows(ground, [fit["oof quantiles"] for fit in fits]), spread)
        oof = in_rows(ground, [fit["oof"] for fit in fits])
        columns.append(Column(label, oof, test, seconds, kind=portfolio[label][0], quantiles=quantiles))
    return columns


def matrix_of(ground: Ground, columns: Sequence[Column]) -> Matrix:
    """What the stack is made of, as `ensemble.stack` reads it from a workspace."""
    train, test = ground.train, ground.test
    return assemble(
        columns,
        targets=Targets(train.ids, train.known_prices, ground.folds.groups, test.ids),
        folds=ground.folds.assignment,
        hashes=DataHashes(train.fingerprint, ground.folds.hash),
        features=of_catalog(train, test, ground.cache),
    )
