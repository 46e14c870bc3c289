"""Benchmark of one step of the documented networks in full shape: NeoBERT (222 M) and CLIP ViT-B/32 with random weights.

    PYTHONPATH=. python benchmarks/training/full_shapes.py [--rows 16]

The weights are written as the hub has them, served by the tests' stand-in for the hub, and downloaded by name with
`python -m core.encoders fetch neobert clip`. Each network then takes one step in a process of its own.
"""

from __future__ import annotations

import core as core  # before torch is loaded: it limits spinning

# isort: split
import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from multimodal import save_tower
from neobert_shape import neobert_folder

from core.architectures import architecture
from core.cache import Cache
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.encoders.presets import PRESETS
from core.protocols.architecture import Context, make_config

_SECONDS = 280.0


def step(name: str, folder: Path, rows: int) -> None:
    """Trains on one batch and evaluates on four rows; prints seconds and the process's peak."""
    demo = folder / "demo"
    catalog = read_catalogs(demo / "train.csv", demo / "test.csv", demo / "images").train
    kind, seen = architecture(name), list[Mapping[str, float]]()
    names = {"text_encoder": "neobert"} | ({"vision_encoder": "clip"} if name == "multimodal" else {})
    config = make_config(kind.Config, {**names, "batch_size": rows, "epochs": 1})
    context = Context(0, Cache(folder / "cache"), folder / name, report=lambda _, metrics: seen.append(metrics))
    start = time.monotonic()
    kind.train(catalog.take(np.arange(rows)), catalog.take(np.arange(rows, rows + 4)), config, context)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = [seen[0][key] for key in ("seconds", "judging_seconds")]
    print(
        f"{name}: a step of {rows} rows {seconds[0]:.1f} s, 4 rows evaluated {seconds[1]:.1f} s, with loading and saving "
        f"{time.monotonic() - start:.0f} s; peak {peak:.1f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        step(arguments.child[0], Path(arguments.child[1]), arguments.rows)
        return
    from tests.core_tests.encoders.hub_server import serving

    with TemporaryDirectory() as temporary, serving() as hub:
        folder = Path(temporary)
        demo = make_demo(folder / "demo", 200)
        texts = read_catalogs(demo.train, demo.test, None).train.texts.tolist()
        for name in ("neobert", "clip"):
            (folder / name).mkdir()
        hub.add(PRESETS["neobert"].hub, neobert_folder(folder / "neobert", texts))
        hub.add(PRESETS["clip"].hub, save_tower(folder / "clip"))
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"}
        fetch = [sys.executable, "-m", "core.encoders", "fetch", "neobert", "clip"]
        subprocess.run(fetch, env=environment, check=True, timeout=_SECONDS)
        for name in ("text", "multimodal"):
            child = [sys.executable, __file__, "--rows", str(arguments.rows), "--child", name, str(folder)]
            subprocess.run(child, env={**environment, "HF_HUB_OFFLINE": "1"}, check=True, timeout=_SECONDS)


if __name__ == "__main__":
    main()
