"""Checks of trustworthiness: constant-price baseline, leaks, members too good to be true, label noise."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.architectures import ARCHITECTURES
from core.formatting import count
from core.metrics import constant_floor
from core.quality.label_noise import LabelNoise
from reports.checks.finding import Finding, Grade, anew, command, graded, nothing, settle
from reports.figures import data_quality
from reports.figures.data_quality import OTHERS
from reports.figures.member_figures import member_figures, short_labels
from reports.figures.report_inputs import ReportInputs

FLOOR, LEAKS, TOO_GOOD, LABELS = "constant-floor", "leaks", "too-good", "labels"
LITTLE_GAIN = 0.1
"""Share of the constant's SMAPE below which texts and prices have little to do with each other: on the demo a tiny
 encoder gains half."""
SOME_ROWS, MANY_ROWS = 0.005, 0.05
"""Share of the training rows whose price looks wrong: a few there are in any catalog, one in twenty bends every model."""
_CLASSICAL = [name for name, registered in ARCHITECTURES.items() if not registered.is_network]


def floor(inputs: ReportInputs) -> list[Finding]:
    """The best figure figure against the best constant price."""
    figure = _nested_cv(inputs)
    if figure is None:
        return nothing(FLOOR, "there is neither a stack nor a member")
    name, smape, error = figure
    if _one_price(inputs):
        return nothing(FLOOR, _NOTHING_TO_LEARN)
    constant = constant_floor(inputs.train.known_prices)[1]
    gain = (constant - smape) / constant
    state: Grade = Grade.PROBLEM if smape + error >= constant else Grade.LOOK if gain < LITTLE_GAIN else Grade.OK
    saw = (
        f"{name} has SMAPE {smape:.2f} ± {error:.2f}, the best constant price {constant:.2f}: {gain:.0%} of it gained."
    )
    figures = {"smape": smape, "standard_error": error, "floor": constant, "gain": gain}
    advice = "see that each text stands beside its own price in the file, then see what the classical models find in it"
    again = f"{command(inputs, 'experiments.sweep')} {' '.join(_CLASSICAL)}"
    return [settle(FLOOR, state, saw, figures, advice, again)]


_NOTHING_TO_LEARN = "all training prices are one number"


def _one_price(inputs: ReportInputs) -> bool:
    return bool(np.ptp(inputs.train.known_prices) == 0)


def _nested_cv(inputs: ReportInputs) -> tuple[str, float, float] | None:
    """(name, SMAPE, standard error) of the stack, nested, or of the best member that has a price for every row, if any has."""
    if inputs.stack is not None:
        nested = inputs.stack["nested"]
        return "The stack, nested,", nested["smape"], nested["standard_error"]
    best = next(iter(_members(inputs)), None)
    if best is None:
        return None
    return f"The best member, {best['label']},", best["smape"], best["standard_error"] or 0.0


def leaks(inputs: ReportInputs) -> list[Finding]:
    """Leak notes of the catalog's preparation (`leaks.json`), for a person to confirm."""
    if inputs.leaks is None:
        return nothing(LEAKS, "the catalog was not looked at when it was prepared (leaks.json is not there)")
    if not inputs.leaks:
        return [Finding(LEAKS, Grade.OK, "No leak was noted (0 notes).", {"notes": 0})]
    again = anew(inputs, "clean")
    split = [note.rpartition("; ") for note in inputs.leaks]
    return [
        Finding(LEAKS, Grade.LOOK, f"{what or hint}.", {"notes": len(split)}, hint, again) for what, _, hint in split
    ]


def too_good(inputs: ReportInputs) -> list[Finding]:
    """Members far better than others of their kind (`reports.figures.data_quality`): their training may have leaked."""
    figures = _members(inputs)
    if len(figures) <= OTHERS:
        return nothing(TOO_GOOD, f"fewer than {OTHERS + 1} members can be compared")
    if _one_price(inputs):
        return nothing(TOO_GOOD, _NOTHING_TO_LEARN)
    found = data_quality.too_good(figures)
    if not found:
        saw = f"None of {count(len(figures), 'member')} is under {data_quality.TOO_GOOD:.0%} of the SMAPE usual for its kind."
        return [Finding(TOO_GOOD, Grade.OK, saw, {"members": len(figures)})]
    return [_suspect(inputs, each) for each in found]


def _suspect(inputs: ReportInputs, found: Mapping[str, Any]) -> Finding:
    share = found["smape"] / found["usual"]
    label = short_labels([member.id for member in inputs.members])[found["id"]]
    among = "all other members" if found["of"] == data_quality.ALL_KINDS else f"the other {found['of']} members"
    saw = f"{label} has SMAPE {found['smape']:.2f}, {share:.0%} of the median of {among} ({found['usual']:.2f})."
    advice = (
        "see that its out-of-fold prices come from models that have not seen these rows; until then stack without it"
    )
    # another kind of model may well be better
    state = Grade.LOOK if found["of"] == data_quality.ALL_KINDS else Grade.PROBLEM
    again = command(inputs, "ensemble.stack", f"--drop {shlex.quote(found['id'])}")
    return Finding(TOO_GOOD, state, saw, {"smape": found["smape"], "share": share}, advice, again, label)


def labels(inputs: ReportInputs) -> list[Finding]:
    """Training rows whose price looks wrong (`labels.csv`)."""
    if inputs.labels is None:
        return nothing(LABELS, "labels.csv is not there; `python -m core.labels` makes it")
    rows = {each.sample_id for each in inputs.labels}
    conflicts = {each.sample_id for each in inputs.labels if each.kind == LabelNoise.CONFLICT}
    share = len(rows) / len(inputs.train)
    saw = (
        f"{count(len(rows), 'training row')} of {len(inputs.train):,} ({share:.1%}) have a price that looks wrong, "
        f"{len(conflicts)} in conflict with the same product."
    )
    figures = {"rows": len(rows), "conflicts": len(conflicts), "share": share}
    advice = (
        "read them and correct the file where it is wrong; "
        f"suspects=drop of {' and '.join(_CLASSICAL)} learns without them"
    )
    return [settle(LABELS, graded(share, SOME_ROWS, MANY_ROWS), saw, figures, advice, command(inputs, "core.labels"))]


def _members(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Their figures, the best first."""
    return member_figures(inputs.members, inputs.train, inputs.folds, inputs.stack)
