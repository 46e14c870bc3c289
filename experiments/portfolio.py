"""The sweep's head: turns studies, members and the time that is left into a stream of jobs, and remembers what came back.

It knows neither Ray nor MLflow: the cluster asks it for jobs and tells it of results, and it passes the news on to listeners.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from core.architectures.base import Architecture
from core.folds import HOLDOUT
from experiments.failures import Failures
from experiments.jobs import Job, Listener, Outcome, headline
from experiments.members import MemberPlan, Members
from experiments.plan import Budget, NextMember, Progress, affordable, fits, next_member, next_search
from experiments.promotion import Finished, survivors
from experiments.search import INTERRUPTED, Proposal, Study
from experiments.trial import scratch_folder


@dataclass
class Entry:
    """One architecture in the sweep. make_config: the full settings of a trial from the searched ones.

    longest: epochs of any config in the search.
    spent: seconds of its trials so far; fit_seconds: of each finished training, newest last. promoted: how many
    of its configs were queued as members.
    """

    kind: Architecture
    study: Study
    make_settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    estimate: float
    trials: int | None
    members: int
    longest: int
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


class Portfolio:
    """A `JobSource` over several architectures that share one budget."""

    def __init__(
        self, entries: list[Entry], members: Members, budget: Budget, defaults: JobDefaults, listeners: list[Listener]
    ) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.members, self.budget, self.defaults, self.listeners = members, budget, defaults, listeners
        self._fits: list[Job] = []
        self._since: dict[tuple[str, int], float] = {}  # jobs that run
        self._again: list[Job] = []  # lost with their workers, to be run once more
        self._lost: set[tuple[str, int]] = set()
        self.skipped: list[str] = []

    def next(self) -> Job | None:
        now = time.time()
        job = self._again.pop(0) if self._again else self._next_trial(now) or self._next_fit(now)
        if job is not None:
            self._since[job.name, job.fold] = now
            for listener in self.listeners:
                listener.started(job)
        return job

    @property
    def done(self) -> bool:
        if self._since or self._fits or self._again:
            return False
        now = time.time()
        return self._next_searched(now) is None and self._due(now) is None

    def _next_searched(self, now: float) -> str | None:
        """The architecture that gets the next trial, or None if no search goes on."""
        return next_search([entry.progress() for entry in self.entries.values()], self.budget, now)

    def _next_trial(self, now: float) -> Job | None:
        while True:
            name = self._next_searched(now)
            if name is None:
                return None
            entry = self.entries[name]
            proposal = entry.study.ask(entry.trials)
            if proposal is not None:
                entry.running += 1
                return self._trial(entry, proposal)
            entry.open = False

    def _trial(self, entry: Entry, proposal: Proposal) -> Job:
        settings = entry.make_settings(proposal.searched)
        return Job(
            "trial",
            entry.name,
            proposal.name,
            settings,
            fold=HOLDOUT,
            number=proposal.number,
            searched=proposal.searched,
            # What never looks at its validation rows reports once, however many epochs it makes inside.
            epochs=int(settings.get("epochs", 1)) if entry.kind.stops_on_valid else 1,
            longest=entry.longest,
            deadline=self.budget.trial_deadline(entry.seconds, time.time()),
            keep_below=entry.study.threshold(entry.members),
            **self.defaults.of(entry.kind),
        )

    def _next_fit(self, now: float) -> Job | None:
        while True:
            if not self._fits:
                due = self._due(now)
                if due is None:
                    return None
                self.entries[due.architecture].promoted += 1
                self._queue(due)
                continue
            job = self._fits.pop(0)
            if fits(self.entries[job.architecture].seconds, self.budget.left(now)):
                return job
            self._skip(job, "there was no time left for it")

    def _due(self, now: float) -> MemberPlan | None:
        """The member to be trained next, or None if none is, now or in the time left."""
        waiting = {entry.name: plan for entry in self._searched(now) if (plan := self._candidate(entry)) is not None}
        costs = [
            NextMember(name, self.entries[name].promoted, len(plan.missing), self.entries[name].seconds)
            for name, plan in waiting.items()
        ]
        name = next_member(costs, self.budget, now)
        return None if name is None else waiting[name]

    def _searched(self, now: float) -> list[Entry]:
        """The architectures whose search is over. With a time limit members wait for all: the searches pay for what they use."""
        over = [
            entry
            for entry in self.entries.values()
            if not entry.running and next_search([entry.progress()], self.budget, now) is None
        ]
        return over if self.budget.end is None or len(over) == len(self.entries) else []

    def _candidate(self, entry: Entry) -> MemberPlan | None:
        """The best config of the architecture that is no member yet."""
        if entry.promoted >= entry.members:
            return None
        for best in entry.ranking()[entry.promoted : entry.promoted + 1]:
            return self.members.plan(entry.kind, entry.make_settings(best.searched), best)
        return None

    def likeliest(self, count: int) -> set[str]:
        """Ids of what may become members, now or in a later sweep: of the best `count` configs of each architecture."""
        return {
            self.members.plan(entry.kind, entry.make_settings(best.searched), best).name
            for entry in self.entries.values()
            for best in entry.study.ranking()[:count]
        }

    def left_out(self) -> list[str]:
        """What a person should know of members that did not come to be."""
        if self.budget.end is None:
            return self.skipped + [
                f"{entry.members - entry.promoted} of {entry.members} {entry.name} members: no other trial ran to its end "
                "and came near the best (more --trials, or --pruner none)"
                for entry in self.entries.values()
                if 0 < entry.promoted < entry.members and entry.promoted == len(entry.ranking())
            ]
        bare = [entry for entry in self.entries.values() if entry.study.ranking() and not entry.promoted]
        return self.skipped + [f"{entry.name}: no time was left to cross-validate its best config" for entry in bare]

    def _queue(self, plan: MemberPlan) -> None:
        for fold in plan.missing:
            self._fits.append(
                Job(
                    "fit",
                    plan.architecture,
                    plan.name,
                    plan.settings,
                    fold=fold,
                    deadline=self.budget.deadline,
                    **self.defaults.of(self.entries[plan.architecture].kind),
                )
            )
        self._assemble(plan.name)

    def _assemble(self, name: str) -> None:
        record = self.members.assemble(name)
        if record is not None:
            for listener in self.listeners:
                listener.member(name, record)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        if job.kind == "trial":
            self.entries[job.architecture].study.report(job.name, epoch, metrics["smape"])
        for listener in self.listeners:
            listener.epoch(job, epoch, metrics)

    def finished(self, job: Job, outcome: Outcome) -> None:
        entry = self._ended(job)
        entry.failures.end_row(job.searched)
        entry.fit_seconds.append(outcome.seconds)
        if len(entry.fit_seconds) == 1:
            self._tell_affordable(entry)
        if job.kind == "trial":
            entry.study.complete(job.name, outcome)
        for listener in self.listeners:
            listener.finished(job, outcome)
        if job.kind == "fit":
            self._assemble(job.name)

    def pruned(self, job: Job, epoch: int, smape: float) -> None:
        entry = self._ended(job)
        entry.failures.end_row(job.searched)
        shutil.rmtree(scratch_folder(self.members.workspace, job), ignore_errors=True)  # it will not go on
        entry.study.prune(job.name, smape)
        for listener in self.listeners:
            listener.pruned(job, epoch, smape)

    def failed(self, job: Job, error: str) -> None:
        entry = self._ended(job)
        entry.failures.add(error, job.searched)
        entry.open = entry.open and not entry.failures.hopeless
        if job.kind == "trial":
            entry.study.fail(job.name, error)
        else:
            self._drop(job, error)
        for listener in self.listeners:
            listener.failed(job, error)
        if said := entry.failures.said():
            self._tell(f"{entry.name}: {said}")

    def lost(self, job: Job, error: str) -> None:
        """Once, it is run again and goes on from its last state; what kills two workers is the job's own fault."""
        if (job.name, job.fold) in self._lost:
            self.failed(job, f"{error}, twice")
            return
        self._lost.add((job.name, job.fold))
        self._since.pop((job.name, job.fold))
        self._again.append(job)
        self._tell(f"{job.label}: {error}; it is run once more, from its last state where there is one")

    def interrupted(self, job: Job) -> None:
        """Ctrl-C or the end of the time: what ran is not lost but will be proposed first by the next sweep."""
        entry = self._ended(job)
        entry.open = False  # there is no time left for another like it
        if job.kind == "trial":
            entry.study.interrupt(job.name)
        else:
            self._skip(job, "its time was over")
        for listener in self.listeners:
            listener.failed(job, INTERRUPTED)

    def settle(self) -> None:
        """Nothing runs any more: what waited to be run once more is interrupted too, and no trial is left RUNNING."""
        while self._again:
            self.interrupted(self._again.pop(0))
        for entry in self.entries.values():
            entry.study.close()

    def _tell_affordable(self, entry: Entry) -> None:
        """What the time is enough for, once one training was measured."""
        searched = [other.progress() for other in self.entries.values()]
        afford = affordable(entry.progress(), searched, self.budget, time.time(), self.members.workspace.folds.k)
        if afford is not None:
            self._tell(f"{entry.name}: {afford.sentence(entry.seconds, entry.members)}")

    def _tell(self, text: str) -> None:
        for listener in self.listeners:
            listener.note(text)

    def _ended(self, job: Job) -> Entry:
        entry = self.entries[job.architecture]
        now = time.time()
        seconds = now - self._since.pop((job.name, job.fold), now)
        if job.kind == "trial":
            entry.running -= 1
            entry.spent += seconds
        return entry

    def _skip(self, job: Job, why: str) -> None:
        self.skipped.append(f"{job.name}: {why}")
        self._fits = [other for other in self._fits if other.name != job.name]

    def _drop(self, job: Job, error: str) -> None:
        """A member that lost a fold can not be completed: its other folds are not worth training now."""
        self._skip(job, f"fold {job.fold} failed: {headline(error)}")
