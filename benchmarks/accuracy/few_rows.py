"""Benchmark of stacks with few training rows: SMAPE on the whole test file by choice of members, after learning from random rows.

    python benchmarks/accuracy/few_rows.py FOLDER_OF_CATALOGS --keep FOLDER [--rows 200 400] [--draws 0 1]

Every documented point of `lexical` and `boosted` is cross-validated on ten folds with three seeds; CHOICES of them are stacked as
`ensemble.stack` does. `--keep` holds finished members, so that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from parts_of_portfolio import PORTFOLIO
from trained import Ground, cross_validate, matrix_of, prepare

from core.hardware import detect
from core.metrics import smape
from ensemble.matrix.screening import Column
from ensemble.pipeline.nested_cv import validate

FOLDS, SEEDS = 10, 3
LIGHT = {label: each for label, each in PORTFOLIO.items() if each[0] in ("lexical", "boosted")} | {
    "ridge": ("lexical", {"model": "ridge"})
}
KERNEL, BLEND, GREEDY, RANDOM, RIDGE = LIGHT
CHOICES: Mapping[str, Mapping[str, int]] = {
    "three seeds of each best": {KERNEL: 3, GREEDY: 3},
    "the documented points": {KERNEL: 1, BLEND: 1, GREEDY: 1, RANDOM: 1},
    "the documented points, three seeds of trees": {KERNEL: 1, BLEND: 1, GREEDY: 3, RANDOM: 3},
    "the documented points, three seeds": {KERNEL: 3, BLEND: 3, GREEDY: 3, RANDOM: 3},
    "without the Gaussian process": {BLEND: 3, GREEDY: 3, RANDOM: 3},
    "a ridge instead of it": {RIDGE: 1, GREEDY: 3, RANDOM: 3},
    "a ridge too": {RIDGE: 1, KERNEL: 1, BLEND: 1, GREEDY: 3, RANDOM: 3},
}


def members(ground: Ground, pool: ProcessPoolExecutor) -> dict[tuple[str, int], Column]:
    found = {}
    for seed in range(SEEDS):
        for label, column in zip(LIGHT, cross_validate(ground, LIGHT, pool, seed), strict=True):
            found[label, seed] = column
    return found


def judged(ground: Ground, columns: Sequence[Column]) -> dict[str, float]:
    renamed = [
        Column(f"{column.name} {number}", column.oof, column.test, column.seconds, kind=column.kind)
        for number, column in enumerate(columns)
    ]
    matrix = matrix_of(ground, renamed)
    found = validate(matrix, seed=0)
    return {
        "nested": smape(matrix.prices, found.nested),
        "test": smape(ground.true, found.final.predict(matrix.test_rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 400])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1])
    arguments = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, float]] = {}
    with ProcessPoolExecutor(detect().cores, mp_context=get_context("spawn")) as pool:
        for name in arguments.sets:
            for count in arguments.rows:
                for draw in arguments.draws:

                    def some(total: int, count: int = count, draw: int = draw) -> np.ndarray:
                        return np.sort(np.random.default_rng(draw).choice(total, count, replace=False))

                    ground = prepare(arguments.data / name, arguments.keep, k=FOLDS, some=some)
                    found = members(ground, pool)
                    single = {label: smape(ground.true, found[label, 0].test) for label in LIGHT}
                    stacks = {
                        label: judged(
                            ground, [found[kind, seed] for kind, seeds in choice.items() for seed in range(seeds)]
                        )
                        for label, choice in CHOICES.items()
                    }
                    place = f"{name} {count} #{draw}"
                    rows[place, "test"] = {**single, **{label: each["test"] for label, each in stacks.items()}}
                    rows[place, "nested"] = {label: each["nested"] for label, each in stacks.items()}
                    print(
                        pd.DataFrame({figure: rows[place, figure] for figure in ("nested", "test")}).round(2),
                        flush=True,
                    )
    frame = pd.DataFrame(rows)
    print(frame.xs("test", axis=1, level=1).assign(mean=lambda each: each.mean(axis=1)).round(2).to_string())


if __name__ == "__main__":
    main()
