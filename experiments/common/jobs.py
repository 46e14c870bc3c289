"""Jobs and their outcomes: the types and protocols shared by scheduler, workers, run log and live view."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from core.console import as_user_error
from core.errors import UserError


class JobKind(StrEnum):
    """Kind of a training: a config on the holdout fold, or one fold of a member."""

    TRIAL = "trial"
    FIT = "fit"


@dataclass(frozen=True)
class Job:
    """One training.

    name: the id of the config's member key, which names the folder of what is made. number: the trial's number in its study.
    settings: every setting of the config. searched: those that the study chose, for people. epochs: at most;
    longest: of any config in the search. differs: the settings in which a trial differs from the best known point, in words.
    deadline: `time.time()` value at which to stop in order, or None. keep_below: a trial with a lower SMAPE keeps its model,
    because it may become a member's fold; None: any does. workers: processes that train it together.
    """

    kind: JobKind
    architecture: str
    name: str
    settings: dict[str, Any]
    fold: int
    seed: int
    threads: int
    device: str
    number: int = -1
    searched: dict[str, Any] | None = None
    differs: str = ""
    epochs: int = 1
    longest: int = 1
    deadline: float | None = None
    keep_below: float | None = None
    workers: int = 1

    @property
    def label(self) -> str:
        """`text #3` or `text-1a2b fold 2`."""
        if self.kind == JobKind.TRIAL:
            return f"{self.architecture} #{self.number}"
        return f"{self.name[:-8]} fold {self.fold}"

    @property
    def folder(self) -> str:
        """Folder, below one for all trainings, of the states that it keeps until it has ended."""
        return f"{self.name}/{self.kind}-{self.fold}"


@dataclass(frozen=True)
class JobOutcome:
    """Result of a job. metrics: all four on the held-out rows. best_epoch: from 1. seconds: of training and predicting.

    cut: True where the deadline ended the training: a usable result, but not the config's best. steady: SMAPE, smoothed over
    epochs (`experiments.search.trial_selection`). standard_error: of the SMAPE, over the products held out;
    None where they are too few. memory: bytes that the process held at most; None: not measured.
    """

    metrics: dict[str, float]
    best_epoch: int
    seconds: float
    cut: bool = False
    steady: float | None = None
    standard_error: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class StopReason:
    """Reason that a pruner stopped a trial.

    rung: the epoch at which it was compared. smape: its best by then. threshold: the highest SMAPE that went on there.
    rank: its place among the `compared` trials that had reached the rung, itself included; 1 is the best.
    """

    rung: int
    smape: float
    threshold: float
    rank: int
    compared: int

    @property
    def sentence(self) -> str:
        """`SMAPE 93.03 at rung 2 is rank 3 of 3; 90.11 was needed`."""
        return (
            f"SMAPE {self.smape:.2f} at rung {self.rung} is rank {self.rank} of {self.compared}; "
            f"{self.threshold:.2f} was needed"
        )


STOPPED = "stopped"
"""User attribute of a stopped trial: its `StopReason` as a dictionary."""


def stop_sentence(attributes: Mapping[str, Any]) -> str | None:
    """The reason that is stored with a trial, as a sentence; None for a trial that was not stopped, or by an older version."""
    return StopReason(**attributes[STOPPED]).sentence if attributes.get(STOPPED) else None


class SweepStatus(StrEnum):
    """State of a sweep. `sweep.json` holds the first four, RUNNING also of a killed driver; `experiments.status` shows all."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # its only sign of life is in the study
    DIED = "died"
    UNKNOWN = "unknown"

    @property
    def is_live(self) -> bool:
        return self in (SweepStatus.RUNNING, SweepStatus.ELSEWHERE)


PLACEMENT_GROUP = "placement_group"
"""Key of the first result of a job with several workers: the placement group that holds them."""


class WorkerLost(Exception):
    """Death of a process that worked on a job; the job itself may be fine."""


class Failed(Exception):
    """Failure of a job in another process, with its error's text and code."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


def error_text(error: Exception) -> str:
    """Text of an error: what happened and what to do; with a traceback for bugs only."""
    mendable = as_user_error(error) if isinstance(error, OSError) else None
    if mendable is not None or isinstance(error, (UserError, Failed)):
        return str(mendable or error)
    return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def error_code(error: Exception) -> str | None:
    """Code of an error that the user can mend; None for a bug."""
    mendable = as_user_error(error) if isinstance(error, OSError) else error
    return (mendable.code or None) if isinstance(mendable, (UserError, Failed)) else None


class RunCallback:
    """Observer of a sweep: called in the driver's thread for every event of a job and every complete member.

    Every method does nothing: a callback overrides those that it uses.
    """

    def started(self, job: Job) -> None: ...
    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None: ...
    def finished(self, job: Job, outcome: JobOutcome) -> None: ...
    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None: ...
    def failed(self, job: Job, error: str, code: str | None = None) -> None: ...
    def member(self, name: str, record: Mapping[str, Any]) -> None: ...
    def note(self, text: str) -> None: ...


class JobSource(Protocol):
    """Source of jobs for a pool of workers, which reports their events to it."""

    def next(self) -> Job | None:
        """The next job, or None if there is nothing to start now."""

    @property
    def done(self) -> bool:
        """True once no job will ever follow."""

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None: ...
    def finished(self, job: Job, outcome: JobOutcome) -> None: ...
    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None: ...
    def failed(self, job: Job, error: str, code: str | None = None) -> None: ...
    def lost(self, job: Job, error: str) -> None:
        """Its worker process or node died; the job itself may be fine."""

    def interrupted(self, job: Job) -> None: ...
