"""Benchmark of memory by training rows: peak of a training on 75,000 demo rows against one on 500 rows of equal lengths.

    python benchmarks/training/memory.py [--rows 75000] [--text-encoder FOLDER]

Model, optimiser and activations are the same in both (passes hold the same number of tokens), so the difference is what the
catalog, its tokens and the loader take. Each runs in a process of its own, for a few steps.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from core.architectures import architecture
from core.cache import Cache
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.errors import OutOfTime
from core.protocols.architecture import Context, make_config

_FEW = 500
_SECONDS = 60.0


def train(folder: Path, rows: int, encoder: str) -> None:
    """Reads the CSV, takes so many rows, trains for some seconds; prints the peak in GiB."""
    read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
    catalog = read.train.take(np.arange(rows)) if rows < len(read.train) else read.train
    del read
    kind = architecture("text")
    config = make_config(kind.Config, {"text_encoder": encoder, "batch_size": 32, "max_length": 512})
    context = Context(0, Cache(folder / "cache"), folder / f"run-{rows}", threads=2, deadline=time.time() + _SECONDS)
    with contextlib.suppress(OutOfTime):  # what was to be seen has been seen
        kind.train(catalog, None, config, context)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--text-encoder", default="tiny")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        train(arguments.child, arguments.rows, arguments.text_encoder)
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "demo"
        many, few = arguments.rows, _FEW
        make_demo(folder, many * 5 // 4, images=0)
        small = Path(temporary) / "small"
        make_demo(small, 2_000, images=0)
        peaks = [
            float(subprocess.run(
                [sys.executable, __file__, "--child", str(place), "--rows", str(rows), "--text-encoder", arguments.text_encoder],
                check=True, capture_output=True, text=True,
            ).stdout.split()[-1])
            for place, rows in ((small, few), (folder, many))
        ]  # fmt: skip
    print(f"peak of a training on {few:,} rows {peaks[0]:.2f} GiB, on {many:,} rows {peaks[1]:.2f} GiB")
    print(f"{many:,} rows cost {peaks[1] - peaks[0]:.2f} GiB (limit 1.5)")


if __name__ == "__main__":
    main()
