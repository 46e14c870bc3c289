"""Benchmark of rules that choose among tied candidates: held-out SMAPE of four rules on matrices of few rows.

    python benchmarks/ensembling/choice_rules.py

Matrices of ensemble_matrices.py with 8 and 16 members, specialists or none, several seeds for each number of rows. All
methods are fitted without each of five blocks, and then to all rows; the rules see the same prices. Printed as ratios to
`built`, the rule that `ensemble.pipeline.final_pipeline` has: the first within one standard error of the best,
those that average most first.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
from ensemble_matrices import generate
from threadpoolctl import threadpool_limits

from core.metrics import smape
from ensemble.matrix.level_one import Rows
from ensemble.methods.combination import CombinationProblem
from ensemble.methods.method_registry import BLEND, METHODS, fit_methods, fitting
from ensemble.methods.simplex import fit_simplex
from ensemble.pipeline.final_pipeline import EvaluationRows, choose, compare, conclude

BLOCKS = 5
HELD_OUT = 8_000
Case = tuple[int, int, bool, int]


def rules(case: Case) -> dict[str, float]:
    """Held-out SMAPE of each rule on one matrix: (rows, members, kinds matter, seed)."""
    count, members, kinds, seed = case
    made = generate(seed, count, members, held_out=HELD_OUT, kinds=kinds, leak=False)
    rows, test = (Rows(each, np.empty((len(each), 0))) for each in (made.oof, made.test))
    blocks, groups = np.random.default_rng(seed).permutation(count) % BLOCKS, np.arange(count)
    smallest = int(count * (BLOCKS - 1) / BLOCKS)
    names = fitting(tuple(METHODS), members, smallest, smallest)
    predicted = {name: np.empty(count) for name in names}
    for block in range(BLOCKS):
        seen = blocks != block
        problem = CombinationProblem(rows.take(seen), made.prices[seen], groups[seen], (0,))
        for name, each in fit_methods(names, problem).items():
            predicted[name][~seen] = each.predict(rows.take(~seen))
    final = fit_methods(names, CombinationProblem(rows, made.prices, groups, (0, 1, 2)))
    tested = {name: each.predict(test) for name, each in final.items()}
    judged = EvaluationRows(made.prices, rows, blocks, groups)
    built = conclude(predicted, judged, blend=True, steps=(), seed=0)
    blend = fit_simplex(np.column_stack([predicted[name] for name in names]), made.prices, "log")
    tested[BLEND] = blend.predict(Rows(np.column_stack([tested[name] for name in names]), test.features))
    candidates = built.candidates
    single_first = {name: candidates[name] for name in ("single", *(each for each in names if each != "single"), BLEND)}
    taken = {
        "built": built.recipe.name,
        "single member first, blend last": choose(compare(made.prices, single_first, groups)),
        "lowest": min(candidates, key=lambda name: smape(made.prices, candidates[name])),
        "always the blend": BLEND,
    }
    return {rule: smape(made.truth, tested[name]) for rule, name in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1_000, 3_000])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    cases = list(product(arguments.rows, (8, 16), (True, False), range(arguments.seeds)))
    ratios: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with threadpool_limits(limits=1), ProcessPoolExecutor() as pool:
        for case, found in zip(cases, pool.map(rules, cases), strict=True):
            for rule, score in found.items():
                ratios[case[0]][rule].append(score / found["built"])
    for count, by_rule in ratios.items():
        told = ", ".join(f"{rule} {np.mean(scores):.4f}" for rule, scores in by_rule.items())
        print(f"{count} rows, {len(cases) // len(arguments.rows)} matrices: {told}")


if __name__ == "__main__":
    main()
