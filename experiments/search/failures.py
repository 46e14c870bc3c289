"""Failure analysis: settings that failed trials share, and repeated failures that end a search."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.formatting import headline

IN_A_ROW = 3
"""So many of one kind, one after the other, are no accident."""
HOPELESS = 3 * IN_A_ROW
"""After so many in a row of whatever kind a search ends, although it has had results before."""


@dataclass
class Failures:
    """The failed trainings of one architecture's search."""

    errors: Counter[str] = field(default_factory=Counter)
    row: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    succeeded: list[dict[str, Any]] = field(default_factory=list)

    def add(self, error: str, searched: Mapping[str, Any] | None) -> None:
        self.errors[error] += 1
        self.row.append((error, dict(searched or {})))

    def end_row(self, searched: Mapping[str, Any] | None) -> None:
        """A training came to a result."""
        self.row.clear()
        self.succeeded.append(dict(searched or {}))

    @property
    def hopeless(self) -> bool:
        """True where the next trial would most likely fail as well."""
        never = not self.succeeded and len(self.row) >= IN_A_ROW
        return (never and self._alike()) or len(self.row) >= HOPELESS

    def summary(self) -> str | None:
        """Settings that the last three in a row share, in a line, each time that there are three more of one kind; else None."""
        if not self.row or len(self.row) % IN_A_ROW or not self._alike():
            return None
        last = [searched for _, searched in self.row[-IN_A_ROW:]]
        shared = common(last, self.succeeded)
        settings = " ".join(f"{key}={value}" for key, value in shared.items())
        which = (
            f"all with {settings}, which no trial with a result had"
            if shared
            else "with no setting of their own in common"
        )
        return f"{IN_A_ROW} in a row failed alike, {which}: {headline(self.row[-1][0])}"

    def _alike(self) -> bool:
        return len({kind(error) for error, _ in self.row[-IN_A_ROW:]}) == 1


def kind(error: str) -> str:
    """The headline without its numbers: what failures of one cause share."""
    return re.sub(r"\d+(\.\d+)?", "#", headline(error))


def common(failed: Sequence[Mapping[str, Any]], succeeded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings that all failed configs share and no successful one has."""
    first, *others = failed
    return {
        key: value
        for key, value in first.items()
        if all(other.get(key) == value for other in others) and all(one.get(key) != value for one in succeeded)
    }
