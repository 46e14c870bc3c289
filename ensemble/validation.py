"""Nested cross-validation: which candidate to take, and what SMAPE to expect of it on rows that nobody has seen.

The figure for a fold comes from a candidate that was chosen and fitted on the other folds alone, so that neither the weights nor
the choice have seen the rows they are judged on (Varma and Simon 2006; Cawley and Talbot 2010).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.metrics import group_standard_error, smape_terms
from ensemble.candidates import Combination, candidate_names, fit_candidates
from ensemble.matrix import Matrix
from ensemble.tables import group_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[int, int], None]

MIN_BLOCKS, MAX_BLOCKS = 3, 5
FINAL_BOOSTERS, OUTER_BOOSTERS, INNER_BOOSTERS = 3, 2, 1
"""Boosters averaged in the final fit, in the reported figure and while choosing."""


def tell_nobody(done: int, total: int) -> None:
    """The progress of a stack that nobody watches."""


@dataclass(frozen=True, eq=False)
class Validation:
    """choice: the candidate to take. final: fitted to all rows. fold_choices: what each block's rows were predicted with.

    nested: (n,) prices behind the honest figure. in_sample: (n,) prices of `final` on the rows it was fitted to. candidates: the
    cross-validated prices (n,) of each candidate by name, simplest first.
    """

    choice: str
    final: Combination
    fold_choices: tuple[str, ...]
    nested: Floats
    in_sample: Floats
    candidates: dict[str, Floats]


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the best one: its SMAPE, and the mean and standard error of the rows' paired differences."""

    name: str
    smape: float
    standard_error: float
    difference: float
    difference_error: float


def validate(matrix: Matrix, seed: int = 0, tell: Tell = tell_nobody) -> Validation:
    """Chooses among the candidates for `matrix` and judges the whole procedure, choice included.

    A fit without blocks a and b serves both as a's inner fold b and as b's inner fold a: k(k+1)/2 + 1 fits, not k^2 + 1.
    tell: called with (fits done, of how many).
    """
    blocks = make_blocks(matrix.folds, matrix.groups, seed)
    k = int(blocks.max()) + 1
    names = candidate_names(matrix.oof.shape[1], int(len(blocks) * (k - 2) / k))

    def predict(left_out: tuple[int, ...]) -> dict[int, dict[str, Floats]]:
        """Prices of the rows of each block left out, by every candidate fitted to the others."""
        rows = ~np.isin(blocks, left_out)
        boosters = INNER_BOOSTERS if len(left_out) == 2 else OUTER_BOOSTERS
        fitted = fit_candidates(matrix.oof[rows], matrix.prices[rows], names, range(seed, seed + boosters))
        return {
            block: {name: each.predict(matrix.oof[blocks == block]) for name, each in fitted.items()}
            for block in left_out
        }

    outer_jobs: list[tuple[int, ...]] = [(a,) for a in range(k)]
    jobs = outer_jobs + list(combinations(range(k), 2))
    results = dict(zip(jobs, _side_by_side(predict, jobs, tell), strict=True))

    outer = _joined(names, blocks, {a: results[a,][a] for a in range(k)})
    choices = []
    for a in range(k):
        others = {b: results[min(a, b), max(a, b)][b] for b in range(k) if b != a}
        outside = blocks != a
        inner = {name: prices[outside] for name, prices in _joined(names, blocks, others).items()}
        choices.append(choose(compare(matrix.prices[outside], inner, matrix.groups[outside])))
    nested = np.choose(blocks, [outer[choice] for choice in choices])
    choice = choose(compare(matrix.prices, outer, matrix.groups))
    final = fit_candidates(matrix.oof, matrix.prices, (choice,), range(seed, seed + FINAL_BOOSTERS))[choice]
    return Validation(choice, final, tuple(choices), nested, final.predict(matrix.oof), outer)


def make_blocks(folds: Ints, groups: Ints, seed: int) -> Ints:
    """(n,) the parts that validation leaves out, numbered from 0: the folds themselves where there are 3 to 5 of them.

    More folds are merged into 5, since every one costs as many fits as there are; fewer are replaced by new parts, because
    choosing inside one fold needs two others. Groups stay whole wherever the folds kept them whole.
    """
    numbers, places = np.unique(folds, return_inverse=True)
    if len(numbers) > MAX_BLOCKS:
        return places.astype(np.int64) % MAX_BLOCKS
    if len(numbers) >= MIN_BLOCKS:
        return places.astype(np.int64)
    return group_folds(groups, MAX_BLOCKS, seed)


def compare(prices: Floats, candidates: Mapping[str, Floats], groups: Ints) -> list[Comparison]:
    """Each candidate's prices against the true ones, beside the best; standard errors count a group as one observation."""
    terms = {name: smape_terms(prices, predicted) for name, predicted in candidates.items()}
    best = min(terms, key=lambda name: float(terms[name].mean()))
    return [
        Comparison(
            name,
            float(each.mean()),
            group_standard_error(each, groups),
            float((each - terms[best]).mean()),
            group_standard_error(each - terms[best], groups),
        )
        for name, each in terms.items()
    ]


def choose(comparisons: Sequence[Comparison]) -> str:
    """The simplest candidate (they come simplest first) that is within one standard error of the best.

    The standard error is that of the paired differences of rows, which is far smaller than that of a SMAPE.
    """
    return next(each.name for each in comparisons if each.difference <= each.difference_error)


def _joined(names: Sequence[str], blocks: Ints, parts: Mapping[int, Mapping[str, Floats]]) -> dict[str, Floats]:
    """(n,) prices of each candidate from those of its blocks; NaN in blocks that are not in `parts`."""
    joined = {name: np.full(len(blocks), np.nan) for name in names}
    for block, prices in parts.items():
        for name in names:
            joined[name][blocks == block] = prices[name]
    return joined


def _side_by_side(work: Callable[[Job], Result], jobs: Sequence[Job], tell: Tell) -> list[Result]:
    """`work` of every job, in order, on all cores: NumPy and LightGBM let other threads run. Ctrl-C starts no further job."""
    pool = ThreadPoolExecutor(max_workers=usable_cores())
    try:
        results = []
        for result in pool.map(work, jobs):
            results.append(result)
            tell(len(results), len(jobs))
        return results
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
