"""Registry of combination methods, those that average most first.

To add one: a module with a function from a `CombinationProblem` to a fitted combination, and a line in METHODS. The fitted
combination is a `Blend` of `ensemble.methods.fixed`, or a dataclass with `weights`, `predict` and `describe`, decorated with
`stored` (`ensemble.matrix.stored_types`). The contract suite, `pricestack.testing.combiners`, then tests it by itself.


The order is that of the one-standard-error rule: of candidates within it, the one that averages most varies least from sample to
sample. A single member averages nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.errors import UserError, suggestion
from core.metrics import smape
from ensemble.methods import boosting
from ensemble.methods.affine import fit_affine
from ensemble.methods.combination import Combination, CombinationProblem, Method
from ensemble.methods.fixed import Blend, Space, Trimmed
from ensemble.methods.greedy import select_greedily
from ensemble.methods.simplex import distinct, relative_prices, shared
from ensemble.methods.smape_minimizer import fit_quantiles

BLEND = "blend"
"""Blend of all other methods: fitted to their prices, not to the members (`ensemble.pipeline.final_pipeline`)."""
_TRIM = 0.2


def _single(problem: CombinationProblem) -> Combination:
    scores = [smape(problem.prices, column) for column in problem.rows.members.T]
    return Blend(np.eye(problem.members)[int(np.argmin(scores))], "log")


def _equal(space: Space) -> Callable[[CombinationProblem], Combination]:
    return lambda problem: Blend(np.full(problem.members, 1 / problem.members), space)


def _greedy(problem: CombinationProblem) -> Combination:
    columns, owners = distinct(problem.rows.members)
    relative = relative_prices(problem.rows.members[:, columns], problem.prices, "price")
    return Blend(shared(select_greedily(relative, "price"), owners), "price")


def _on_median(goal: str, objective: str | Callable[..., Any]) -> Method:
    return Method(
        f"booster on the median, for {goal}",
        lambda problem: boosting.fit_booster(problem.on_median, objective, problem.seeds),
        rows=boosting.MIN_BOOSTING_ROWS,
        groups=boosting.MIN_GROUPS,
        invariant=False,
    )


METHODS: dict[str, Method] = {
    "geometric": Method("geometric mean", _equal("log")),
    "mean": Method("mean", _equal("price")),
    "median": Method("median", lambda problem: Trimmed(problem.members, 0.5), members=3),
    "trimmed": Method(
        "geometric mean without the lowest and highest fifth", lambda p: Trimmed(p.members, _TRIM), members=5
    ),
    "simplex-log": Method("weights >= 0 on log prices, of lowest SMAPE", lambda problem: problem.simplex["log"]),
    "simplex-price": Method("weights >= 0 on prices, of lowest SMAPE", lambda problem: problem.simplex["price"]),
    "affine": Method(
        "weights of either sign on log prices, with a ridge",
        lambda problem: fit_affine(problem.rows.members, problem.prices, problem.groups),
        groups=2,
    ),
    "greedy": Method("greedy selection with replacement, 100 rounds (Caruana)", _greedy),
    "single": Method("the member of lowest SMAPE", _single, members=1),
    "residual": Method(
        "booster on the best weights, for the SMAPE",
        lambda problem: boosting.fit_booster(problem.on_linear, boosting.touching_smape_objective, problem.seeds),
        members=1,
        rows=boosting.MIN_BOOSTING_ROWS,
        groups=boosting.MIN_GROUPS,
        invariant=False,
    ),
    "lightgbm-l1": _on_median("absolute errors in log", "regression_l1"),
    "lightgbm-huber": _on_median("Huber's loss in log", "huber"),
    "lightgbm-smape": _on_median("the SMAPE", boosting.touching_smape_objective),
    "quantiles": Method(
        "quantile boosters, the price of lowest expected SMAPE",
        lambda problem: fit_quantiles(problem.on_median, problem.seeds[0]),
        rows=3 * boosting.MIN_BOOSTING_ROWS,
        invariant=False,
    ),
}


def known_methods() -> tuple[str, ...]:
    return (BLEND, *METHODS)


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """These names, in the order of METHODS, each once. Raises UserError for an unknown one and for none that stands alone."""
    for name in names:
        if name not in known_methods():
            raise UserError(
                f"--methods: there is no method {name!r}",
                code="methods-unknown",
                hint=suggestion(name, known_methods()),
            )
    if not set(names) - {BLEND}:
        raise UserError(
            "--methods: nothing to blend",
            code="methods-nothing-to-blend",
            hint=f"name one of {', '.join(METHODS)} as well",
        )
    return tuple(name for name in known_methods() if name in names)


def fitting(names: Sequence[str], members: int, rows: int, groups: int) -> tuple[str, ...]:
    """Those of `names` that so many members, rows and groups of rows are enough for. Raises UserError where none is left."""
    kept = []
    for name in names:
        needs = METHODS.get(name)
        if needs and members >= needs.members and rows >= needs.rows and groups >= needs.groups:
            kept.append(name)
    if not kept:
        raise UserError(
            f"--methods: {members} members, and {rows} rows in {groups} groups to learn from, are too few for "
            f"{', '.join(name for name in names if name != BLEND)}",
            code="methods-too-few-rows",
            hint="name simpler ones too, such as single",
        )
    return (BLEND, *kept) if BLEND in names and len(kept) > 1 else tuple(kept)


def fit_methods(names: Sequence[str], problem: CombinationProblem) -> dict[str, Combination]:
    """Each of the named methods fitted to the problem."""
    return {name: METHODS[name].fit(problem) for name in names if name != BLEND}
