"""SMAPE on native catalogs and on the same rebuilt as a shop's table, each labelled line a column of its own.

python benchmarks/accuracy/columns.py DATA [--only rumah_id --only books_in] [--folds 2] [--architectures boosted,lexical]
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import ID, LINK, PRICE, TEXT, Catalog
from core.data.catalog_config import TableConfig
from core.data.reading import read_catalogs
from core.fields.learnt_fields import labelled_values
from core.metrics import smape, smape_terms
from core.protocols.architecture import Context, make_config

FOLDS = 5
FREQUENT = 0.02
"""Share of the rows in which a label stands that becomes a column."""
NAME = "Item Name:"


def main(
    data: Path,
    only: Annotated[list[str] | None, typer.Option(help="catalogs; all without it")] = None,
    architectures: Annotated[str, typer.Option(help="architectures to train, parted by commas")] = "boosted,lexical",
    folds: Annotated[int, typer.Option(min=1, max=FOLDS, help="how many of five random folds are evaluated")] = 1,
    most: Annotated[int, typer.Option(min=100, help="rows of a catalog that are read")] = 6_000,
) -> None:
    print(f"{'catalog':<12} {'architecture':<12} {'native':>8} {'rebuilt':>8} {'difference':>11} {'± s.e.':>7}")
    for folder in sorted(path.parent for path in data.glob("*/train.csv")):
        if only and folder.name not in only:
            continue
        frames = [pd.read_csv(folder / f"{role}.csv", dtype=str, keep_default_na=False) for role in ("train", "test")]
        frames[0] = frames[0].iloc[:most]
        native, shop = read(frames), read(rebuilt(frames))
        place = np.random.default_rng(0).permutation(len(native)) % FOLDS
        for name in architectures.split(","):
            compare(f"{folder.name:<12} {name:<12}", name, (native, shop), place, folds)


def rebuilt(frames: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """A shop's tables: sku, title, description, a column per frequent label, photo and price."""
    counts = Counter(label for text in frames[0][TEXT] for label in labelled_values(text))
    frequent = [label for label, count in counts.items() if count >= FREQUENT * len(frames[0])]
    return [_rebuilt(frame, frequent) for frame in frames]


def _rebuilt(frame: pd.DataFrame, frequent: Sequence[str]) -> pd.DataFrame:
    rows = []
    for text in frame[TEXT]:
        values = labelled_values(text)
        title, rest = "", []
        for line in text.split("\n"):
            if line.startswith(NAME) and not title:
                title = line.removeprefix(NAME).strip()
            elif not (own := labelled_values(line)) or not own.keys() <= set(frequent):
                rest.append(line)
        rows.append(
            {"title": title, "description": "\n".join(rest)} | {name: values.get(name, "") for name in frequent}
        )
    table = pd.DataFrame(rows, dtype=object)
    table.insert(0, "sku", frame[ID].to_numpy())
    table["photo"] = frame[LINK].to_numpy()
    return table.assign(final_price=frame[PRICE].to_numpy()) if PRICE in frame else table


def read(frames: Sequence[pd.DataFrame]) -> Catalog:
    """The training rows as a workspace reads them."""
    mapped = "sku" in frames[0]
    config = TableConfig(columns="id=sku,text=title+description,image=photo,price=final_price" if mapped else None)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{role}.csv" for role in ("train", "test")]
        for frame, path in zip(frames, paths, strict=True):
            frame.to_csv(path, index=False)
        return read_catalogs(paths[0], paths[1], None, table=config).train


def compare(title: str, name: str, catalogs: tuple[Catalog, Catalog], place: np.ndarray, folds: int) -> None:
    kind, started = architecture(name), time.perf_counter()
    config = make_config(kind.Config, {"labelled_fields": True})
    scores, terms = [], []
    for catalog in catalogs:
        found = []
        for fold in range(folds):
            with tempfile.TemporaryDirectory() as folder:
                context = Context(seed=0, cache=Cache(Path(folder) / "cache"), folder=Path(folder) / "run")
                model = kind.train(catalog.take(place != fold), None, config, context)
            held = catalog.take(place == fold)
            found.append((held.known_prices, model.predict(held.without_prices())))
        true, predicted = (np.concatenate(part) for part in zip(*found, strict=True))
        scores.append(smape(true, predicted))
        terms.append(smape_terms(true, predicted))
    difference = terms[1] - terms[0]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    print(
        f"{title} {scores[0]:>8.2f} {scores[1]:>8.2f} {difference.mean():>+11.2f} {error:>7.2f} "
        f"{time.perf_counter() - started:>8.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
