"""The sweep's head: turns studies, members and the time that is left into a stream of jobs, and remembers what came back.

It knows neither Ray nor MLflow: the cluster asks it for jobs and tells it of results, and it passes the news on to listeners.
Without a time limit trials come first, then the folds of the best configs; with one, `experiments.planning.budget_allocator` says what is next.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping

from core.data.folds import HOLDOUT
from core.formatting import headline
from experiments.common.jobs import Job, Listener, Outcome
from experiments.common.options import MOST_MEMBERS
from experiments.execution.job_worker import scratch_folder
from experiments.planning.budget import Limits, NextMember, affordable, fits, next_member, next_search
from experiments.planning.budget_allocator import SEEDS, Choice
from experiments.planning.cross_validation import MemberPlan, Members
from experiments.planning.search_state import Entry, JobDefaults
from experiments.search.study import INTERRUPTED, Proposal
from experiments.search.trial_selection import Finished


class Portfolio:
    """A `JobSource` over several architectures that share one budget."""

    def __init__(
        self,
        entries: list[Entry],
        members: Members,
        limits: Limits,
        defaults: JobDefaults,
        listeners: list[Listener],
    ) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.members, self.budget, self.defaults, self.listeners = members, limits.budget, defaults, listeners
        self.memory = limits.room
        chosen = self.budget.end is not None or limits.few is not None
        self.choice = Choice(self.entries, members, self.budget, limits.few) if chosen else None
        self._fits: list[Job] = []
        self._probes: set[str] = set()  # members with another seed of which one fold is tried
        self._since: dict[tuple[str, int], tuple[Job, float]] = {}  # jobs that run
        self._again: list[Job] = []  # lost with their workers, to be run once more
        self._crowded: set[str] = set()  # told that they wait for memory
        self._lost: set[tuple[str, int]] = set()
        self.skipped: list[str] = []

    def next(self) -> Job | None:
        now = time.time()
        job = self._again.pop(0) if self._again else self._queued(now) or self._next(now)
        if job is not None and not self._has_room(job):
            self._again.insert(0, job)
            return None
        if job is not None:
            self._since[job.name, job.fold] = job, now
            for listener in self.listeners:
                listener.started(job)
        return job

    def _next(self, now: float) -> Job | None:
        """What no member that was begun still needs: a trial, or the first fold of another member."""
        if self.choice is not None:
            return self._next_step(self.choice, now)
        return self._next_trial() or self._next_fit()

    def _has_room(self, job: Job) -> bool:
        """False where its memory is not free before something that runs has ended."""
        running = [other.architecture for other, _ in self._since.values()]
        if not running or self.memory.fits(job.architecture, running):
            return True
        if job.architecture not in self._crowded:
            self._crowded.add(job.architecture)
            self._tell(f"{job.architecture}: fewer trainings at once, for the memory that they take (--memory)")
        return False

    @property
    def done(self) -> bool:
        if self._since or self._fits or self._again:
            return False
        if self.choice is None:
            return self._next_searched() is None and self._due() is None
        now = time.time()
        return not any(look(now, ()) for look in (self.choice.open, self.choice.first, self.choice.step))

    def _next_step(self, choice: Choice, now: float) -> Job | None:
        while True:
            busy = self._busy(now)
            if (name := choice.open(now, busy)) is not None:
                self._queue(choice.take(name))
            elif (first := choice.first(now, busy)) is not None:
                if (job := self._try(self.entries[first])) is not None:
                    return job
            elif (step := choice.step(now, busy)) is None:
                return None
            elif step.make == "member":
                self._tell(
                    f"next: member {step.name}, expected {-step.gain:+.2f} SMAPE for {step.work:.0f} s of one worker"
                )
                self._queue(choice.take(step.name, step.gain))
            elif step.make == "seed":
                self._queue(choice.other_seed(step.name))
            elif step.name.endswith(SEEDS):
                plan = choice.other_seed(step.name)
                if HOLDOUT in plan.missing:
                    self._probes.add(plan.name)
                    return self._fit(plan, HOLDOUT)
                choice.seeded(plan.name, self.entries[plan.architecture].seconds)  # an earlier sweep has tried it
            elif (job := self._try(self.entries[step.name])) is not None:
                return job
            if (job := self._queued(now)) is not None:
                return job

    def _busy(self, now: float) -> list[float]:
        """Seconds that the jobs which run now are still expected to take."""
        return [max(0.0, self.entries[job.architecture].seconds - (now - start)) for job, start in self._since.values()]

    def _next_searched(self) -> str | None:
        """The architecture that gets the next trial, or None if no search goes on."""
        return next_search([entry.progress() for entry in self.entries.values()])

    def _next_trial(self) -> Job | None:
        while (name := self._next_searched()) is not None:
            if (job := self._try(self.entries[name])) is not None:
                return job
        return None

    def _try(self, entry: Entry) -> Job | None:
        """A trial of the architecture, or None if its search has ended."""
        if not self.memory.fits(entry.name):
            self._tell(f"{entry.name}: {self.memory.sentence(entry.name)}")
            entry.open = False
            return None
        proposal = entry.study.ask(entry.trials)
        if proposal is None:
            entry.open = False
            return None
        entry.running += 1
        return self._trial(entry, proposal)

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
            deadline=self.budget.trial_deadline(time.time()),
            keep_below=entry.study.threshold(MOST_MEMBERS if entry.members is None else entry.members),
            **self.defaults.of(entry.kind),
        )

    def _next_fit(self) -> Job | None:
        while not self._fits:
            due = self._due()
            if due is None:
                return None
            self.entries[due.architecture].promoted += 1
            self._queue(due)
        return self._fits.pop(0)

    def _queued(self, now: float) -> Job | None:
        """The next training of a member that was begun and can still be completed."""
        while self._fits:
            job = self._fits.pop(0)
            if fits(self.entries[job.architecture].seconds, self.budget.left(now)):
                return job
            self._skip(job, "there was no time left for it")
        return None

    def _due(self) -> MemberPlan | None:
        """The member to be trained next where no time limit decides, or None if none is now."""
        over = [each for each in self.entries.values() if not each.running and next_search([each.progress()]) is None]
        waiting = {entry.name: plan for entry in over if (plan := self._candidate(entry)) is not None}
        costs = [
            NextMember(name, self.entries[name].promoted, len(plan.missing), self.entries[name].seconds)
            for name, plan in waiting.items()
        ]
        name = next_member(costs, self.budget.concurrent)
        return None if name is None else waiting[name]

    def _candidate(self, entry: Entry) -> MemberPlan | None:
        """The best config of the architecture that is no member yet."""
        if entry.members is None or entry.promoted >= entry.members:
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
        if self.choice is not None:
            return self.skipped + self.choice.left_out()
        return self.skipped + [
            f"{entry.members - entry.promoted} of {entry.members} {entry.name} members: no other trial ran to its end "
            "and came near the best (more --trials, or --pruner none)"
            for entry in self.entries.values()
            if entry.members is not None
            and 0 < entry.promoted < entry.members
            and entry.promoted == len(entry.ranking())
        ]

    def _queue(self, plan: MemberPlan) -> None:
        self._fits += [self._fit(plan, fold) for fold in plan.missing]
        self._assemble(plan.name)

    def _fit(self, plan: MemberPlan, fold: int) -> Job:
        shared = {**self.defaults.of(self.entries[plan.architecture].kind), "seed": plan.key.seed}
        return Job("fit", plan.architecture, plan.name, plan.settings, fold, deadline=self.budget.deadline, **shared)

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
        if outcome.memory is not None:
            self.memory.measure(entry.name, outcome.memory)
        if len(entry.fit_seconds) == 1 and self.budget.end is not None:  # what the time is enough for is known now
            k = self.members.workspace.folds.k
            self._tell(f"{entry.name}: {affordable(entry.seconds, k, self.budget, time.time())}")
        if job.kind == "trial":
            entry.study.complete(job.name, outcome)
        for listener in self.listeners:
            listener.finished(job, outcome)
        if job.name in self._probes and self.choice is not None:
            self._probes.remove(job.name)
            self.choice.seeded(job.name, outcome.seconds)
        elif job.kind == "fit":
            self._assemble(job.name)
        elif self.choice is not None:
            self.choice.tried(entry, finished(job, outcome), outcome.seconds)

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
        entry, now = self._ended(job), time.time()
        own_limit = job.deadline is not None and job.deadline <= now and self.budget.left(now) > 0
        entry.open = entry.open and own_limit  # it may be tried again where the sweep itself goes on
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

    def _tell(self, text: str) -> None:
        for listener in self.listeners:
            listener.note(text)

    def _ended(self, job: Job) -> Entry:
        entry = self.entries[job.architecture]
        now = time.time()
        _, start = self._since.pop((job.name, job.fold), (job, now))
        if job.kind == "trial":
            entry.running -= 1
            entry.spent += now - start
        return entry

    def _skip(self, job: Job, why: str) -> None:
        self.skipped.append(f"{job.name}: {why}")
        if self.choice is not None:
            self.choice.drop(job.name)
        self._fits = [other for other in self._fits if other.name != job.name]

    def _drop(self, job: Job, error: str) -> None:
        """A member that lost a fold can not be completed: its other folds are not worth training now."""
        self._skip(job, f"fold {job.fold} failed: {headline(error)}")


def finished(job: Job, outcome: Outcome) -> Finished:
    """A trial that has ended, as promotion sees it."""
    smape, steady = outcome.metrics["smape"], outcome.steady
    return Finished(
        job.number, job.searched or {}, job.name, smape, outcome.best_epoch,
        smape if steady is None else steady, outcome.standard_error,
    )  # fmt: skip
