"""Parity check: prices from a bundle's files against those of the original models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.architectures import architecture
from core.arrays import Floats
from core.console import warn
from core.data.catalog import Catalog
from core.errors import UserError
from core.metrics import smape
from core.store.oof_store import geometric_mean
from serving.bundle.bundle import Bundle, BundleFacts, MemberFacts
from serving.bundle.device_choice import DeviceChoice, choose_device
from serving.bundle.export_formats import export_format
from serving.bundle.predictor import ServedMember, load_members
from serving.bundle.source import BundleSource

COMPARED = 200
"""Rows whose prices are compared."""
WORSENED = 0.3
"""Points of SMAPE by which a form that is evaluated by true prices may be worse than the original."""


def check_parity(folder: Path, source: BundleSource, facts: BundleFacts, name: str) -> BundleFacts:
    """The facts with what was found: of each member and of the stack, how far prices from the files lie from the submitted ones.

    A network that was trained in half precision has submitted what it computes in it. Its graph computes in 32 bits, and is
    compared with the network in 32 bits.
    The files' networks compute on this machine's GPU where it has one, as the service would.
    Where a form is evaluated by true prices, its fold models price training rows that they did not learn from.
    Raises UserError for a member, or the stack, that is further away or worse than its form allows.
    """
    rows = np.arange(min(COMPARED, len(source.workspace.test)))
    catalog = source.workspace.test.take(rows).with_memory()
    given, quantiles = np.empty((len(rows), len(facts.members))), list[Floats]()
    expected, members = source.test.members[rows].copy(), []
    device = choose_device(DeviceChoice.AUTO, facts.members)
    if device == DeviceChoice.CUDA:
        warn("note: the prices of the bundle's files are computed on the GPU")
    for place, served in enumerate(load_members(Bundle(folder, name, "", facts), device)):
        given[:, place] = served.predict(catalog)
        if place in source.stack.quantiles:
            quantiles.append(served.predict_quantiles(catalog))
        expected[:, place] = _original(served, source, catalog, expected[:, place])
        members.append(_member(served, place, source, given[:, place], expected[:, place]))
    prices = source.stack.stacked.predict(source.stack.rows(given, catalog, quantiles))
    submitted = source.submitted[rows]
    if (expected != source.test.members[rows]).any():
        submitted = source.stack.stacked.predict(source.stack.rows(expected, catalog, quantiles))
    tolerances = [export_format(member.form).tolerance for member in members]
    known = [each for each in tolerances if each is not None]
    allowed = max(known) if len(known) == len(tolerances) else np.inf
    largest = _check("the stack", prices, submitted, allowed)
    return replace(facts, members=tuple(members), compared=len(rows), largest_difference=largest)


def _original(served: ServedMember, source: BundleSource, catalog: Catalog, submitted: Floats) -> Floats:
    """(n,) what the member's prices are compared with."""
    facts, store = served.facts, source.workspace.store
    kind = architecture(facts.architecture)
    models = [export_format(facts.form).original(kind, store.fold_folder(facts.id, fold)) for fold in facts.folds]
    found = [model.predict(catalog) for model in models if model is not None]
    if len(found) < len(models):
        return submitted
    exact = geometric_mean(found)
    apart = float(np.abs(exact / submitted - 1).max())
    warn(
        f"note: {facts.id} was trained in half precision; its submitted prices are up to {apart:.2%} from its own in 32 bits"
    )
    return exact


def _member(served: ServedMember, place: int, source: BundleSource, prices: Floats, expected: Floats) -> MemberFacts:
    tolerance = export_format(served.facts.form).tolerance
    difference = _check(served.facts.id, prices, expected, np.inf if tolerance is None else tolerance)
    worsened = None if tolerance is not None else _worsened(served, place, source)
    return replace(served.facts, difference=difference, worsened=worsened)


def _worsened(served: ServedMember, place: int, source: BundleSource) -> float:
    """Points of SMAPE on training rows, each priced by the fold model that has not seen it."""
    train, folds = source.workspace.train, source.workspace.folds
    some = np.unique(np.linspace(0, len(train) - 1, COMPARED).astype(np.int64))
    prices = np.empty(len(some))
    for fold, model in zip(served.facts.folds, served.models, strict=True):
        held = np.isin(some, folds.split(fold)[1])
        if held.any():
            prices[held] = model.predict(train.take(some[held]).without_prices())
    true = train.known_prices[some]
    worsened = smape(true, prices) - smape(true, source.train.members[some, place])
    if not worsened < WORSENED:
        raise UserError(
            f"as {served.facts.form} member {served.facts.id} has a SMAPE {worsened:.2f} points higher on {len(some)} rows; less "
            f"than {WORSENED} is allowed",
            code="export-member-worse",
            hint="choose --precision fp32 or fp16",
        )
    return worsened


def _check(who: str, prices: Floats, expected: Floats, allowed: float) -> float:
    """The largest relative difference."""
    largest = float(np.abs(prices / expected - 1).max())
    if not largest <= allowed:
        raise UserError(
            f"from the bundle's files {who} gives prices up to {largest:.2%} away from the submitted ones; {allowed:.1%} "
            "is allowed",
            code="export-prices-differ",
            hint="choose --precision fp32; if that is chosen, the member's models were changed, or trained by another "
            "version of the code: remove the member, train it again and stack again",
        )
    return largest
