"""What is worth starting in the time that is left. Pure functions of what was measured, so that a plan can be tested.

With a time budget, trials may use the first 45% of it and members get the rest: cross-validating a config takes k trainings
where trying it took one, and only members reach the submission. Nothing is started that would not be finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

SEARCH_SHARE = 0.45
CAUTION = 1.25
"""Measured seconds vary: a job is started if this multiple of its expected duration still fits."""
CLOSING_SECONDS = 8.0
"""Kept free at the end for writing members, shutting the workers down and drawing the report."""


def stack_seconds(rows: int) -> float:
    """Kept free for `python -m ensemble.stack`, which takes 5 to 8 seconds on 3,000 rows and grows with them."""
    return 8.0 + rows / 1000


@dataclass(frozen=True)
class Budget:
    """start, end: `time.time()` values; end is None without a time limit. concurrent: jobs at once.

    stack: seconds kept free after the sweep for the stack.
    """

    start: float
    end: float | None
    concurrent: int
    stack: float = 0.0

    @property
    def closing(self) -> float:
        return CLOSING_SECONDS + self.stack

    def left(self, now: float) -> float:
        """Seconds in which jobs may run."""
        return float("inf") if self.end is None else max(0.0, self.end - self.closing - now)

    def search_left(self, now: float) -> float:
        """Seconds in which further trials may run."""
        if self.end is None:
            return float("inf")
        return max(0.0, self.start + SEARCH_SHARE * (self.end - self.stack - self.start) - now)

    @property
    def deadline(self) -> float | None:
        """When the last job must have come to its end."""
        return None if self.end is None else self.end - self.stack - CLOSING_SECONDS / 2

    def trial_deadline(self, seconds: float, now: float) -> float | None:
        """When a trial must stop: with the search's share, so that one slow trial cannot eat the members' time."""
        if self.end is None or self.deadline is None:
            return None
        return min(self.deadline, max(now + self.search_left(now), now + CAUTION * seconds))


@dataclass(frozen=True)
class Progress:
    """One architecture's search. seconds: of one training, measured or estimated. spent: on its trials so far."""

    name: str
    seconds: float
    spent: float
    finished: int
    running: int
    wanted: int | None
    open: bool

    @property
    def first(self) -> bool:
        return self.finished + self.running == 0

    @property
    def wants_more(self) -> bool:
        return self.open and (self.wanted is None or self.finished + self.running < self.wanted)


def next_search(progress: Sequence[Progress], budget: Budget, now: float) -> str | None:
    """The architecture that gets the next trial, or None if none should.

    Each has its trial 0 first, the cheapest before the others; then the one on which least time was spent.
    """
    firsts = [each for each in progress if each.wants_more and each.first and fits(each.seconds, budget.left(now))]
    if firsts:
        return min(firsts, key=lambda each: each.seconds).name
    others = [
        each for each in progress if each.wants_more and not each.first and fits(each.seconds, budget.search_left(now))
    ]
    return min(others, key=lambda each: each.spent).name if others else None


def fits(seconds: float, left: float) -> bool:
    """True if a job of so many expected seconds ends in the time left."""
    return CAUTION * seconds <= left


@dataclass(frozen=True)
class NextMember:
    """The next config of an architecture to be cross-validated: its rank there (0 is best), trainings and seconds of each."""

    name: str
    rank: int
    trainings: int
    seconds: float

    def wall_seconds(self, concurrent: int) -> float:
        """How long it takes when so many trainings run at once."""
        return ceil(self.trainings / concurrent) * self.seconds


def next_member(waiting: Sequence[NextMember], budget: Budget, now: float) -> str | None:
    """The architecture that gets the next member, or None if none fits into the time left.

    Every architecture has its best before any has its second, the cheaper first: different architectures err differently,
    which is what a stack lives on.
    """
    left = budget.left(now)
    fitting = [each for each in waiting if fits(each.wall_seconds(budget.concurrent), left)]
    return min(fitting, key=lambda each: (each.rank, each.wall_seconds(budget.concurrent))).name if fitting else None


@dataclass(frozen=True)
class Affordable:
    """What is left to an architecture: further trials, and members of so many trainings each."""

    trials: int
    members: int
    trainings: int

    def sentence(self, seconds: float, wanted: int) -> str:
        """For people. seconds: of one training. wanted: members at most."""
        start = f"one training takes {seconds:.1f} s; there is time for about {self.trials} more trials"
        if not self.members:
            return f"{start} and for no member of {self.trainings} trainings: give more --minutes"
        return f"{start} and {min(self.members, wanted)} members of {self.trainings} trainings each"


def affordable(
    own: Progress, searched: Sequence[Progress], budget: Budget, now: float, trainings: int
) -> Affordable | None:
    """What `own`, one of the searched architectures, can afford when they share the time equally; None without a limit."""
    if budget.end is None:
        return None
    share = budget.concurrent / len(searched)
    search, members = budget.search_left(now), budget.left(now) - budget.search_left(now)
    trials = int(search * share / own.seconds)
    if own.wanted is not None:
        trials = min(trials, own.wanted - own.finished - own.running)
    return Affordable(max(0, trials), int(members * share / (trainings * own.seconds)), trainings)
