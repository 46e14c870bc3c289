"""Benchmark of the caches: seconds of the first and the second computation, and size on disk.

    python benchmarks/training/caches.py [--tokenizer FILE] [--rows 75000] [--pictures 2000] [--light-rows 2000]

Tokens: peers are the tokenizer's plain loop, row by row, and `datasets.map`'s way (batches of 1,000 through `transformers`,
Python lists out), on a tenth of the rows. Pictures: the peer decodes and squeezes them with Pillow, one after the other; it
neither turns nor pads them, checks nothing and writes nothing. Rows and pictures are the demo's; without --tokenizer, a WordPiece
is trained on them. A second time includes hashing the key. Of light features only the bytes are told: they are a part of a
training. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from core.architectures import architecture
from core.cache import Cache, size_text
from core.data.catalog import Catalog
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.encoders.tiny import train_tokenizer
from core.hardware import usable_cores
from core.inputs.images.files import list_images
from core.inputs.pixels import load_pixels
from core.inputs.tokens import clean, tokenise
from core.protocols.architecture import Context, make_config

SHARE = 10
"""Peers get one row in so many; their seconds are multiplied."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(what: str, rows: int, first: float, second: float, size: int, peers: dict[str, float]) -> None:
    """One line of the table. peers: seconds for as many rows."""
    against = ", ".join(f"{name} {theirs:.1f} s = {theirs / first:.1f}x" for name, theirs in peers.items())
    per_thousand = size_text(round(size / rows * 1000))
    print(f"| {what} | {rows:,} | {first:.2f} s | {second:.2f} s | {per_thousand} | {against} |", flush=True)


def twice(cache: Cache, work: Callable[[], object]) -> tuple[float, float, int]:
    """Seconds of the first and the second time, and the bytes that came into the cache."""
    before = sum(entry.size for entry in cache.entries())
    first, second = seconds(work), seconds(work)
    return first, second, sum(entry.size for entry in cache.entries()) - before


def tokens(catalog: Catalog, tokenizer: Tokenizer, cache: Cache) -> None:
    texts = catalog.texts.tolist()
    first, second, size = twice(cache, lambda: tokenise(texts, tokenizer, 0, cache))
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    fast, some = PreTrainedTokenizerFast(tokenizer_object=whole), texts[::SHARE]
    peers = {
        "row by row": seconds(lambda: [fast(clean(text))["input_ids"] for text in some]),
        "in batches": seconds(lambda: [fast([*map(clean, some[i : i + 1000])]) for i in range(0, len(some), 1000)]),
    }
    scale = len(texts) / len(some)
    row("tokens", len(texts), first, second, size, {name: scale * time for name, time in peers.items()})


def pixels(catalog: Catalog, side: int, cache: Cache) -> None:
    first, second, size = twice(cache, lambda: load_pixels(catalog, cache, side))
    files = list_images(catalog.images)
    known = [files[name].path for name in set(catalog.image_names) & files.keys()]

    def plain() -> None:
        for path in known:
            with Image.open(path) as image:
                np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))

    row(f"pictures at {side} x {side}", len(known), first, second, size, {"one by one": seconds(plain)})


def features(catalog: Catalog, name: str, cache: Cache, folder: Path) -> None:
    """What one training of a light architecture leaves in the cache."""
    made = architecture(name)
    made.train(catalog, None, make_config(made.Config, {}), Context(0, cache, folder / name, threads=usable_cores()))
    size = sum(entry.size for entry in cache.entries() if entry.path.parent.name == name)
    print(
        f"| features of {name} | {len(catalog):,} | - | - | {size_text(round(size / len(catalog) * 1000))} | |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--light-rows", type=int, default=2_000)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        demo = make_demo(folder / "demo", given.rows * 5 // 4, images=given.pictures)
        catalog = read_catalogs(demo.train, demo.test, demo.images).train
        some = catalog.take(np.arange(min(given.light_rows, len(catalog))))
        tokenizer = Tokenizer.from_file(str(given.tokenizer)) if given.tokenizer else train_tokenizer([*some.texts])
        cache = Cache(folder / "cache")
        print(f"{usable_cores()} cores\n| what | rows | first time | again | bytes per 1,000 rows | peer |")
        print("|---|---|---|---|---|---|")
        tokens(catalog, tokenizer, cache)
        for side in (64, 224):
            pixels(catalog, side, cache)
        for name in ("lexical", "boosted"):
            features(some, name, cache, folder)


if __name__ == "__main__":
    main()
