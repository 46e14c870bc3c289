"""Benchmark of data-parallel training of one text encoder: rows per second, and deviation of losses from one process's.

    python benchmarks/training/data_parallel.py ../shared/data/ikea                       # the tiny encoder
    python benchmarks/training/data_parallel.py ../shared/data/ikea --text-encoder FOLDER

One worker with two threads or with one against two workers with one thread each, joined by gloo. Layouts take turns, so that
whatever else the machine does meets them alike. What Ray Train needs to start its workers is not in it.
"""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.reading import read_catalogs
from core.protocols.architecture import ALONE, Context, make_config
from core.training.distributed import TorchGroup

LAYOUTS = ((1, 2), (1, 1), (2, 1))
"""(workers, threads of each)"""
ROUNDS = 3


def work(rank: int, size: int, threads: int, folder: Path, catalog: Catalog, settings: dict[str, Any]) -> None:
    """Trains one epoch and writes rank 0's seconds and mean loss."""
    if size > 1:
        store = f"file://{folder}/store"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    kind, losses = architecture("text"), []
    group = TorchGroup() if size > 1 else ALONE
    context = Context(
        0,
        Cache(folder / "cache"),
        folder / "run",
        "cpu",
        threads,
        lambda _, told: losses.append(told["loss"]),
        group=group,
    )
    config = make_config(kind.Config, settings)
    warm = np.arange(2 * settings["batch_size"])
    kind.train(catalog.take(warm), None, config, context)  # reads weights, imports, fills allocators
    start = time.perf_counter()
    kind.train(catalog, catalog.take(warm), config, context)
    if rank == 0:
        (folder / "result").write_text(f"{time.perf_counter() - start} {losses[-1]}")
    if size > 1:
        distributed.destroy_process_group()


def run(workers: int, threads: int, catalog: Catalog, settings: dict[str, Any]) -> tuple[float, float]:
    """(rows per second, mean loss of the epoch)."""
    with TemporaryDirectory() as folder:
        arguments = (workers, threads, Path(folder), catalog, settings)
        multiprocessing.spawn(work, arguments, nprocs=workers)
        seconds, loss = map(float, (Path(folder) / "result").read_text().split())
    return len(catalog) / seconds, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text-encoder", default="tiny")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    catalog = read_catalogs(given.data / "train.csv", given.data / "test.csv", None).train
    catalog = catalog.take(np.arange(min(given.rows, len(catalog))))
    settings = {"text_encoder": given.text_encoder, "epochs": 1, "batch_size": 32, "max_length": 512, "loss": "huber",
                "learning_rate": 1e-4, "dropout": 0.0, "precision": given.precision}  # fmt: skip
    found: dict[tuple[int, int], list[tuple[float, float]]] = {layout: [] for layout in LAYOUTS}
    for _ in range(ROUNDS):
        for layout in LAYOUTS:
            found[layout].append(run(*layout, catalog, settings))
    one = median(rate for rate, _ in found[LAYOUTS[0]])
    for (workers, threads), rounds in found.items():
        rate, loss = median(rate for rate, _ in rounds), rounds[-1][1]
        print(f"{workers} workers x {threads} threads: {rate:8.1f} rows/s, {rate / one:.2f} x, loss {loss:.6f}  "
              f"({', '.join(f'{each:.1f}' for each, _ in rounds)})")  # fmt: skip
    print(f"{len(catalog):,} rows, torch {torch.__version__}")


if __name__ == "__main__":
    main()
