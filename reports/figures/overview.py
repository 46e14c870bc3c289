"""Overview of a report: how good, against which baseline, and the next step."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from core.architectures import ARCHITECTURES
from core.data.folds import FEW_ROWS
from core.formatting import amount, count, figure_text
from core.metrics import METRICS, group_bootstrap, smape_terms
from reports.figures.adversarial_validation import SOME, STRONG
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import TrialEnd

_MORE_TRIALS = 2  # times as many as there are
_FEWEST_TRIALS = 8
_MANY_LABELS = 0.005
"""Share of the training rows suggested for removal from which the overview mentions them."""
_MUCH_OPTIMISM = 1.0
"""Points between in-sample and nested SMAPE from which the overview mentions them."""


class FigureOf(StrEnum):
    """Predictions that the report's first figure is of."""

    STACK = "stack"
    MEMBER = "member"


def overview_figures(inputs: ReportInputs, content: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of report.json that summarise its other content: the nested-CV figure and the overview."""
    nested = nested_cv_figure(inputs, content)
    return {"honest": nested, "verdict": overview({**content, "honest": nested}, content["workspace"])}


def overview(content: Mapping[str, Any], workspace: str) -> dict[str, Any]:
    """Summary sentence, next step with its command, choices made for the user, and warnings."""
    return {
        "sentence": sentence(content),
        "next": next_step(content, workspace),
        "choices": _choices(content["members"]),
        "warnings": warnings(content),
        "shift": shift_sentence(content["data"]["shift"]),
    }


def nested_cv_figure(inputs: ReportInputs, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Best nested-CV figure with its 95% interval of bootstraps over product groups: the stack's, else the best member's."""
    if content["stack"]:
        return {"kind": FigureOf.STACK, "name": content["stack"]["choice"]["name"], **content["stack"]["nested"]}
    if not content["members"]:
        return None
    best = content["members"][0]
    oof = next(member.oof for member in inputs.members if member.id == best["id"])
    known = np.isfinite(oof)
    terms = smape_terms(inputs.train.known_prices[known], oof[known])
    figures = {name: best[name] for name in (*METRICS, "standard_error")}
    interval = group_bootstrap(terms, inputs.folds.groups[known], seed=0)
    known_range = list(interval) if math.isfinite(interval[0]) else None  # rows of one product have no spread
    return {"kind": FigureOf.MEMBER, "name": best["label"], **figures, "interval": known_range}


def sentence(content: Mapping[str, Any]) -> str:
    """Sentence on the nested-CV SMAPE against the constant floor and the best single member."""
    floor, nested, members = content["floor"], content["honest"], content["members"]
    against = f"the best constant price ({amount(floor['price'])}) has {floor['smape']:.2f}"
    if nested is None:
        return f"No member is complete yet, so there is no nested-CV figure; {against}."
    gain = floor["smape"] - nested["smape"]
    beats = f"{gain:.2f} points better than" if gain > 0 else f"{-gain:.2f} points worse than"
    known = nested["interval"]
    between = f" ({known[0]:.2f} to {known[1]:.2f} in 95% of bootstraps over products)" if known else ""
    figure = f"SMAPE {figure_text(nested)} on rows it has not seen{between}, {beats} the best constant price"
    if nested["kind"] == FigureOf.MEMBER:
        chosen = f", the best of {len(members)} on the same rows" if len(members) > 1 else ""
        return f"The member {nested['name']} has {figure} ({floor['smape']:.2f}){chosen}."
    if not members:
        return f"The stack ({nested['name']}) has {figure} ({floor['smape']:.2f})."
    best = members[0]
    lead = best["smape"] - nested["smape"]
    beside = "as good as" if abs(lead) < 0.005 else f"{abs(lead):.2f} {'better' if lead > 0 else 'worse'} than"
    return (
        f"The stack ({nested['name']}) has {figure} ({floor['smape']:.2f}) and {beside} the best single member, "
        f"{best['label']} ({figure_text(best)})."
    )


def warnings(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Warnings against trusting the figure, each with the anchor of its section."""
    data, leaks, labels, shift = content["data"], content["leaks"], content["labels"], content["data"]["shift"]
    found = [("doubts", f"{note[:1].upper()}{note[1:]}.") for note in leaks["notes"] or ()]
    found += [("doubts", f"{each['id']} is much better than the other members.") for each in leaks["too_good"]]
    found += [
        ("doubts", f"The field {each['name']} alone explains {each['share']:.0%} of the variance of log prices.")
        for each in data["strengths"]
        if each["suspicious"]
    ]
    if shift and shift["auc"] >= STRONG:
        apart = f"a classifier separates them with AUC {shift['auc']:.2f}"
        found.append(("data", f"Test rows are not like training rows: {apart}."))
    if labels["suggested"] >= _MANY_LABELS * data["rows"]["train"]:
        rows = count(labels["suggested"], "training row")
        found.append(("doubts", f"The prices of {rows} look wrong, and are suggested for correction."))
    if content["stack"] and content["stack"]["optimism"] >= _MUCH_OPTIMISM:
        found.append(("stack", f"The stack is {content['stack']['optimism']:.2f} points better in-sample than nested."))
    return [{"place": place, "text": text} for place, text in found]


def shift_sentence(shift: Mapping[str, Any] | None) -> str:
    """Meaning of an AUC of adversarial validation for the out-of-fold figures, in words."""
    if shift is None:
        return ""
    if shift["auc"] < SOME:
        return "they are alike, and out-of-fold scores should hold for the test file."
    if shift["auc"] < STRONG:
        return "they differ somewhat; expect the test file to be a little harder than the folds."
    return "they differ clearly, by the columns above: out-of-fold scores may not hold for the test file."


def next_step(content: Mapping[str, Any], workspace: str) -> dict[str, str]:
    """Reason, and the exact command."""
    members, stack, sweep = content["members"], content["stack"], content["sweep"]
    at = f"--workspace {shlex.quote(workspace)}"
    if not members:
        if sweep and not sweep["counts"][TrialEnd.COMPLETE]:
            return _step("No trial has come to its end: see what went wrong.", f"python -m reports.diagnose {at}")
        tried = f"{count(sweep['counts']['complete'], 'trial')} finished, but no" if sweep else "No"
        return _step(f"{tried} config is cross-validated yet.", f"python -m experiments.sweep {at}")
    if stack is None:
        return _step(
            "Combine the members and write the submission; the nested figure is the one to expect on new rows.",
            f"python -m ensemble.stack {at}",
        )
    if stack["missing"]:
        return _step(
            f"{count(len(stack['missing']), 'member')} came after the stack: stack again.",
            f"python -m ensemble.stack {at}",
        )
    untried = _untried(content)
    if untried:
        return _step(
            f"No {' and no '.join(untried)} member yet: a stack gains most from members that err differently.",
            f"python -m experiments.sweep {' '.join(untried)} {at}",
        )
    best = next(member["architecture"] for member in members if member["architecture"] in ARCHITECTURES)
    trials = sum(trial["architecture"] == best for trial in sweep["trials"]) if sweep else 0
    command = f"python -m experiments.sweep {best} {at} --trials {max(_FEWEST_TRIALS, _MORE_TRIALS * trials)}"
    return _step(
        f"Every architecture that this catalog allows is in the stack; search on where the best member is ({best}).",
        command,
    )


def _untried(content: Mapping[str, Any]) -> list[str]:
    """Architectures without a member. Those that read images need some; networks need more than few rows."""
    present = {member["architecture"] for member in content["members"]}
    wanted = [name for name in ARCHITECTURES if name not in present]
    if content["data"]["rows"]["train"] < FEW_ROWS:
        wanted = [name for name in wanted if not ARCHITECTURES[name].is_network]
    return [name for name in wanted if content["data"]["pictures"] or not ARCHITECTURES[name].reads_images]


def _choices(members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Choices made for the user, with the reason and the architectures they hold for."""
    found: dict[str, list[str]] = {}
    for member in members:
        for note in member["notes"]:
            architectures = found.setdefault(note, [])
            if member["architecture"] not in architectures:
                architectures.append(member["architecture"])
    return [{"architectures": architectures, "note": note} for note, architectures in found.items()]


def _step(why: str, command: str) -> dict[str, str]:
    return {"why": why, "command": command}
