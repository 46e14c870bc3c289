"""SMAPE of `boosted` and `lexical` with and without labelled lines as fields, on folds of every catalog of a folder.

python benchmarks/accuracy/labelled_fields.py DATA [--only rumah_id --only books_in] [--folds 2] [--architectures boosted,lexical]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import ID, LINK, PRICE, TEXT, Catalog
from core.metrics import smape, smape_terms
from core.protocols.architecture import Context, make_config

FOLDS = 5


def main(
    data: Path,
    only: Annotated[list[str] | None, typer.Option(help="catalogs; all without it")] = None,
    architectures: Annotated[str, typer.Option(help="architectures to train, parted by commas")] = "boosted,lexical",
    folds: Annotated[int, typer.Option(min=1, max=FOLDS, help="how many of five random folds are evaluated")] = 1,
    most: Annotated[int, typer.Option(min=100, help="rows of a catalog that are read")] = 6_000,
) -> None:
    print(
        f"{'catalog':<14} {'architecture':<12} {'without':>8} {'with':>8} {'difference':>11} {'± s.e.':>7} {'seconds':>8}"
    )
    for folder in sorted(path.parent for path in data.glob("*/train.csv")):
        if only and folder.name not in only:
            continue
        catalog = read(folder / "train.csv", most)
        place = np.random.default_rng(0).permutation(len(catalog)) % FOLDS
        for name in architectures.split(","):
            compare(folder.name, name, catalog, place, folds)


def read(path: Path, most: int) -> Catalog:
    """The first rows, whatever the currency: SMAPE knows no scale, and the catalog's bounds are those of a submission."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=most)
    ids, texts, links = (frame[name].to_numpy(dtype=object) for name in (ID, TEXT, LINK))
    return Catalog(ids, texts, links, frame[PRICE].astype(float).to_numpy())


def compare(title: str, name: str, catalog: Catalog, place: np.ndarray, folds: int) -> None:
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
