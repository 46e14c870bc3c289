"""Bundle source: a workspace's stack, checked against the members it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.arrays import Floats
from core.atomic_files import read_json
from core.data.catalog import ID
from core.data.price_scale import to_scale
from core.errors import UserError
from core.store.workspace import Workspace
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.matrix.matrix import from_workspace, stored_quantiles
from ensemble.matrix.row_features import of_catalog
from ensemble.matrix.screening import Column, ScreeningConfig
from ensemble.matrix.screening_checks import completed
from ensemble.methods.simplex import blend_smape, fit_simplex, relative_prices
from ensemble.pipeline.nested_cv import Progress, validate
from ensemble.pipeline.result import make_record
from ensemble.pipeline.serialization import STACK, Stack, load_stack, stack_of

_RESTACK = "run `python -m ensemble.stack` again, then `python -m serving.export`"


@dataclass(frozen=True, eq=False)
class BundleSource:
    """Input of a bundle. stack: narrowed to the members it looks at. record: stack.json.

    train, test: n and t rows with those members' prices, which the workspace's scale divides as all here. nested: (n,) the
    stack's prices of the training rows out of fold, submitted: (t,) of the test rows.
    """

    workspace: Workspace
    stack: Stack
    record: dict[str, Any]
    train: Rows
    test: Rows
    nested: Floats
    submitted: Floats


def read_source(workspace: Workspace) -> BundleSource:
    """Raises UserError where there is no stack, and where it was not made of the workspace's members as they are now."""
    facts = workspace.facts
    stack = load_stack(workspace.path(STACK))
    record = read_json(workspace.path("stack.json"))
    if (stack.catalog, stack.folds) != (facts.catalog, facts.folds) or not _matches(record, stack):
        raise UserError(
            f"stack.json and the folder {STACK} of {workspace.folder} do not belong together",
            code="export-stack-mismatch",
            hint=_RESTACK,
        )
    frame = pd.read_parquet(workspace.path("stack_oof.parquet"))
    if frame[ID].tolist() != workspace.train.ids.tolist():
        raise UserError(
            f"{workspace.path('stack_oof.parquet')} has other rows than the catalog",
            code="export-oof-other-rows",
            hint=_RESTACK,
        )
    return _source(workspace, stack, record, to_scale(frame["stack"].to_numpy(np.float64), facts.scale))


def read_subset(workspace: Workspace, most: int, report: Progress) -> BundleSource:
    """Source of a stack with fewer members that is nearly as good."""
    return _source(workspace, *distil(workspace, read_source(workspace).record, most, report))


def _source(workspace: Workspace, stack: Stack, record: dict[str, Any], nested: Floats) -> BundleSource:
    """Raises UserError where members or fields are not what they were when the stack was made."""
    oof, test = _predictions(workspace, stack)
    features = of_catalog(workspace.train, workspace.test, workspace.cache())
    if features.reader != stack.reader:
        raise UserError(
            "the catalog's fields are read otherwise than when the stack was made",
            code="export-fields-changed",
            hint=_RESTACK,
        )
    train_quantiles, test_quantiles = _quantiles(workspace, stack)
    submitted = stack.stacked.predict(Rows(test, features.test, test_quantiles))
    used = stack.used
    train_rows = Rows(oof[:, used], features.train, train_quantiles)
    test_rows = Rows(test[:, used], features.test, test_quantiles)
    return BundleSource(workspace, stack.narrowed(), record, train_rows, test_rows, nested, submitted)


def _matches(record: dict[str, Any], stack: Stack) -> bool:
    """True where stack.json describes this stack."""
    names = [each["name"] for each in record["members"]]
    steps = {each["name"]: each["fitted"] for each in record["steps"] if each["kept"]}
    found = {name: step.describe() for name, step in stack.stacked.recipe.steps.items()}
    return names == list(stack.members) and record["combination"] == stack.stacked.describe() and steps == found


def _predictions(workspace: Workspace, stack: Stack) -> tuple[Floats, Floats]:
    """(n, m) and (t, m) prices of the stack's members, as it saw them."""
    missing = [name for name in stack.members if not workspace.store.has_member(name)]
    if missing:
        raise UserError(
            f"the stack's member {missing[0]} is no longer in {workspace.folder}",
            code="export-member-gone",
            hint=_RESTACK,
        )
    read = [workspace.store.read(name) for name in stack.members]
    oof, test = completed(np.column_stack([each.oof for each in read]), np.column_stack([each.test for each in read]))
    for name, print_, *columns in zip(stack.members, stack.fingerprints, oof.T, test.T, strict=True):
        if Column(name, *columns).fingerprint != print_:
            raise UserError(
                f"member {name} has changed since the stack was made", code="export-member-changed", hint=_RESTACK
            )
    return oof, test


def _quantiles(workspace: Workspace, stack: Stack) -> tuple[MemberQuantiles | None, MemberQuantiles | None]:
    """Of the training and of the test rows, where the stack reads any."""
    if not stack.quantiles:
        return None, None
    given = [stored_quantiles(workspace, stack.members[place]) for place in stack.quantiles]
    known = [parts for parts in given if parts is not None]
    if len(known) < len(given):
        raise UserError(
            "a member no longer has the quantiles that the stack reads", code="export-quantiles-gone", hint=_RESTACK
        )
    train, test = (MemberQuantiles.of(stack.quantiles, [part[side] for part in known]) for side in (0, 1))
    return train, test


TOLERATED = 0.2
"""Points of nested SMAPE that a smaller stack may lie above the whole one."""


def distil(
    workspace: Workspace, whole: dict[str, Any], most: int, report: Progress
) -> tuple[Stack, dict[str, Any], Floats]:
    """A stack of fewer members, what `stack.json` would hold of it, and its prices of the training rows out of fold, (n,).

    Tries stacks of 1, 2, ... `most` members until one is within TOLERATED points of the whole one. whole: `stack.json`.

    Members are taken one after the other, each time the one whose addition lowers the SMAPE of the best weights most; each
    subset is then stacked as `ensemble.stack` does, and evaluated by its nested SMAPE.

    Raises UserError where no subset of so few members is good enough.
    """
    names = [member["name"] for member in whole["members"]]
    limit = whole["nested"]["smape"] + TOLERATED
    read = from_workspace(workspace, ScreeningConfig(drop=_without(workspace, names)))
    order = ranked(read.oof, read.prices, min(most, len(read.names)))
    best = np.inf
    for count in range(1, len(order) + 1):
        report(count - 1, len(order))
        kept = [read.names[place] for place in order[:count]]
        matrix = from_workspace(workspace, ScreeningConfig(drop=_without(workspace, kept)))
        found = validate(matrix, whole["seed"])
        record = make_record(matrix, found, whole["seed"])
        best = min(best, record["nested"]["smape"])
        if record["nested"]["smape"] <= limit:
            report(len(order), len(order))
            return stack_of(matrix, found.final), record, found.nested
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
