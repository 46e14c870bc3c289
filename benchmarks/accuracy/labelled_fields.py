"""SMAPE of `boosted` and `lexical` with and without labelled lines as fields, on folds of every catalog of a folder.

python benchmarks/accuracy/labelled_fields.py DATA [--only rumah_id --only books_in] [--folds 2] [--architectures boosted]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import typer

from core.architectures import architecture
from core.cache import Cache
from core.data.reading import read_catalog
from core.metrics import smape, smape_terms
from core.protocols.architecture import Context, make_config

FOLDS = 5


def main(
    data: Path,
    only: list[str] = typer.Option([], help="catalogs; all without it"),
    architectures: list[str] = typer.Option(["boosted", "lexical"], help="architectures to train"),
    folds: int = typer.Option(1, help="how many of five random folds are evaluated"),
    most: int = typer.Option(6_000, help="rows of a catalog that are read"),
) -> None:
    print(f"{'catalog':<14} {'architecture':<12} {'without':>8} {'with':>8} {'difference':>11} {'± s.e.':>7} {'seconds':>8}")
    for folder in sorted(path.parent for path in data.glob("*/train.csv")):
        if only and folder.name not in only:
            continue
        catalog = read_catalog(folder / "train.csv", priced=True)
        catalog = catalog.take(np.arange(min(most, len(catalog))))
        place = np.random.default_rng(0).permutation(len(catalog)) % FOLDS
        for name in architectures:
            compare(folder.name, name, catalog, place, folds)


def compare(title: str, name: str, catalog, place: np.ndarray, folds: int) -> None:
    kind, started = architecture(name), time.perf_counter()
    scores, terms = {}, {}
    for labelled in (False, True):
        config = make_config(kind.Config, {"labelled_fields": labelled})
        found = []
        for fold in range(folds):
            with tempfile.TemporaryDirectory() as folder:
                context = Context(seed=0, cache=Cache(Path(folder) / "cache"), folder=Path(folder) / "run")
                model = kind.train(catalog.take(place != fold), None, config, context)
            held = catalog.take(place == fold)
            found.append((held.known_prices, model.predict(held.without_prices())))
        true, predicted = (np.concatenate(part) for part in zip(*found, strict=True))
        scores[labelled], terms[labelled] = smape(true, predicted), smape_terms(true, predicted)
    difference = terms[True] - terms[False]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    print(
        f"{title:<14} {name:<12} {scores[False]:>8.2f} {scores[True]:>8.2f} {difference.mean():>+11.2f} {error:>7.2f} "
        f"{time.perf_counter() - started:>8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
