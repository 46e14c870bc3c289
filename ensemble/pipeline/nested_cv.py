"""Nested cross-validation of the whole stack: the score to expect on new rows.

The figure for a fold comes from a recipe that was chosen and fitted on the other folds alone, so that neither weights, nor
choice, nor post-processing steps have seen the rows they are evaluated on (Varma and Simon 2006; Cawley and Talbot 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from core.arrays import Floats, Ints
from core.errors import UserError
from core.hardware import usable_cores
from ensemble.matrix.external_predictions import group_folds
from ensemble.matrix.level_one import Rows
from ensemble.matrix.matrix import Matrix
from ensemble.matrix.stored_types import stored
from ensemble.methods.combination import Combination, CombinationProblem
from ensemble.methods.method_registry import BLEND, fit_methods, fitting, known_methods
from ensemble.pipeline.final_pipeline import MIN_STEP_ROWS, Conclusion, EvaluationRows, FinalPipeline, conclude
from ensemble.pipeline.postprocessing import STEPS, applicable

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
Predicted = dict[str, Floats]

MIN_BLOCKS, MAX_BLOCKS = 3, 5
FINAL_BOOSTERS, OUTER_BOOSTERS, INNER_BOOSTERS = 3, 1, 1
"""Boosters averaged in the final fit, in the reported figure and while choosing."""
MANY_ROWS = 20_000
"""With more, two inner folds separate candidates as surely as four: each block is paired with its neighbours alone."""


def no_progress(done: int, total: int) -> None:
    """Progress callback that does nothing."""


@stored("Stacked")
@dataclass(frozen=True, eq=False)
class Stacked:
    """A recipe with the methods it needs, fitted: one price from the members'."""

    recipe: FinalPipeline
    fitted: dict[str, Combination]

    @property
    def weights(self) -> Floats:
        """(m,) how much each member counts in the methods' linear parts."""
        return np.sum([share * self.fitted[name].weights for name, share in self.recipe.shares.items()], axis=0)

    def predict(self, rows: Rows) -> Floats:
        """(n,) prices."""
        _ = rows.statistics  # for all methods, before they share the cores
        names = list(self.fitted)
        with threadpool_limits(limits=1):
            prices = side_by_side(lambda name: self.fitted[name].predict(rows), names, lambda done: None)
            return self.recipe.apply(dict(zip(names, prices, strict=True)), rows)

    def describe(self) -> list[dict[str, Any]]:
        """The methods with their shares, in JSON's terms."""
        return [
            {"name": name, "share": share, **self.fitted[name].describe()} for name, share in self.recipe.shares.items()
        ]


@dataclass(frozen=True, eq=False)
class Validation:
    """conclusion: by the cross-validated prices of all rows. final: its recipe, fitted to all rows.

    fold_choices: the candidate that each block's rows were predicted with. nested: (n,) prices behind the nested-CV score.
    in_sample: (n,) prices of `final` on the rows it was fitted to. not_tried: methods that there are too few members, rows or
    groups for.
    """

    conclusion: Conclusion
    final: Stacked
    fold_choices: tuple[str, ...]
    nested: Floats
    in_sample: Floats
    not_tried: tuple[str, ...]

    @property
    def choice(self) -> str:
        return self.conclusion.recipe.name

    @property
    def candidates(self) -> Predicted:
        """The cross-validated prices (n,) of each candidate, a blend first."""
        return self.conclusion.candidates


def validate(
    matrix: Matrix,
    seed: int = 0,
    report: Progress = no_progress,
    *,
    methods: Sequence[str] | None = None,
    steps: Sequence[str] = tuple(STEPS),
) -> Validation:
    """Chooses among the `methods` and post-processing `steps` for `matrix` and evaluates the whole procedure, choice included.

    A fit without blocks a and b serves both as a's inner fold b and as b's inner fold a. report: called with (jobs done, of how
    many). The result does not depend on the number of cores.
    """
    with threadpool_limits(limits=1):  # jobs run side by side, and sums come out the same on any machine
        return _Nested(matrix, seed, report, tuple(methods or known_methods()), tuple(steps)).run()


@dataclass(frozen=True, eq=False)
class _Nested:
    matrix: Matrix
    seed: int
    report: Progress
    methods: tuple[str, ...]
    steps: tuple[str, ...]

    @cached_property
    def rows(self) -> Rows:
        rows = self.matrix.train_rows
        _ = rows.statistics  # computed once, here, and taken along by every part of the rows
        return rows

    @cached_property
    def blocks(self) -> Ints:
        return make_blocks(self.matrix.folds, self.matrix.groups, self.seed)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Blocks that are left out together: a choice for a's rows is made by b's, and the other way round."""
        k = int(self.blocks.max()) + 1
        pairs = list(combinations(range(k), 2))
        return pairs if len(self.blocks) < MANY_ROWS else [(a, b) for a, b in pairs if b - a in (1, k - 1)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The methods that every fit has members, rows and groups enough for."""
        seen = [self.matrix.groups[~np.isin(self.blocks, pair)] for pair in self.pairs]
        fewest = min(map(len, seen)), min(len(np.unique(groups)) for groups in seen)
        return fitting(self.methods, self.matrix.oof.shape[1], *fewest)

    @cached_property
    def tried_steps(self) -> tuple[str, ...]:
        """None unless every choice has rows enough to try them by: the nested-CV score is that of the same procedure."""
        sizes = np.bincount(self.blocks)
        evaluated = [
            sum(sizes[b] for pair in self.pairs if a in pair for b in pair if b != a) for a in range(len(sizes))
        ]
        return applicable(self.steps, self.rows) if min(evaluated) >= MIN_STEP_ROWS else ()

    def run(self) -> Validation:
        k, pairs = int(self.blocks.max()) + 1, self.pairs
        jobs: list[tuple[int, ...]] = [*((a,) for a in range(k)), *pairs]
        total = len(jobs) + k + 2
        fits = dict(zip(jobs, side_by_side(self._fit, jobs, lambda done: self.report(done, total)), strict=True))
        outer = {a: fits[a,][a] for a in range(k)}
        inner = [{b: fits[pair][b] for pair in pairs if a in pair for b in pair if b != a} for a in range(k)]
        conclusion, *inside = side_by_side(
            self._conclude, [outer, *inner], lambda done: self.report(len(jobs) + done, total)
        )
        nested = np.empty(len(self.blocks))
        for a, each in enumerate(inside):
            nested[self.blocks == a] = each.recipe.apply(outer[a], self.rows.take(self.blocks == a))
        final = self._final(conclusion.recipe)
        self.report(total, total)
        choices = tuple(each.recipe.name for each in inside)
        not_tried = tuple(name for name in self.methods if name not in self.names)
        return Validation(conclusion, final, choices, nested, final.predict(self.rows), not_tried)

    def _fit(self, left_out: tuple[int, ...]) -> dict[int, Predicted]:
        """Prices of the rows of each block left out, by every method fitted to the others."""
        boosters = INNER_BOOSTERS if len(left_out) == 2 else OUTER_BOOSTERS
        fitted = fit_methods(self.names, self._problem(~np.isin(self.blocks, left_out), boosters))
        inside = {block: self.rows.take(self.blocks == block) for block in left_out}
        return {block: {name: each.predict(rows) for name, each in fitted.items()} for block, rows in inside.items()}

    def _final(self, recipe: FinalPipeline) -> Stacked:
        problem = self._problem(np.ones(len(self.blocks), dtype=bool), FINAL_BOOSTERS, threads=usable_cores())
        return Stacked(recipe, fit_methods(tuple(recipe.shares), problem))

    def _problem(self, rows: NDArray[np.bool_], boosters: int, threads: int = 1) -> CombinationProblem:
        seeds = range(self.seed, self.seed + boosters)
        return CombinationProblem(
            self.rows.take(rows), self.matrix.prices[rows], self.matrix.groups[rows], seeds, threads
        )

    def _conclude(self, predicted: dict[int, Predicted]) -> Conclusion:
        """By the prices of the blocks in `predicted` alone."""
        known = np.isin(self.blocks, list(predicted))
        joined = {}
        for name in self.names:
            if name != BLEND:
                prices = np.empty(len(self.blocks))
                for block, each in predicted.items():
                    prices[self.blocks == block] = each[name]
                joined[name] = prices[known]
        everything = EvaluationRows(self.matrix.prices, self.rows, self.blocks, self.matrix.groups)
        return conclude(
            joined, everything.take(known), blend=BLEND in self.names, steps=self.tried_steps, seed=self.seed
        )


def make_blocks(folds: Ints, groups: Ints, seed: int) -> Ints:
    """(n,) the parts that validation leaves out, numbered from 0: the folds themselves where there are 3 to 5 of them.

    More folds are merged into 5, since every one costs as many fits as there are; fewer are replaced by new parts, because
    choosing inside one fold needs two others. Groups stay whole wherever the folds kept them whole. Raises UserError where new
    parts are needed and there are fewer than 3 groups.
    """
    numbers, places = np.unique(folds, return_inverse=True)
    if len(numbers) > MAX_BLOCKS:
        return places.astype(np.int64) % MAX_BLOCKS
    if len(numbers) >= MIN_BLOCKS:
        return places.astype(np.int64)
    count = len(np.unique(groups))
    if count < MIN_BLOCKS:
        raise UserError(
            f"the training rows form {count} groups, too few to choose a combination by; at least {MIN_BLOCKS} are needed",
            code="stack-too-few-groups",
            hint="group the rows by something finer, or submit the best single member",
        )
    return group_folds(groups, min(MAX_BLOCKS, count), seed)


def side_by_side(work: Callable[[Job], Result], jobs: Sequence[Job], report: Callable[[int], None]) -> list[Result]:
    """`work` of every job, in order, on all cores: NumPy and LightGBM let other threads run. Ctrl-C starts no further job."""
    pool = ThreadPoolExecutor(max_workers=usable_cores())
    try:
        results = []
        for result in pool.map(work, jobs):
            results.append(result)
            report(len(results))
        return results
    finally:
        pool.shutdown(cancel_futures=True)
