"""SMAPE of the multimodal network on a holdout by heads, depth and direction of its cross-attention, paired to the default.

python benchmarks/accuracy/attention.py --train train.csv --images images/ --text-encoder NAME --vision-encoder NAME [--seeds 3]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.folds import HOLDOUT, make_folds
from core.data.reading import read_catalog
from core.hardware import detect
from core.metrics import smape_terms
from core.protocols.architecture import Context, make_config
from search_spaces import load_space

VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "heads 4": {"attention_heads": 4},
    "depth 2": {"attention_depth": 2},
    "depth 3": {"attention_depth": 3},
    "both": {"attention_direction": "both"},
    "gated": {"attention_direction": "gated"},
}


def main(
    train: Annotated[Path, typer.Option(help="catalog with prices")],
    images: Annotated[Path, typer.Option(help="folder of its images")],
    text_encoder: Annotated[str, typer.Option()] = "tiny",
    vision_encoder: Annotated[str, typer.Option()] = "tiny-vision",
    epochs: Annotated[int, typer.Option(min=1)] = 6,
    most: Annotated[int, typer.Option(min=100, help="rows that are drawn from the catalog")] = 6_000,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each variant")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of all trainings")] = None,
) -> None:
    given = dict(setting.split("=", 1) for setting in settings or ())
    common = best_known({**given, "text_encoder": text_encoder, "vision_encoder": vision_encoder}) | {"epochs": epochs}
    learn, held = holdout(train, images, most)
    print(f"{len(learn)} rows to learn from, {len(held)} held out")
    print(f"{'variant':<10} {'seed':>4} {'SMAPE':>7} {'difference':>11} {'± s.e.':>7} {'seconds':>8}")
    differences: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            baseline = None
            for name, variant in VARIANTS.items():
                terms, seconds = train_once(learn, held, {**common, **variant}, seed, Path(folder))
                baseline = terms if baseline is None else baseline
                differences[name].append(terms - baseline)
                show(name, str(seed), f"{terms.mean():.2f}", [terms - baseline], f"{seconds:.0f}")
    for name, found in differences.items():
        show(name, "all", "", found, "")


def best_known(given: dict[str, Any]) -> dict[str, Any]:
    """These settings, and for all others the documented best of the search space that suits the encoders."""
    kind = architecture("multimodal")
    resolution = kind.resolve(given, detect(), None)
    return {**load_space(resolution.space, kind.Config).best, **resolution.settings}


def holdout(train: Path, images: Path, most: int) -> tuple[Catalog, Catalog]:
    """(rows to learn from, rows held out) of at most so many rows; variants of a product stay on one side."""
    rows, _ = read_catalog(train, "train", images=images)
    rows = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:most]))
    unused = rows.take(np.arange(1)).without_prices()  # a test file decides nothing where groups are asked for
    folds, _ = make_folds(rows, unused, k=5, seed=0, fold_groups="on")
    learn, held = folds.split(HOLDOUT)
    return rows.take(learn), rows.take(held)


def train_once(
    learn: Catalog, held: Catalog, settings: dict[str, Any], seed: int, folder: Path
) -> tuple[np.ndarray, float]:
    """(SMAPE of each row held out, seconds) of one training for all its epochs, which never sees these rows."""
    kind, machine, start = architecture("multimodal"), detect(), time.perf_counter()
    config = make_config(kind.Config, settings)
    with tempfile.TemporaryDirectory() as run:
        context = Context(seed, Cache(folder / "cache"), Path(run), device=machine.device, threads=machine.cores)
        model = kind.train(learn, None, config, context)
    predicted = model.predict(held.without_prices())
    return smape_terms(held.known_prices, predicted), time.perf_counter() - start


def show(name: str, seed: str, score: str, differences: Sequence[np.ndarray], seconds: str) -> None:
    """Prints a line. differences: per seed, of the same rows; the standard error is that of the rows' means over the seeds."""
    mean = np.mean(differences, axis=0)
    error = mean.std(ddof=1) / np.sqrt(len(mean))
    print(f"{name:<10} {seed:>4} {score:>7} {mean.mean():>+11.2f} {error:>7.2f} {seconds:>8}", flush=True)


if __name__ == "__main__":
    typer.run(main)
