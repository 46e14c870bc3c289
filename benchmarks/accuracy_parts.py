"""What each part of the default portfolio buys: the stack without it, everything else the same, on real catalogs.

    python benchmarks/accuracy_parts.py FOLDER_OF_CATALOGS --keep FOLDER [--sets ikea whisky] [--only PART ...]

The members of PORTFOLIO are cross-validated once on the folds that a sweep would make, and stacked. Then one part of PARTS after
the other is left out or added: members that it changes are trained anew, and the stack is made again. Printed: nested SMAPE (out
of fold), SMAPE on the test rows, and both less those of the whole portfolio: where a part is left out, positive means that it
earns its place. `--keep` holds finished members, so that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from parts_of_portfolio import PARTS, PORTFOLIO, Part, Portfolio

from core.architectures import architecture
from core.architectures.base import Context, make_config
from core.cache import Cache
from core.catalog_reading import ReadResult, read_catalogs
from core.files import digest_json, read_json, write_json
from core.fold_making import make_folds
from core.folds import Folds
from core.light.store import load_arrays, save_arrays
from core.machine import detect
from core.metrics import smape
from core.predictions import CORE_VERSION, geometric_mean
from ensemble.matrix import Matrix, assemble
from ensemble.row_features import of_catalog
from ensemble.selection import Column, Targets
from ensemble.validation import validate

WHOLE = next(iter(PARTS))


@dataclass(frozen=True, eq=False)
class Ground:
    """A catalog with its folds and the folder that keeps what was trained on it."""

    name: str
    read: ReadResult
    folds: Folds
    keep: Path

    @property
    def cache(self) -> Cache:
        return Cache(self.keep / "cache")


def train_fold(ground: Ground, name: str, settings: Mapping[str, Any], fold: int) -> Path:
    """Where the prices of one fold's rows and of the test rows are, after one training."""
    path = ground.keep / ground.name / f"{name}-{digest_json([CORE_VERSION, settings, ground.folds.hash])}-{fold}.npz"
    if not path.exists():
        kind = architecture(name)
        config = make_config(kind.Config, settings)
        learn, held = ground.folds.split(fold)
        start = time.perf_counter()
        with TemporaryDirectory() as folder:
            context = Context(0, ground.cache, Path(folder), threads=1)
            model = kind.train(ground.read.train.take(learn), None, config, context)
            rows = ground.read.train.take(held).without_prices()
            arrays = {"oof": model.predict(rows), "test": model.predict(ground.read.test)}
            for role, catalog in (("oof", rows), ("test", ground.read.test)):
                if (quantiles := model.predict_quantiles(catalog)) is not None:
                    arrays[f"{role} quantiles"] = quantiles
        save_arrays(path, {**arrays, "seconds": np.array(time.perf_counter() - start)})
    return path


def in_rows(ground: Ground, of_folds: Sequence[np.ndarray]) -> np.ndarray:
    """The folds' predictions in the order of the training rows."""
    found = np.empty((len(ground.read.train), *of_folds[0].shape[1:]))
    for fold, predicted in enumerate(of_folds):
        found[ground.folds.split(fold)[1]] = predicted
    return found


def cross_validate(ground: Ground, portfolio: Portfolio, pool: ProcessPoolExecutor) -> list[Column]:
    k = ground.folds.k
    jobs = [(name, settings, fold) for name, settings in portfolio.values() for fold in range(k)]
    paths = list(pool.map(partial(train_fold, ground), *zip(*jobs, strict=True)))
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
    train, test = ground.read.train, ground.read.test
    return assemble(
        columns,
        targets=Targets(train.ids, train.known_prices, ground.folds.groups, test.ids),
        folds=ground.folds.assignment,
        catalog=train.fingerprint,
        folds_hash=ground.folds.hash,
        features=of_catalog(train, test, ground.cache),
    )


def judged(ground: Ground, columns: Sequence[Column], true: np.ndarray, part: Part) -> dict[str, float]:
    """Nested and test SMAPE of the stack of these members."""
    matrix = matrix_of(ground, columns)
    found = validate(matrix, seed=0, methods=part.methods, steps=part.steps)
    test = found.final.predict(matrix.test_rows)
    return {"nested": smape(matrix.prices, found.nested), "test": smape(true, test)}


def key_of(part: Part) -> str:
    """Names what is measured."""
    members = {label: list(each) for label, each in part.change(PORTFOLIO).items()}
    return digest_json([members, part.methods, part.steps])


def results_of(keep: Path, name: str) -> Path:
    return keep / name / f"parts-{CORE_VERSION}.json"


def measure(ground: Ground, true: np.ndarray, parts: Mapping[str, Part], cores: int) -> None:
    results = results_of(ground.keep, ground.name)
    done: dict[str, dict[str, float]] = read_json(results) if results.exists() else {}
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for label, part in parts.items():
            key = key_of(part)
            if key not in done:
                columns = cross_validate(ground, part.change(PORTFOLIO), pool)
                for column in columns if label == WHOLE else ():
                    score, test = smape(ground.read.train.known_prices, column.oof), smape(true, column.test)
                    print(f"{ground.name}: {column.name}: {score:.2f}, test {test:.2f}, {column.seconds:.0f} s")
                done[key] = judged(ground, columns, true, part)
                write_json(results, done)
            print(f"{ground.name}, {label}: {json.dumps(done[key])}", flush=True)


def table(keep: Path, sets: Sequence[str]) -> pd.DataFrame:
    """Per part and catalog: nested and test SMAPE less those of the whole, and the mean change of the nested ones in percent."""
    rows: dict[str, dict[str, float]] = {label: {} for label in PARTS}
    for name in sets:
        path = results_of(keep, name)
        done = read_json(path) if path.exists() else {}
        whole = done.get(key_of(PARTS[WHOLE]))
        for label, part in PARTS.items():
            if whole is not None and (found := done.get(key_of(part))) is not None:
                for figure, value in found.items():
                    rows[label][f"{name} {figure}"] = value - (0.0 if label == WHOLE else whole[figure])
                rows[label][f"{name} %"] = 100 * (found["nested"] / whole["nested"] - 1)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    shares = [f"{name} %" for name in sets if f"{name} %" in frame]
    return (
        frame.assign(mean=frame[shares].mean(axis=1)).drop(columns=shares).rename(columns={"mean": "mean, %"}).round(2)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--only", nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    for name in arguments.sets:
        folder = arguments.data / name
        read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
        folds, _ = make_folds(read.train, read.test, k=5, seed=0, fold_groups="auto")
        ground = Ground(name, read, folds, arguments.keep)
        true = pd.read_csv(folder / "test_prices.csv", dtype={"sample_id": str}).set_index("sample_id")
        parts = {label: PARTS[label] for label in dict.fromkeys([WHOLE, *arguments.only])}
        measure(ground, true.loc[read.test.ids, "price"].to_numpy(), parts, detect().cores)
    print(table(arguments.keep, arguments.sets).to_string())


if __name__ == "__main__":
    main()
