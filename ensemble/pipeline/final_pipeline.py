"""Final pipeline: the chosen method or blend of methods, and its post-processing steps.

Everything is chosen by prices of rows that the methods were not fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, Ints
from core.metrics import group_standard_error, smape_terms
from ensemble.matrix.level_one import Rows
from ensemble.matrix.stored_types import stored
from ensemble.methods.method_registry import BLEND
from ensemble.methods.simplex import fit_simplex
from ensemble.pipeline.postprocessing import STEPS, PostprocessingStep

STEP_ERRORS = 2.0
"""A post-processing step is off unless it gains more than so many standard errors: several are tried."""
MIN_STEP_ROWS = 300
"""With fewer rows to be chosen by no post-processing step's gain is more than chance."""


@stored("Recipe")
@dataclass(frozen=True, eq=False)
class FinalPipeline:
    """name: the method that was chosen, or `blend`. shares: the weight of each method's log price in it.

    steps: fitted post-processing steps by name, in the order of their application.
    """

    name: str
    shares: dict[str, float]
    steps: dict[str, PostprocessingStep]

    def apply(self, predicted: Mapping[str, Floats], rows: Rows) -> Floats:
        """(n,) prices from those of each method in `shares`, (n,)."""
        prices = _blended(self.shares, predicted)
        for step in self.steps.values():
            prices = step.predict(prices, rows)
        return prices


@dataclass(frozen=True)
class Comparison:
    """A candidate beside another: its SMAPE, and the mean and standard error of the rows' paired differences."""

    name: str
    smape: float
    standard_error: float
    difference: float
    difference_error: float


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """Rows that a recipe is chosen by: true prices (n,), the rows, the part (n,) that a row was left out with, its group (n,)."""

    prices: Floats
    rows: Rows
    parts: Ints
    groups: Ints

    def take(self, rows: NDArray[np.bool_]) -> EvaluationRows:
        return EvaluationRows(self.prices[rows], self.rows.take(rows), self.parts[rows], self.groups[rows])


@dataclass(frozen=True, eq=False)
class Conclusion:
    """Chosen recipe; candidates: prices (n,) of each, the blend's cross-fitted; steps: each post-processing step against none."""

    recipe: FinalPipeline
    candidates: dict[str, Floats]
    steps: tuple[Comparison, ...]


def conclude(
    predicted: Mapping[str, Floats], evaluation: EvaluationRows, *, blend: bool, steps: Sequence[str], seed: int
) -> Conclusion:
    """The recipe for methods whose prices (n,) are known for rows that they were not fitted to.

    A blend's weights and a post-processing step are evaluated on parts that they were not fitted to, too.
    """
    candidates = {BLEND: _cross_fitted_blend(predicted, evaluation), **predicted} if blend else dict(predicted)
    name = choose(compare(evaluation.prices, candidates, evaluation.groups))
    shares = _shares(predicted, evaluation.prices) if name == BLEND else {name: 1.0}
    kept, comparisons = dict[str, PostprocessingStep](), []
    combined = candidates[name]
    for step in steps:
        after = _cross_fitted_step(step, combined, evaluation, seed)
        beside = compare(evaluation.prices, {"without": combined, step: after}, evaluation.groups, against="without")[1]
        comparisons.append(beside)
        fitted = STEPS[step].fit(combined, evaluation.prices, evaluation.rows, seed)
        if fitted is not None and -beside.difference > STEP_ERRORS * beside.difference_error:
            kept[step] = fitted
            combined = after
    return Conclusion(FinalPipeline(name, shares, kept), candidates, tuple(comparisons))


def compare(
    prices: Floats, candidates: Mapping[str, Floats], groups: Ints, against: str | None = None
) -> list[Comparison]:
    """Each candidate's prices against the true ones, beside the best or `against`; standard errors count a group as one."""
    terms = {name: smape_terms(prices, predicted) for name, predicted in candidates.items()}
    other = terms[against or min(terms, key=lambda name: float(terms[name].mean()))]
    return [
        Comparison(
            name,
            float(each.mean()),
            group_standard_error(each, groups),
            float((each - other).mean()),
            group_standard_error(each - other, groups),
        )
        for name, each in terms.items()
    ]


def choose(comparisons: Sequence[Comparison]) -> str:
    """The first candidate (they come in the order of METHODS, a blend before) that is within one standard error of the best.

    The standard error is that of the paired differences of rows, which is far smaller than that of a SMAPE.
    """
    return next(each.name for each in comparisons if each.difference <= each.difference_error)


def describe_steps(recipe: FinalPipeline, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Every post-processing step that was tried, in JSON's terms."""
    return [
        {
            "name": each.name,
            "kept": each.name in recipe.steps,
            "difference": each.difference,
            "difference_error": each.difference_error,
            **({"fitted": recipe.steps[each.name].describe()} if each.name in recipe.steps else {}),
        }
        for each in comparisons
    ]


def _shares(predicted: Mapping[str, Floats], prices: Floats) -> dict[str, float]:
    weights = fit_simplex(np.column_stack(list(predicted.values())), prices, "log").weights
    return {name: float(weight) for name, weight in zip(predicted, weights, strict=True) if weight > 0}


def _blended(shares: Mapping[str, float], predicted: Mapping[str, Floats]) -> Floats:
    if len(shares) == 1:
        return predicted[next(iter(shares))]
    return np.exp(sum(share * np.log(predicted[name]) for name, share in shares.items()))


def _cross_fitted_blend(predicted: Mapping[str, Floats], evaluation: EvaluationRows) -> Floats:
    prices = np.empty(len(evaluation.prices))
    for part in np.unique(evaluation.parts):
        inside = evaluation.parts == part
        shares = _shares({name: each[~inside] for name, each in predicted.items()}, evaluation.prices[~inside])
        prices[inside] = _blended(shares, {name: each[inside] for name, each in predicted.items()})
    return prices


def _cross_fitted_step(name: str, combined: Floats, evaluation: EvaluationRows, seed: int) -> Floats:
    after = combined.copy()
    for part in np.unique(evaluation.parts):
        inside = evaluation.parts == part
        step = STEPS[name].fit(combined[~inside], evaluation.prices[~inside], evaluation.rows.take(~inside), seed)
        if step is not None:
            after[inside] = step.predict(combined[inside], evaluation.rows.take(inside))
    return after
