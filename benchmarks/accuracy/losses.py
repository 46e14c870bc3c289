"""Comparison of loss functions and poolings for a fine-tuned text encoder: all combinations, several seeds, one holdout fold.

It takes hours and can be stopped at any time: a finished training is a line of benchmarks/data/losses.jsonl and is never
repeated. The stages come in the order of what they tell: losses first, then poolings under the two best losses, then the rest.

    python benchmarks/accuracy/losses.py DATA --text-encoder FOLDER   # trains what is missing, then prints the table
    python benchmarks/accuracy/losses.py --table   # prints the table of what is there
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from holdout import holdout, learning_curve
from json_lines import add_line, read_lines

from core.cache import Cache
from core.data.catalog import Catalog
from core.hardware import detect

RESULTS = Path(__file__).parents[1] / "data" / "losses.jsonl"
LOSSES, POOLINGS = ("smape", "huber", "l1", "smape_huber"), ("mean", "cls", "attention")
FIXED = {
    "learning_rate": 1e-4, "batch_size": 32, "epochs": 4, "max_length": 192, "dropout": 0.1, "weight_decay": 0.01,
    "regressor_width": 256, "regressor_depth": 1,
}  # fmt: skip
KEY = ["catalog", "loss", "pooling", "seed"]


def wanted(stage: int, done: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(loss, pooling) pairs of a stage."""
    if stage == 1:
        yield from ((loss, POOLINGS[0]) for loss in LOSSES)
    elif stage == 2:
        best = table(done[done.pooling == POOLINGS[0]])["relative"].sort_values().index.get_level_values("loss")[:2]
        yield from ((loss, pooling) for loss in best for pooling in POOLINGS[1:])
    else:
        yield from ((loss, pooling) for loss in LOSSES for pooling in POOLINGS)


def read() -> pd.DataFrame:
    return pd.DataFrame(read_lines(RESULTS), columns=[*KEY, "smape", "epochs", "seconds"])


def table(done: pd.DataFrame) -> pd.DataFrame:
    """Mean SMAPE per catalog, its standard error over the seeds, and the mean of the ratios to each catalog's best."""
    best = done.assign(best=done.smape.map(min))
    groups = best.groupby(["catalog", "loss", "pooling"]).best
    wide = groups.mean().unstack("catalog")
    errors = (groups.std() / np.sqrt(groups.count())).unstack("catalog").add_suffix(" s.e.")
    relative = (wide / wide.min()).mean(axis=1, skipna=False).rename("relative")
    return wide.join(errors).join(relative).join(groups.count().unstack("catalog").min(axis=1).rename("seeds"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--text-encoder", help="folder or name of the encoder to fine-tune")
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=detect().cores, help="1 with a process per catalog uses cores best"
    )
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments)
    print(table(read()).sort_values("relative").round(3).to_string())


def run(arguments: argparse.Namespace) -> None:
    rows = {name: holdout(arguments.data / name) for name in arguments.sets}
    with TemporaryDirectory() as cache:
        for stage in range(1, arguments.stages + 1):
            for seed in range(arguments.seeds):
                done = read()
                for loss, pooling in wanted(stage, done[done.catalog.isin(arguments.sets)]):
                    for name in arguments.sets:
                        one(name, rows[name], loss, pooling, seed, arguments, Cache(Path(cache)))


def one(
    name: str, rows: tuple[Catalog, Catalog], loss: str, pooling: str, seed: int, how: argparse.Namespace, cache: Cache
) -> None:
    done = read()
    if ((done[KEY] == [name, loss, pooling, seed]).all(axis=1)).any():
        return
    start = time.perf_counter()
    settings = {**FIXED, "text_encoder": how.text_encoder, "loss": loss, "pooling": pooling}
    curve = learning_curve(rows, settings, seed, cache, how.threads)
    record = {
        "catalog": name, "loss": loss, "pooling": pooling, "seed": seed, "smape": [round(one, 3) for one in curve],
        "epochs": len(curve), "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    add_line(RESULTS, record)
    print(record, flush=True)


if __name__ == "__main__":
    main()
