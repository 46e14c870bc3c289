"""Benchmark of classical models: seconds and peak memory of one training by the number of rows, beside the planner's estimate.

    python benchmarks/accuracy/light_timings.py [--rows 1000 3000 10000 30000 75000] [--real FOLDER_OF_CATALOGS]

On demo catalogs (and on real ones), one process and one thread each, as a worker trains; run it where nothing else runs.
Prediction is of as many rows as are learnt from.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from parts_of_portfolio import PORTFOLIO

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.folds import make_folds
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.hardware import detect
from core.protocols.architecture import Context, make_config

LIGHT = {label: each for label, each in PORTFOLIO.items() if each[0] in ("lexical", "boosted")}


def timed(train: Path, test: Path, count: int, label: str) -> dict[str, Any]:
    """Runs in a process of its own, so that its peak is that of this training."""
    read = read_catalogs(train, test, None)
    folds, _ = make_folds(read.train, read.test, k=5, seed=0, fold_groups="auto")
    rows: Catalog = read.train.with_groups(folds.groups).take(np.arange(min(count, len(read.train))))
    name, settings = LIGHT[label]
    kind = architecture(name)
    config = make_config(kind.Config, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        context = Context(0, Cache(Path(folder) / "cache"), Path(folder), threads=1)
        start = time.perf_counter()
        model = kind.train(rows, None, config, context)
        trained = time.perf_counter()
        model.predict(rows.without_prices())
        predicted = time.perf_counter()
    machine = detect()
    return {
        "rows": len(rows),
        "member": label,
        "seconds": trained - start,
        "expected": kind.estimate_seconds(rows, config, machine),
        "predicting": predicted - trained,
        "GiB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20,
        "expected GiB": kind.estimate_memory(rows, config, machine) / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", type=int, default=[1000, 3000, 10_000, 30_000, 75_000])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--members", nargs="+", default=list(LIGHT))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        demo = make_demo(Path(scratch) / "demo", rows=max(2000, *arguments.rows) * 5 // 4 + 5, images=0)
        places = [("demo", demo.train, demo.test, rows) for rows in arguments.rows]
        if arguments.real:
            places += [(name, arguments.real / name / "train.csv", arguments.real / name / "test.csv", 10**6)
                       for name in ("ikea", "whisky")]  # fmt: skip
        for name, train, test, rows in places:
            for label in arguments.members:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found = pool.submit(timed, train, test, rows, label).result()
                print(pd.DataFrame([{"catalog": name, **found}]).round(2).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
