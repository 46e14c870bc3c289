"""What bounds a sweep, decided before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.common.memory import MemoryRoom
from experiments.plan import Budget


@dataclass(frozen=True)
class Limits:
    """budget: of time. room: of memory. few: members of each architecture where nothing is searched (`experiments.few`)."""

    budget: Budget
    room: MemoryRoom
    few: int | None = None
