"""What is done otherwise where training rows are few: the holdout fold is too small to choose by, and trainings are cheap.

Ten folds instead of five: each model learns from 90% of the rows, which is worth more than repeating five folds
(docs/planning.md). No config is chosen by a fold of some twenty rows: all documented points of each architecture are
cross-validated, then the same with other seeds, and what they weigh is the stack's business, which looks at all rows. Networks
that start from random weights are left out of `all`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.data.folds import FEW_ROWS
from core.store.workspace import Workspace
from experiments.common.options import ALL, Options
from experiments.planning.marginal_gain import UNTRAINED
from experiments.planning.setup import Candidate, prior_of

FEW_FOLDS, FOLDS = 10, 5
FEW_MEMBERS = 4
"""Members of each architecture: its documented points, then the same with other seeds."""


def default_folds(rows: int) -> int:
    """k where the user gives none: with fewer than 100 rows a tenth of them is no fold."""
    return FEW_FOLDS if 10 * FEW_FOLDS <= rows < FEW_ROWS else FOLDS


def are_few(workspace: Workspace, options: Options) -> bool:
    """Whether this sweep is planned for few rows: an explicit search is made as it was asked for."""
    asked = options.trials is not None or options.members is not None or options.grid
    return len(workspace.train) < FEW_ROWS and not asked


def for_few(found: Sequence[Candidate], options: Options) -> tuple[list[Candidate], tuple[str, ...]]:
    """The candidates of a sweep with few rows, and what people should know of it."""
    notes = [
        f"fewer than {FEW_ROWS} training rows: no search; the documented points of each architecture are cross-validated, then "
        f"the same with other seeds, {FEW_MEMBERS} members of each"
    ]
    kept = [each for each in found if ALL not in options.architectures or prior_of(each) != UNTRAINED]
    notes += [
        f"{each.name} is left out of `{ALL}`: an encoder that starts from random weights learns nothing from so few rows"
        for each in found
        if each not in kept
    ]
    documented = {each.name: 1 + len(each.space.then) for each in found}
    return [replace(each, trials=documented[each.name], members=None) for each in kept or found], tuple(notes)
