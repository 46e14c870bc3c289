"""What a check came to, and what checks share: grades, groups by architecture, figures in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from reports.material import Material, Record
from reports.sweep import known_first

State = Literal["problem", "look", "ok", "skipped"]
STATES: tuple[State, ...] = ("problem", "look", "ok", "skipped")
"""The most urgent first."""


@dataclass(frozen=True)
class Finding:
    """What one check says of the whole run, or of `about`: an architecture or a member.

    saw: a sentence with the figure. figures: its numbers, plain values. advice, command: what to try; empty where all is well.
    """

    check: str
    state: State
    saw: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    command: str = ""
    about: str = ""


Check = Callable[[Material], list[Finding]]


def graded(value: float, look: float, problem: float) -> State:
    """By how large it is; both bounds belong to the worse side."""
    return "problem" if value >= problem else "look" if value >= look else "ok"


def settle(
    check: str, state: State, saw: str, figures: Mapping[str, Any], advice: str, command: str, about: str = ""
) -> Finding:
    """A finding whose advice is left out where all is well."""
    needed = state in ("problem", "look")
    return Finding(check, state, saw, figures, advice if needed else "", command if needed else "", about)


def nothing(check: str, why: str) -> list[Finding]:
    """The run has no data for this check."""
    return [Finding(check, "skipped", f"Nothing to look at: {why}.")]


def by_architecture(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records in groups, in the order of the registry."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["architecture"], []).append(record)
    return {name: groups[name] for name in known_first(set(groups))}


def tried(material: Material, *states: str) -> list[Record]:
    """The trainings of all studies that ended so, with their `architecture`. Repeats, which trained nothing, are left out."""
    return [
        {**trial, "architecture": study["architecture"]}
        for study in material.studies
        for trial in study["trials"]
        if trial["state"] in states and not trial["repeat"]
    ]


def values_text(values: Sequence[Any]) -> str:
    """`0.4`, or `0.1 to 0.4`."""
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
