"""Time budget: its options and what fits into the time left. Pure functions.

No job is started that would not be finished: a trial only where the folds that would make it a member still fit behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.command_config import CommandConfig
from core.errors import UserError
from experiments.common.memory import MemoryBudget

DEFAULT_TRIALS, DEFAULT_MEMBERS = 8, 2
"""Per architecture, where no time budget decides."""
MOST_MEMBERS = 6
"""Best trials of an architecture that keep their model where time decides: others that become members train one fold more."""


class BudgetConfig(CommandConfig):
    """Time for everything, and trials and members of each architecture."""

    trials: Annotated[int | None, Field(ge=1, description="different configs per architecture, in all runs (8)")] = None
    minutes: Annotated[float | None, Field(description="time for everything, members included")] = None
    members: Annotated[
        int | None,
        Field(
            ge=1,
            description="best configs per architecture to cross-validate (2; with --minutes as many as help the stack)",
        ),
    ] = None

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(
                f"--minutes {self.minutes:g} leaves no time to train anything",
                code="no-minutes",
                hint="give a positive number of minutes, or leave the flag out; --dry-run shows the plan without training",
            )
        return self

    @property
    def wanted_members(self) -> int | None:
        """Configs to cross-validate per architecture; None: as many as lower the stack's SMAPE while there is time."""
        return DEFAULT_MEMBERS if self.members is None and self.minutes is None else self.members

    def wanted_trials(self, grid: bool) -> int | None:
        """Different configs to try per architecture; None: as many as the time allows (or the grid has)."""
        if self.trials is not None or grid or self.minutes is not None:
            return self.trials
        return DEFAULT_TRIALS


OPENING_SHARE = 0.2
"""An architecture whose cross-validation is expected to take less than this share of the time is cross-validated at once, as its
documented best: a stack of the classical models exists early, whatever happens later."""
TIME_MARGIN = 1.25
"""Measured seconds vary: a job is started if this multiple of its expected duration still fits."""
CLOSING_SECONDS = 5.0
"""Kept free at the end for writing members and shutting the workers down."""


def after_seconds(rows: int) -> float:
    """Seconds kept free for the sweep's report, for `python -m ensemble.stack`, which takes 5 to 8 on 3,000 rows and grows with
    them, and for the stack's report."""
    report = 2.0 + 0.36 * rows / 1000  # 3 on 3,000 rows, 29 on 75,000
    return 8.0 + rows / 1000 + 2 * report


@dataclass(frozen=True)
class Budget:
    """Time limit of a sweep. start, end: `time.time()` values; end is None without a limit. concurrent: jobs at once.

    after: seconds kept free after the last training for the stack and both reports.
    """

    start: float
    end: float | None
    concurrent: int
    after: float = 0.0

    @property
    def closing(self) -> float:
        return CLOSING_SECONDS + self.after

    def left(self, now: float) -> float:
        """Seconds in which jobs may run."""
        return float("inf") if self.end is None else max(0.0, self.end - self.closing - now)

    @property
    def deadline(self) -> float | None:
        """Time at which the last job must have ended."""
        return None if self.end is None else self.end - self.after - CLOSING_SECONDS / 2

    def trial_deadline(self, now: float) -> float | None:
        """Time at which a trial must stop: at half of the time left, or there would be none for its member.

        Not earlier, though a member takes more rounds than two: the first trainings wait for their workers to start.
        """
        return None if self.deadline is None else now + max(0.0, self.deadline - now) / 2

    def opens(self, seconds: float, trainings: int) -> bool:
        """True if a member of so many trainings belongs to the opening."""
        wall = makespan((), [seconds] * trainings, self.concurrent)
        return self.end is not None and wall <= OPENING_SHARE * (self.end - self.start)


def makespan(busy: Sequence[float], jobs: Sequence[float], slots: int) -> float:
    """Seconds until the last of `jobs`, seconds each, has ended when each in turn goes to the slot that is free first.

    busy: seconds that jobs which run now still need. 0 without jobs. (Graham 1969, list scheduling.)
    """
    free = [0.0] * max(0, slots - len(busy)) + sorted(busy)
    heapify(free)
    last = 0.0
    for seconds in jobs:
        end = heappop(free) + seconds
        last = max(last, end)
        heappush(free, end)
    return last


def affordable(seconds: float, trainings: int, budget: Budget, now: float) -> str:
    """Sentence on how many members the time left is enough for if one training takes so many seconds."""
    members = int(budget.left(now) * budget.concurrent / (TIME_MARGIN * seconds * trainings))
    start = f"one training takes {seconds:.1f} s"
    if not members:
        return f"{start}; there is no time for a member of {trainings}: give more --minutes"
    return f"{start}, and the {budget.left(now):.0f} s left are enough for {members} members of {trainings}"


@dataclass(frozen=True)
class SweepLimits:
    """Limits of a sweep: of time, of memory, and of members per architecture where little data leaves nothing to search
    (`experiments.planning.setup`; None: there is a search).
    """

    budget: Budget
    memory: MemoryBudget
    small_data_members: int | None = None
