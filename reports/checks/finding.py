"""Finding of a check: its grade, figures and the commands it suggests."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.architectures import ARCHITECTURES
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import Record, TrialEnd
from reports.figures.sweep_figures import known_first


class Grade(StrEnum):
    """Grade of a finding, the most urgent first."""

    PROBLEM = "problem"
    LOOK = "look"
    OK = "ok"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """Finding of one check on the whole run, or on `about`: an architecture or a member.

    saw: a sentence with the figure. figures: its numbers, plain values. advice, command: what to try; empty where all is well.
    """

    check: str
    state: Grade
    saw: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    command: str = ""
    about: str = ""


TRAINED = (TrialEnd.COMPLETE, TrialEnd.PRUNED, TrialEnd.FAILED)
"""Ends of the trials that were not interrupted."""
Check = Callable[[ReportInputs], list[Finding]]


def graded(value: float, look: float, problem: float) -> Grade:
    """Grade of a value; both bounds belong to the worse side."""
    return Grade.PROBLEM if value >= problem else Grade.LOOK if value >= look else Grade.OK


def settle(
    check: str, state: Grade, saw: str, figures: Mapping[str, Any], advice: str, command: str, about: str = ""
) -> Finding:
    """A finding whose advice is left out where all is well."""
    needed = state in (Grade.PROBLEM, Grade.LOOK)
    return Finding(check, state, saw, figures, advice if needed else "", command if needed else "", about)


def nothing(check: str, why: str) -> list[Finding]:
    """The run has no data for this check."""
    return [Finding(check, Grade.SKIPPED, f"Nothing to look at: {why}.")]


def by_architecture(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records in groups, in the order of the registry."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["architecture"], []).append(record)
    return {name: groups[name] for name in known_first(set(groups))}


def tried(inputs: ReportInputs, *states: TrialEnd) -> list[Record]:
    """The trainings of all studies that ended so, with their `architecture`. Repeats, which trained nothing, are left out."""
    return [
        {**trial, "architecture": study["architecture"]}
        for study in inputs.studies
        for trial in study["trials"]
        if trial["state"] in states and not trial["repeat"]
    ]


def values_text(values: Sequence[Any]) -> str:
    """`0.4`, or `0.1 to 0.4`."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def at(inputs: ReportInputs) -> str:
    """`--workspace FOLDER`."""
    return f"--workspace {shlex.quote(str(inputs.folder))}"


def command(inputs: ReportInputs, module: str, *arguments: str) -> str:
    """`python -m MODULE` on this workspace."""
    return " ".join(["python -m", module, at(inputs), *arguments])


def search(inputs: ReportInputs, architecture: str, trials: Sequence[Record] = (), **settings: Any) -> str:
    """A sweep of the architecture with these settings fixed, and with the encoders that `trials` have in common.

    A fixed setting makes another search space and so another study: the trials that are there do not count against it.
    """
    shared = common([trial["settings"] for trial in trials])
    choices = ARCHITECTURES[architecture].encoder_choices if architecture in ARCHITECTURES else ()
    encoders = {key: shared[key] for key in choices if shared.get(key)}
    chosen = {key: value for key, value in {**encoders, **settings}.items() if value is not None}
    sets = [f"--set {shlex.quote(f'{architecture}.{key}={_text(value)}')}" for key, value in chosen.items()]
    return " ".join([f"python -m experiments.sweep {architecture} {at(inputs)}", *sets])


def anew(inputs: ReportInputs, suffix: str, *arguments: str) -> str:
    """A sweep of the same files in a new workspace: folds and catalog are made once per workspace."""
    facts = inputs.facts
    files = {"--train": facts.train, "--test": facts.test, "--images": facts.images}
    files["--workspace"] = f"{inputs.folder}-{suffix}"
    named = [f"{flag} {shlex.quote(path)}" for flag, path in files.items() if path is not None]
    return " ".join(["python -m experiments.sweep", *named, *arguments])


def common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that are the same in all of them."""
    if not settings:
        return {}
    first, *others = settings
    return {key: value for key, value in first.items() if all(key in each and each[key] == value for each in others)}


def _text(value: Any) -> str:
    """As YAML reads it back."""
    if isinstance(value, bool):
        return str(value).lower()
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """YAML takes `1e-05` for a word, `1.0e-05` for a number."""
    text = f"{value:.3g}"
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text
