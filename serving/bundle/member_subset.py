"""Member subset selection (distillation): the fewest members that are nearly as good as the whole stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import Floats
from core.errors import UserError
from core.store.workspace import Workspace
from ensemble.matrix.matrix import from_workspace
from ensemble.matrix.screening import ScreeningConfig
from ensemble.methods.simplex import blend_smape, fit_simplex, relative_prices
from ensemble.pipeline.nested_cv import validate
from ensemble.pipeline.result import make_record
from ensemble.pipeline.serialization import Stack, stack_of

Tell = Callable[[int, int], None]

TOLERATED = 0.2
"""Points of nested SMAPE that a smaller stack may lie above the whole one."""


@dataclass(frozen=True, eq=False)
class Distilled:
    """A stack of fewer members. record: as `stack.json` would hold it. nested: (n,) prices of the training rows out of fold."""

    stack: Stack
    record: dict[str, Any]
    nested: Floats


def distil(workspace: Workspace, whole: dict[str, Any], most: int, tell: Tell) -> Distilled:
    """Stacks of 1, 2, ... `most` members until one is within TOLERATED points of the whole one. whole: `stack.json`.

    Members are taken one after the other, each time the one whose addition lowers the SMAPE of the best weights most; each
    subset is then stacked as `ensemble.stack` does, and judged by its nested SMAPE.

    Raises UserError where no subset of so few members is good enough.
    """
    names = [member["name"] for member in whole["members"]]
    limit = whole["nested"]["smape"] + TOLERATED
    read = from_workspace(workspace, ScreeningConfig(drop=_without(workspace, names)))
    order = ranked(read.oof, read.prices, min(most, len(read.names)))
    best = np.inf
    for count in range(1, len(order) + 1):
        tell(count - 1, len(order))
        kept = [read.names[place] for place in order[:count]]
        matrix = from_workspace(workspace, ScreeningConfig(drop=_without(workspace, kept)))
        found = validate(matrix, whole["seed"])
        record = make_record(matrix, found, whole["seed"])
        best = min(best, record["nested"]["smape"])
        if record["nested"]["smape"] <= limit:
            tell(len(order), len(order))
            return Distilled(stack_of(matrix, found.final), record, found.nested)
    raise UserError(
        f"with at most {most} members the nested SMAPE is {best:.2f}; the whole stack's is {whole['nested']['smape']:.2f}, and "
        f"{TOLERATED} points more are tolerated",
        code="distil-too-few-members",
        hint="allow more members with --distil, or leave it out",
    )


def ranked(oof: Floats, prices: Floats, count: int) -> list[int]:
    """The first `count` members, (n, m) prices out of fold, each the one that the best weights of those before gain most by."""
    relative = relative_prices(oof, prices, "log")
    chosen: list[int] = []

    def best(place: int) -> float:
        places = [*chosen, place]
        return blend_smape(relative[:, places], fit_simplex(oof[:, places], prices, "log").weights, "log")

    while len(chosen) < count:
        chosen.append(min((place for place in range(oof.shape[1]) if place not in chosen), key=best))
    return chosen


def _without(workspace: Workspace, kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in workspace.store.complete() if name not in kept)
