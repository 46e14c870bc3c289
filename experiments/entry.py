"""One architecture in a sweep: its study, what is wanted of it, and what its trainings have cost so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from core.protocols.architecture import Architecture
from experiments.plan import Progress
from experiments.search.failures import Failures
from experiments.search.study import Study
from experiments.search.trial_selection import Finished, survivors
from experiments.worth import NEW_KIND


@dataclass
class Entry:
    """One architecture in the sweep. make_config: the full settings of a trial from the searched ones.

    longest: epochs of any config in the search. members: wanted at most; None: as many as lower the stack's SMAPE in the time.
    prior: see `experiments.worth`. spent: seconds of its trials so far; fit_seconds: of each finished training, newest last.
    promoted: how many of its configs were queued as members.
    """

    kind: Architecture
    study: Study
    make_settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    estimate: float
    trials: int | None
    members: int | None
    longest: int
    prior: float = NEW_KIND
    open: bool = True
    running: int = 0
    promoted: int = 0
    failures: Failures = field(default_factory=Failures)
    spent: float = 0.0
    fit_seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def seconds(self) -> float:
        """Of one training: measured where there is a measurement."""
        return median(self.fit_seconds) if self.fit_seconds else self.estimate

    def ranking(self) -> list[Finished]:
        """Its trials that are worth cross-validating, the best first."""
        return survivors(self.study.ranking())

    def progress(self) -> Progress:
        is_open = self.open and not self.study.exhausted
        return Progress(self.name, self.seconds, self.spent, self.study.distinct, self.running, self.trials, is_open)


@dataclass(frozen=True)
class JobDefaults:
    """What all jobs of a sweep share. threads: of each worker. workers: of each job."""

    seed: int
    threads: int
    device: str
    workers: int = 1

    def of(self, kind: Architecture) -> dict[str, Any]:
        """For the jobs of this architecture: one that cannot be trained by several workers together gets one."""
        return {**vars(self), "workers": self.workers if kind.data_parallel else 1}
