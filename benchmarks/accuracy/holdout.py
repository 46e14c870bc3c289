"""Shared helpers for training text networks in benchmarks: holdout split of a catalog, learning curve of one config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.folds import HOLDOUT, make_folds
from core.data.reading import read_catalogs
from core.protocols.architecture import Context, make_config


def holdout(folder: Path, fold: int = HOLDOUT) -> tuple[Catalog, Catalog]:
    """(rows to learn from, rows of the fold that is held out) of a folder with train.csv and test.csv."""
    read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
    folds, _ = make_folds(read.train, read.test, k=5, seed=0, fold_groups="auto")
    learn, held = folds.split(fold)
    return read.train.take(learn), read.train.take(held)


def learning_curve(
    rows: tuple[Catalog, Catalog], settings: Mapping[str, Any], seed: int, cache: Cache, threads: int
) -> list[float]:
    """SMAPE of the rows held out after each epoch of a `text` config."""
    curve: list[float] = []
    kind = architecture("text")
    config = make_config(kind.Config, settings)
    with TemporaryDirectory() as folder:
        context = Context(
            seed, cache, Path(folder), threads=threads, report=lambda _, metrics: curve.append(metrics["smape"])
        )
        kind.train(*rows, config, context)
    return curve
