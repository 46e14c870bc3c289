"""How a bundle is put together from a workspace, and compared with what was submitted before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.architectures import architecture
from core.catalog import ID
from core.errors import UserError
from core.files import read_json, write_json, write_text
from core.metrics import constant_floor
from core.workspace import Workspace
from ensemble import stored
from ensemble.holes import completed
from ensemble.matrix import EXTERNAL, stored_quantiles
from ensemble.row_features import of_catalog
from ensemble.rows import Quantiles, Rows
from ensemble.selection import Column
from serving import bundle as parts
from serving.bundle import Bundle, Facts, MemberFacts
from serving.card import card
from serving.filling import measure
from serving.forms import SAVED, form, is_light
from serving.interval import LEVEL, bounds, fit_interval, save_interval, width
from serving.predictor import load_members
from serving.statistics import describe

Floats = NDArray[np.float64]
Tell = Callable[[int, int], None]

COMPARED = 200
"""Test rows whose prices from the bundle are compared with the submitted ones."""
_RESTACK = "run `python -m ensemble.stack` again, then `python -m serving.export`"


@dataclass(frozen=True, eq=False)
class Source:
    """What a bundle is made from. stack: narrowed to the members it looks at. record: stack.json.

    train, test: n and t rows with those members' prices. nested: (n,) the stack's prices of the training rows out of fold,
    submitted: (t,) of the test rows.
    """

    workspace: Workspace
    stack: stored.Stack
    record: dict[str, Any]
    train: Rows
    test: Rows
    nested: Floats
    submitted: Floats


def export(workspace: Workspace, home: Path, name: str, network_form: str, tell: Tell) -> tuple[Bundle, bool]:
    """(the bundle in `home`, whether it is new). network_form: of `serving.forms`, for members with a network.

    Raises UserError where there is no stack or it is not that of the workspace's members, where a member has no models, and
    where a price from the bundle is not the submitted one.
    """
    source = read_source(workspace)
    members = [_member(source, place, network_form) for place in range(len(source.stack.members))]
    with parts.unfinished(home) as folder:
        steps = sum(len(member.folds) for member in members) + 2
        done = 0
        for member in members:
            kind = architecture(member.architecture)
            for fold, inside in zip(member.folds, member.folders, strict=True):
                form(member.form).write(kind, workspace.store.fold_folder(member.id, fold), folder / inside)
                done += 1
                tell(done, steps)
        facts = _write_rest(folder, source, members)
        tell(steps - 1, steps)
        facts = replace(facts, **_compare(folder, source, facts, name))
        parts.write_facts(folder, facts)
        write_text(folder / parts.CARD, card(name, facts, source.record))
        finished = parts.publish(folder, home, name)
        tell(steps, steps)
    return finished


def read_source(workspace: Workspace) -> Source:
    """Raises UserError where there is no stack, and where it was not made of the workspace's members as they are now."""
    facts = workspace.facts
    stack = stored.load_stack(workspace.path(stored.STACK))
    record = read_json(workspace.path("stack.json"))
    if (stack.catalog, stack.folds) != (facts.catalog, facts.folds) or not _is_of(record, stack):
        raise UserError(
            f"stack.json and the folder {stored.STACK} of {workspace.folder} do not belong together", cure=_RESTACK
        )
    frame = pd.read_parquet(workspace.path("stack_oof.parquet"))
    if frame[ID].tolist() != workspace.train.ids.tolist():
        raise UserError(f"{workspace.path('stack_oof.parquet')} has other rows than the catalog", cure=_RESTACK)
    oof, test = _predictions(workspace, stack)
    features = of_catalog(workspace.train, workspace.test, workspace.cache())
    if features.reader != stack.reader:
        raise UserError("the catalog's fields are read otherwise than when the stack was made", cure=_RESTACK)
    train_quantiles, test_quantiles = _quantiles(workspace, stack)
    submitted = stack.stacked.predict(Rows(test, features.test, test_quantiles))
    used, nested = stack.used, frame["stack"].to_numpy(np.float64)
    train_rows = Rows(oof[:, used], features.train, train_quantiles)
    test_rows = Rows(test[:, used], features.test, test_quantiles)
    return Source(workspace, stack.narrowed(), record, train_rows, test_rows, nested, submitted)


def _is_of(record: dict[str, Any], stack: stored.Stack) -> bool:
    """Whether stack.json tells of this stack."""
    names = [each["name"] for each in record["members"]]
    steps = {each["name"]: each["fitted"] for each in record["steps"] if each["kept"]}
    found = {name: step.describe() for name, step in stack.stacked.recipe.steps.items()}
    return names == list(stack.members) and record["combination"] == stack.stacked.describe() and steps == found


def _predictions(workspace: Workspace, stack: stored.Stack) -> tuple[Floats, Floats]:
    """(n, m) and (t, m) prices of the stack's members, as it saw them."""
    missing = [name for name in stack.members if not workspace.store.has_member(name)]
    if missing:
        raise UserError(f"the stack's member {missing[0]} is no longer in {workspace.folder}", cure=_RESTACK)
    read = [workspace.store.read(name) for name in stack.members]
    oof, test = completed(np.column_stack([each.oof for each in read]), np.column_stack([each.test for each in read]))
    for name, print_, *columns in zip(stack.members, stack.fingerprints, oof.T, test.T, strict=True):
        if Column(name, *columns).fingerprint != print_:
            raise UserError(f"member {name} has changed since the stack was made", cure=_RESTACK)
    return oof, test


def _quantiles(workspace: Workspace, stack: stored.Stack) -> tuple[Quantiles | None, Quantiles | None]:
    """Of the training and of the test rows, where the stack reads any."""
    if not stack.quantiles:
        return None, None
    given = [stored_quantiles(workspace, stack.members[place]) for place in stack.quantiles]
    known = [parts for parts in given if parts is not None]
    if len(known) < len(given):
        raise UserError("a member no longer has the quantiles that the stack reads", cure=_RESTACK)
    train, test = (Quantiles.of(stack.quantiles, [part[side] for part in known]) for side in (0, 1))
    return train, test


def _member(source: Source, place: int, network_form: str) -> MemberFacts:
    """Raises UserError for a member without models."""
    name, store = source.stack.members[place], source.workspace.store
    record = store.read(name).record
    if record["folds"] == EXTERNAL:
        raise UserError(
            f"the stack looks at member {name}, which was made outside: its predictions are here, its models are not",
            cure=f"leave it out: `python -m ensemble.stack --drop {name}`, then `python -m serving.export`",
        )
    folds = tuple(range(source.workspace.facts.k))
    lost = [fold for fold in folds if not store.has_fit(name, fold)]
    if lost:
        raise UserError(
            f"member {name} has no model of fold {lost[0]} in {store.folder / name}",
            cure=f"restore the folder, or leave the member out: `python -m ensemble.stack --drop {name}`",
        )
    told = next(each for each in source.record["members"] if each["name"] == name)
    kind = architecture(record["architecture"])
    light = is_light(kind)
    return MemberFacts(
        name,
        kind.name,
        SAVED if light else network_form,
        light,
        kind.reads_pictures,
        folds,
        told["weight"],
        told["oof"]["smape"],
    )


def _write_rest(folder: Path, source: Source, members: list[MemberFacts]) -> Facts:
    """Everything but the members' models."""
    workspace, record, stack = source.workspace, source.record, source.stack
    train, test, folds = workspace.train, workspace.test, workspace.folds
    stack.save(folder / parts.STACK)
    conditional, judged = fit_interval(source.nested, train.known_prices, source.train, folds.assignment)
    save_interval(conditional, folder / parts.INTERVAL)
    served = bounds(conditional, source.submitted, source.test)
    measure(source.train.members).save(folder / parts.DISTANCES)
    write_json(folder / parts.STATISTICS, describe((train, test), source.submitted))
    low, high = np.quantile(train.known_prices, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Facts(
        catalog=stack.catalog,
        folds=stack.folds,
        fold_mode=workspace.facts.fold_mode,
        k=folds.k,
        rows=record["rows"],
        members=tuple(members),
        nested=record["nested"],
        middle=constant_floor(train.known_prices)[0],
        low=float(low),
        high=float(high),
        coverage=judged.coverage,
        width=judged.width,
        stretch=max(1.0, judged.width / width(served)),
        compared=0,
        largest_difference=0.0,
        code=parts.CODE,
    )


def _compare(folder: Path, source: Source, facts: Facts, name: str) -> dict[str, Any]:
    """The part of the facts that says how near prices from the files are to the submitted ones.

    Raises UserError for a member, or the stack, that is further away than the member's form allows.
    """
    rows = np.arange(min(COMPARED, len(source.workspace.test)))
    catalog = source.workspace.test.take(rows)
    given, quantiles = np.empty((len(rows), len(facts.members))), list[Floats]()
    for place, served in enumerate(load_members(Bundle(folder, name, "", facts))):
        given[:, place] = served.predict(catalog)
        if place in source.stack.quantiles:
            quantiles.append(served.predict_quantiles(catalog))
        _check(served.facts.id, given[:, place], source.test.members[rows, place], form(served.facts.form).tolerance)
    prices = source.stack.stacked.predict(source.stack.rows(given, catalog, quantiles))
    allowed = max(form(member.form).tolerance for member in facts.members)
    return {
        "compared": len(rows),
        "largest_difference": _check("the stack", prices, source.submitted[rows], allowed),
    }


def _check(who: str, prices: Floats, expected: Floats, allowed: float) -> float:
    """The largest relative difference."""
    largest = float(np.abs(prices / expected - 1).max())
    if not largest <= allowed:
        raise UserError(
            f"from the bundle's files {who} gives prices up to {largest:.2%} away from the submitted ones; {allowed:.1%} "
            "is allowed",
            cure="choose --precision fp32; if that is chosen, the member's models were changed, or trained by another "
            "version of the code: remove the member, train it again and stack again",
        )
    return largest
