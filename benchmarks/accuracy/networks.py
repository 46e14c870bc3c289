"""Ablation study of the `text` network's options: one option changed at a time against a base config, on holdout folds.

It can be stopped at any time: a finished training is a line of benchmarks/data/networks.jsonl and is never repeated.

    python benchmarks/accuracy/networks.py FOLDER_OF_CATALOGS tiny   # trains what is missing, then prints the table
    python benchmarks/accuracy/networks.py FOLDER_OF_CATALOGS frozen --text-encoder FOLDER --only "both" "branch"
    python benchmarks/accuracy/networks.py --table tiny   # prints the table of what is there
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from holdout import holdout, learning_curve
from json_lines import add_line, read_lines

from core.cache import Cache

RESULTS = Path(__file__).parents[1] / "data" / "networks.jsonl"
KEY = ["base", "option", "catalog", "fold", "seed"]
BASES: dict[str, dict[str, Any]] = {
    "tiny": {
        "text_encoder": "tiny", "learning_rate": 2e-3, "batch_size": 16, "max_length": 64, "dropout": 0.1,
        "weight_decay": 0.01, "regressor_width": 128, "pooling": "attention", "epochs": 6,
    },
    "frozen": {
        "freeze_text": True, "learning_rate": 2e-3, "batch_size": 32, "max_length": 192, "dropout": 0.1,
        "weight_decay": 0.01, "regressor_width": 256, "epochs": 20,
    },
    "tuned": {
        "learning_rate": 1e-4, "batch_size": 32, "max_length": 64, "dropout": 0.1, "weight_decay": 0.01,
        "regressor_width": 256, "epochs": 3,
    },
}  # fmt: skip
ROWS = {"tuned": 600}
"""To learn from, where a training would take minutes."""
NONE: dict[str, Any] = {"fields": "none", "categories": 0, "head": "point"}
BOTH: dict[str, Any] = {"fields": "both", "categories": 8, "head": "both"}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": NONE,
    "fields: dense": NONE | {"fields": "dense"},
    "fields: tokens": NONE | {"fields": "tokens"},
    "fields: both": NONE | {"fields": "both"},
    "fields: dense, categories": NONE | {"fields": "dense", "categories": 8},
    "dense, categories of 16": NONE | {"fields": "dense", "categories": 16},
    "fields: both, categories": NONE | {"fields": "both", "categories": 8},
    "head: bins": NONE | {"head": "bins"},
    "head: both": NONE | {"head": "both"},
    "all": BOTH,
    "all, categories of 16": BOTH | {"categories": 16},
    "all, 32 bins": BOTH | {"bins": 32},
    "all, 128 bins": BOTH | {"bins": 128},
    "all, words never hidden": BOTH | {"category_dropout": 0.0},
    "all, words hidden 0.3": BOTH | {"category_dropout": 0.3},
    "dense, both heads": BOTH | {"fields": "dense"},
    "dense, bins": BOTH | {"fields": "dense", "head": "bins"},
    "head_rate 10": NONE | {"head_rate": 10.0},
    "layer_decay 0.8": NONE | {"layer_decay": 0.8},
    "layer_decay 0.8, head_rate 10": NONE | {"layer_decay": 0.8, "head_rate": 10.0},
    "frozen_layers 3": NONE | {"frozen_layers": 3},
    "frozen_layers 3, head_rate 10": NONE | {"frozen_layers": 3, "head_rate": 10.0},
    "lora_rank 8 at 1e-3": NONE | {"lora_rank": 8, "learning_rate": 1e-3},
    "dense, head_rate 10": NONE | {"fields": "dense", "categories": 16, "head_rate": 10.0},
    "dense, both heads, head_rate 10": BOTH | {"fields": "dense", "head_rate": 10.0},
    "dense, both heads, head_rate 10, layer_decay 0.8": BOTH
    | {"fields": "dense", "head_rate": 10.0, "layer_decay": 0.8},
    "dense, both heads, lora_rank 8 at 1e-3": BOTH | {"fields": "dense", "lora_rank": 8, "learning_rate": 1e-3},
    "all, head_rate 10": BOTH | {"head_rate": 10.0},
    "dense, both heads, 32 bins": BOTH | {"fields": "dense", "bins": 32},
    "dense, both heads, categories of 16": BOTH | {"fields": "dense", "categories": 16},
    "dense, both heads, words never hidden": BOTH | {"fields": "dense", "category_dropout": 0.0},
    "dense, both heads, words hidden 0.3": BOTH | {"fields": "dense", "category_dropout": 0.3},
    "dense, both heads, smape_huber": BOTH | {"fields": "dense", "loss": "smape_huber"},
    "all, layer_decay 0.8, head_rate 10": BOTH | {"layer_decay": 0.8, "head_rate": 10.0},
}


def read() -> pd.DataFrame:
    return pd.DataFrame(read_lines(RESULTS), columns=[*KEY, "smape", "seconds"])


def table(done: pd.DataFrame) -> pd.DataFrame:
    """Per option and catalog: lowest SMAPE of the epochs and seconds, means over folds and seeds.

    relative: to `none` on the same catalog, fold and seed; mean over these within a catalog, then over the catalogs.
    """
    done = done.assign(best=done.smape.map(min))
    place = ["catalog", "fold", "seed"]
    done = done.merge(done[done.option == "none"][[*place, "best"]], on=place, suffixes=("", " of none"))
    done["relative"] = done["best"] / done["best of none"]
    by = done.groupby(["option", "catalog"])
    wide = by[["best", "seconds"]].mean().join(by.size().rename("trainings")).unstack("catalog")
    wide.columns = [" ".join(column) for column in wide.columns]
    relative = by.relative.mean().unstack("catalog").mean(axis=1, skipna=False)
    return wide.join(relative.rename("relative")).sort_values("relative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("base", choices=BASES)
    parser.add_argument("--text-encoder", help="folder or name of the encoder, of all bases but tiny")
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--only", nargs="+", default=list(OPTIONS), help="names of options")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no training after so many")
    parser.add_argument("--cache", type=Path, help="a folder to keep what frozen encoders answer")
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        with TemporaryDirectory() as folder:
            run(arguments, Cache(arguments.cache or Path(folder)))
    done = read()
    print(table(done[done.base == arguments.base]).round(3).to_string())


def run(given: argparse.Namespace, cache: Cache) -> None:
    end = time.monotonic() + 60 * given.minutes
    for name, fold in ((name, fold) for fold in given.folds for name in given.sets):
        learn, held = holdout(given.data / name, fold)
        if given.base in ROWS:
            learn = learn.take(np.random.default_rng(0).permutation(len(learn))[: ROWS[given.base]])
        for seed, option in ((seed, option) for seed in given.seeds for option in given.only):
            key = [given.base, option, name, fold, seed]
            if (read()[KEY] == key).all(axis=1).any():
                continue
            if time.monotonic() > end:
                return
            settings = {"patience": 100, **BASES[given.base], **OPTIONS[option]}
            if given.text_encoder:
                settings["text_encoder"] = given.text_encoder
            start = time.perf_counter()
            curve = learning_curve((learn, held), settings, seed, cache, given.threads)
            seconds = round(time.perf_counter() - start, 1)
            record = {**dict(zip(KEY, key, strict=True)), "smape": [round(one, 3) for one in curve], "seconds": seconds}
            add_line(RESULTS, record)
            print(record, flush=True)


if __name__ == "__main__":
    main()
