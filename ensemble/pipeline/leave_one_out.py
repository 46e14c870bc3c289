"""What leaving a member out costs: the best weights without it against the best weights with it, on rows that neither has seen.

The methods that a stack really combines take minutes to fit again for every member. Weights on log prices are the part of them
in which members compete, and take milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.metrics import group_standard_error, smape_terms_of_logs
from ensemble.matrix.matrix import Matrix
from ensemble.methods.simplex import fit_simplex, refit_without

MOST_ROWS = 20_000
"""Of more rows so many are looked at, evenly spread."""


@dataclass(frozen=True)
class Absence:
    """cost: SMAPE points by which the rest is worse, negative where it is better. error: its standard error, over groups."""

    cost: float
    error: float


def absences(matrix: Matrix) -> list[Absence]:
    """Of each member, in the matrix's order. With one member, or one group, nothing can be left out: an empty list.

    The groups are halved, and each half is judged by weights of the other. Without a member the weights go down from where they
    were, and are not looked for anew: a cost may be a little too high.
    """
    rows = np.linspace(0, len(matrix.ids) - 1, min(len(matrix.ids), MOST_ROWS)).astype(np.intp)
    groups = np.unique(matrix.groups[rows], return_inverse=True)[1]
    members = matrix.oof.shape[1]
    if members < 2 or groups.max() < 1:
        return []
    ratios = matrix.oof[rows] / matrix.prices[rows, None]
    logs = np.log(ratios)
    half = np.random.default_rng(0).permutation(int(groups.max()) + 1)[groups] % 2
    worse = np.empty((len(rows), members))
    for side in (0, 1):
        learn, judge = half != side, half == side
        weights = fit_simplex(ratios[learn], np.ones(int(learn.sum())), "log").weights
        whole = smape_terms_of_logs(logs[judge] @ weights)
        for place in range(members):
            rest = refit_without(logs[learn], weights, place)
            worse[judge, place] = smape_terms_of_logs(logs[judge] @ rest) - whole
    return [Absence(float(column.mean()), group_standard_error(column, groups)) for column in worse.T]
