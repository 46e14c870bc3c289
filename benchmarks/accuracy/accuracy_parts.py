"""Ablation study of the default portfolio: SMAPE of the stack without each part, everything else equal, on real catalogs.

    python benchmarks/accuracy/accuracy_parts.py DATA --keep FOLDER [--sets ikea whisky] [--seeds 0 1 2] [--only PART ...]

The members of PORTFOLIO are cross-validated once on the folds that a sweep would make, and stacked. Then one part of PARTS after
the other is left out or added: members that it changes are trained anew, and the stack is made again. Printed: nested SMAPE (out
of fold), SMAPE on the test rows, and the nested SMAPE of mere weights (`simplex-log`), which unlike the whole stack does not
jump between methods that score alike; each less that of the whole portfolio: where a part is left out, positive means that it
earns its place. Folds and trainings differ by seed; figures are means over the seeds. `--keep` holds finished members, so
that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from parts_of_portfolio import PARTS, PORTFOLIO, Part
from trained import Ground, cross_validate, matrix_of, prepare

from core.atomic_files import digest_json, read_json, write_json
from core.hardware import detect
from core.metrics import smape
from core.store.oof_store import CORE_VERSION
from ensemble.matrix.screening import Column
from ensemble.pipeline.nested_cv import validate

WHOLE = next(iter(PARTS))


_WEIGHTS = "simplex-log"


def judged(ground: Ground, columns: Sequence[Column], part: Part, seed: int) -> dict[str, float]:
    """Nested and test SMAPE of the stack of these members, and nested SMAPE of weights alone."""
    matrix = matrix_of(ground, columns)
    found = validate(matrix, seed=seed, methods=part.methods, steps=part.steps)
    plain = validate(matrix, seed=seed, methods=(_WEIGHTS,), steps=())
    test = found.final.predict(matrix.test_rows)
    return {
        "nested": smape(matrix.prices, found.nested),
        "test": smape(ground.true, test),
        "weights": smape(matrix.prices, plain.nested),
    }


def key_of(part: Part) -> str:
    """Names what is measured."""
    members = {label: list(each) for label, each in part.change(PORTFOLIO).items()}
    return digest_json([members, part.methods, part.steps])


def results_of(keep: Path, name: str, seed: int) -> Path:
    return keep / name / f"parts-{CORE_VERSION}-{seed}.json"


def measure(ground: Ground, parts: Mapping[str, Part], seed: int, cores: int) -> None:
    results = results_of(ground.keep, ground.name, seed)
    done: dict[str, dict[str, float]] = read_json(results) if results.exists() else {}
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for label, part in parts.items():
            key = key_of(part)
            if key not in done:
                columns = cross_validate(ground, part.change(PORTFOLIO), pool, seed)
                for column in columns if label == WHOLE else ():
                    score, test = smape(ground.train.known_prices, column.oof), smape(ground.true, column.test)
                    print(f"{ground.name}: {column.name}: {score:.2f}, test {test:.2f}, {column.seconds:.0f} s")
                done[key] = judged(ground, columns, part, seed)
                write_json(results, done)
            print(f"{ground.name}, seed {seed}, {label}: {json.dumps(done[key])}", flush=True)


def differences(keep: Path, name: str, seed: int) -> pd.DataFrame:
    """Part by figure: less those of the whole; the whole's own in its row. `%`: of its weights' SMAPE."""
    path = results_of(keep, name, seed)
    done = read_json(path) if path.exists() else {}
    if key_of(PARTS[WHOLE]) not in done:
        return pd.DataFrame()
    whole = done[key_of(PARTS[WHOLE])]
    rows = {label: done[key] for label, part in PARTS.items() if (key := key_of(part)) in done}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    less = frame - pd.Series(whole)
    less.loc[WHOLE] = frame.loc[WHOLE]
    less["%"] = 100 * (frame["weights"] / whole["weights"] - 1)
    less["% nested"] = 100 * (frame["nested"] / whole["nested"] - 1)
    return less


def table(keep: Path, sets: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Means over the seeds by catalog, and over both the change in percent, with its standard error over catalogs and seeds."""
    found = {(name, seed): differences(keep, name, seed) for name in sets for seed in seeds}
    found = {key: frame for key, frame in found.items() if len(frame)}
    wide = pd.concat(found, axis=1, names=["catalog", "seed", "figure"]).reindex(list(PARTS))
    means = wide.T.groupby(level=["catalog", "figure"], sort=False).mean().T
    means.columns = [" ".join(name) for name in means.columns]
    for figure in ("%", "% nested"):
        each = wide.xs(figure, axis=1, level="figure")
        means[f"mean {figure}"], means[f"error {figure}"] = each.mean(axis=1), each.sem(axis=1)
    return means.drop(columns=[name for name in means if "%" in name and name.split()[0] in sets]).round(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    parts = {label: PARTS[label] for label in dict.fromkeys([WHOLE, *arguments.only])}
    for seed in arguments.seeds:
        for name in arguments.sets:
            measure(prepare(arguments.data / name, arguments.keep, seed=seed), parts, seed, detect().cores)
    print(table(arguments.keep, arguments.sets, arguments.seeds).to_string())


if __name__ == "__main__":
    main()
