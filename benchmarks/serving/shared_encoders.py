"""Benchmark of frozen encoders shared by a bundle's fold models, against the same bundle where each model reads for itself.

    python benchmarks/serving/shared_encoders.py BUNDLE CATALOG.csv [--images FOLDER]

BUNDLE: with members that read a frozen encoder. Seconds are those of single products and of one batch, each product read for the
first time; both ways take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from core.data.catalog import Catalog
from core.data.reading import read_catalog
from core.fields.reader import field_cache
from serving.bundle import shared_encoders
from serving.bundle.bundle import ENCODERS, MEMBERS
from serving.bundle.predictor import Predictor

WAYS = {"shared": shared_encoders._REMEMBERED, "each for itself": 0}
"""Bytes that an encoder remembers; with none, every fold model has it read again."""


def predictor(folder: Path, remembered: int) -> Predictor:
    with patch.object(shared_encoders, "_REMEMBERED", remembered):
        found = Predictor(folder)
    shared_encoders.shared_encoder.cache_clear()
    return found


def seconds(asked: Predictor, rows: Catalog) -> float:
    field_cache.clear()
    start = time.perf_counter()
    asked.predict(rows)
    return time.perf_counter() - start


def bytes_in(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--singles", type=int, default=40)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    catalog = read_catalog(options.catalog, "test", images=options.images)[0]
    asked = {way: predictor(options.bundle, remembered) for way, remembered in WAYS.items()}
    for each in asked.values():
        each.predict(catalog.take(np.arange(2)))
    rows = np.random.default_rng(0).permutation(len(catalog))
    singles, batch = rows[: options.singles], rows[options.singles : options.singles + options.batch]
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    for row in singles:
        for way, each in asked.items():
            alone[way].append(seconds(each, catalog.take(np.array([row]))))
    together = {way: seconds(each, catalog.take(batch)) for way, each in asked.items()}
    for way in WAYS:
        print(
            f"{way:16s} a product {1_000 * statistics.median(alone[way]):7.1f} ms   {len(batch)} products {together[way]:6.2f} s"
        )
    shared, itself = WAYS
    print(
        f"ratio            a product {statistics.median(alone[itself]) / statistics.median(alone[shared]):7.2f}x     "
        f"{len(batch)} products {together[itself] / together[shared]:6.2f}x"
    )
    facts = asked[shared].facts
    readers = sum(len(member.folds) for member in facts.members if not member.light)
    stored = bytes_in(options.bundle, f"{ENCODERS}/**/*")
    print(
        f"encoders {stored / 1e6:.0f} MB, stored once for {readers} fold models; members "
        f"{bytes_in(options.bundle, f'{MEMBERS}/**/*') / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
