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
from experiments.common.jobs import Job, JobOutcome, Listener
from experiments.execution.job_worker import scratch_folder
from experiments.planning.budget import NextMember, SweepLimits, affordable, fits, next_member, next_search
from experiments.planning.budget_allocator import SEEDS, BudgetAllocator
from experiments.planning.budget_config import MOST_MEMBERS
from experiments.planning.cross_validation import MemberBuilder, MemberPlan
from experiments.planning.search_state import ArchitectureSearch, JobDefaults
from experiments.search.study import INTERRUPTED, Proposal
from experiments.search.trial_selection import Finished


class JobScheduler:
    """A `JobSource` over several architectures that share one budget."""

    def __init__(
        self,
        searches: list[ArchitectureSearch],
        members: MemberBuilder,
        limits: SweepLimits,
        defaults: JobDefaults,
        listeners: list[Listener],
    ) -> None:
        self.searches = {search.name: search for search in searches}
        self.members, self.budget, self.defaults, self.listeners = members, limits.budget, defaults, listeners
        self.memory = limits.room
        chosen = self.budget.end is not None or limits.few is not None
        self.allocator = BudgetAllocator(self.searches, members, self.budget, limits.few) if chosen else None
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
        if self.allocator is not None:
            return self._next_step(self.allocator, now)
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
        if self.allocator is None:
            return self._next_searched() is None and self._due() is None
        now = time.time()
        return not any(
            look(now, ())
            for look in (self.allocator.opening_member, self.allocator.opening_trial, self.allocator.next_step)
        )

    def _next_step(self, allocator: BudgetAllocator, now: float) -> Job | None:
        while True:
            busy = self._busy(now)
            if (name := allocator.opening_member(now, busy)) is not None:
                self._queue(allocator.add_member(name))
            elif (first := allocator.opening_trial(now, busy)) is not None:
                if (job := self._try(self.searches[first])) is not None:
                    return job
            elif (step := allocator.next_step(now, busy)) is None:
                return None
            elif step.make == "member":
                self._tell(
                    f"next: member {step.name}, expected {-step.gain:+.2f} SMAPE for {step.work:.0f} s of one worker"
                )
                self._queue(allocator.add_member(step.name, step.gain))
            elif step.make == "seed":
                self._queue(allocator.reseed(step.name))
            elif step.name.endswith(SEEDS):
                plan = allocator.reseed(step.name)
                if HOLDOUT in plan.missing:
                    self._probes.add(plan.name)
                    return self._fit(plan, HOLDOUT)
                allocator.seed_finished(
                    plan.name, self.searches[plan.architecture].seconds
                )  # an earlier sweep has tried it
            elif (job := self._try(self.searches[step.name])) is not None:
                return job
            if (job := self._queued(now)) is not None:
                return job

    def _busy(self, now: float) -> list[float]:
        """Seconds that the jobs which run now are still expected to take."""
        return [
            max(0.0, self.searches[job.architecture].seconds - (now - start)) for job, start in self._since.values()
        ]

    def _next_searched(self) -> str | None:
        """The architecture that gets the next trial, or None if no search goes on."""
        return next_search([search.progress() for search in self.searches.values()])

    def _next_trial(self) -> Job | None:
        while (name := self._next_searched()) is not None:
            if (job := self._try(self.searches[name])) is not None:
                return job
        return None

    def _try(self, search: ArchitectureSearch) -> Job | None:
        """A trial of the architecture, or None if its search has ended."""
        if not self.memory.fits(search.name):
            self._tell(f"{search.name}: {self.memory.sentence(search.name)}")
            search.open = False
            return None
        proposal = search.study.ask(search.trials)
        if proposal is None:
            search.open = False
            return None
        search.running += 1
        return self._trial(search, proposal)

    def _trial(self, search: ArchitectureSearch, proposal: Proposal) -> Job:
        settings = search.make_settings(proposal.searched)
        return Job(
            "trial",
            search.name,
            proposal.name,
            settings,
            fold=HOLDOUT,
            number=proposal.number,
            searched=proposal.searched,
            # What never looks at its validation rows reports once, however many epochs it makes inside.
            epochs=int(settings.get("epochs", 1)) if search.kind.stops_on_valid else 1,
            longest=search.longest,
            deadline=self.budget.trial_deadline(time.time()),
            keep_below=search.study.threshold(MOST_MEMBERS if search.members is None else search.members),
            **self.defaults.of(search.kind),
        )

    def _next_fit(self) -> Job | None:
        while not self._fits:
            due = self._due()
            if due is None:
                return None
            self.searches[due.architecture].promoted += 1
            self._queue(due)
        return self._fits.pop(0)

    def _queued(self, now: float) -> Job | None:
        """The next training of a member that was begun and can still be completed."""
        while self._fits:
            job = self._fits.pop(0)
            if fits(self.searches[job.architecture].seconds, self.budget.left(now)):
                return job
            self._skip(job, "there was no time left for it")
        return None

    def _due(self) -> MemberPlan | None:
        """The member to be trained next where no time limit decides, or None if none is now."""
        over = [each for each in self.searches.values() if not each.running and next_search([each.progress()]) is None]
        waiting = {search.name: plan for search in over if (plan := self._candidate(search)) is not None}
        costs = [
            NextMember(name, self.searches[name].promoted, len(plan.missing), self.searches[name].seconds)
            for name, plan in waiting.items()
        ]
        name = next_member(costs, self.budget.concurrent)
        return None if name is None else waiting[name]

    def _candidate(self, search: ArchitectureSearch) -> MemberPlan | None:
        """The best config of the architecture that is no member yet."""
        if search.members is None or search.promoted >= search.members:
            return None
        for best in search.ranking()[search.promoted : search.promoted + 1]:
            return self.members.plan(search.kind, search.make_settings(best.searched), best)
        return None

    def likeliest(self, count: int) -> set[str]:
        """Ids of what may become members, now or in a later sweep: of the best `count` configs of each architecture."""
        return {
            self.members.plan(search.kind, search.make_settings(best.searched), best).name
            for search in self.searches.values()
            for best in search.study.ranking()[:count]
        }

    def left_out(self) -> list[str]:
        """What a person should know of members that did not come to be."""
        if self.allocator is not None:
            return self.skipped + self.allocator.left_out()
        return self.skipped + [
            f"{search.members - search.promoted} of {search.members} {search.name} members: no other trial ran to its end "
            "and came near the best (more --trials, or --pruner none)"
            for search in self.searches.values()
            if search.members is not None
            and 0 < search.promoted < search.members
            and search.promoted == len(search.ranking())
        ]

    def _queue(self, plan: MemberPlan) -> None:
        self._fits += [self._fit(plan, fold) for fold in plan.missing]
        self._assemble(plan.name)

    def _fit(self, plan: MemberPlan, fold: int) -> Job:
        shared = {**self.defaults.of(self.searches[plan.architecture].kind), "seed": plan.key.seed}
        return Job("fit", plan.architecture, plan.name, plan.settings, fold, deadline=self.budget.deadline, **shared)

    def _assemble(self, name: str) -> None:
        record = self.members.assemble(name)
        if record is not None:
            for listener in self.listeners:
                listener.member(name, record)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        if job.kind == "trial":
            self.searches[job.architecture].study.report(job.name, epoch, metrics["smape"])
        for listener in self.listeners:
            listener.epoch(job, epoch, metrics)

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        search = self._ended(job)
        search.failures.end_row(job.searched)
        search.fit_seconds.append(outcome.seconds)
        if outcome.memory is not None:
            self.memory.measure(search.name, outcome.memory)
        if len(search.fit_seconds) == 1 and self.budget.end is not None:  # what the time is enough for is known now
            k = self.members.workspace.folds.k
            self._tell(f"{search.name}: {affordable(search.seconds, k, self.budget, time.time())}")
        if job.kind == "trial":
            search.study.complete(job.name, outcome)
        for listener in self.listeners:
            listener.finished(job, outcome)
        if job.name in self._probes and self.allocator is not None:
            self._probes.remove(job.name)
            self.allocator.seed_finished(job.name, outcome.seconds)
        elif job.kind == "fit":
            self._assemble(job.name)
        elif self.allocator is not None:
            self.allocator.trial_finished(search, finished(job, outcome), outcome.seconds)

    def pruned(self, job: Job, epoch: int, smape: float) -> None:
        search = self._ended(job)
        search.failures.end_row(job.searched)
        shutil.rmtree(scratch_folder(self.members.workspace, job), ignore_errors=True)  # it will not go on
        search.study.prune(job.name, smape)
        for listener in self.listeners:
            listener.pruned(job, epoch, smape)

    def failed(self, job: Job, error: str) -> None:
        search = self._ended(job)
        search.failures.add(error, job.searched)
        search.open = search.open and not search.failures.hopeless
        if job.kind == "trial":
            search.study.fail(job.name, error)
        else:
            self._drop(job, error)
        for listener in self.listeners:
            listener.failed(job, error)
        if said := search.failures.said():
            self._tell(f"{search.name}: {said}")

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
        search, now = self._ended(job), time.time()
        own_limit = job.deadline is not None and job.deadline <= now and self.budget.left(now) > 0
        search.open = search.open and own_limit  # it may be tried again where the sweep itself goes on
        if job.kind == "trial":
            search.study.interrupt(job.name)
        else:
            self._skip(job, "its time was over")
        for listener in self.listeners:
            listener.failed(job, INTERRUPTED)

    def settle(self) -> None:
        """Nothing runs any more: what waited to be run once more is interrupted too, and no trial is left RUNNING."""
        while self._again:
            self.interrupted(self._again.pop(0))
        for search in self.searches.values():
            search.study.close()

    def _tell(self, text: str) -> None:
        for listener in self.listeners:
            listener.note(text)

    def _ended(self, job: Job) -> ArchitectureSearch:
        search = self.searches[job.architecture]
        now = time.time()
        _, start = self._since.pop((job.name, job.fold), (job, now))
        if job.kind == "trial":
            search.running -= 1
            search.spent += now - start
        return search

    def _skip(self, job: Job, why: str) -> None:
        self.skipped.append(f"{job.name}: {why}")
        if self.allocator is not None:
            self.allocator.drop_member(job.name)
        self._fits = [other for other in self._fits if other.name != job.name]

    def _drop(self, job: Job, error: str) -> None:
        """A member that lost a fold can not be completed: its other folds are not worth training now."""
        self._skip(job, f"fold {job.fold} failed: {headline(error)}")


def finished(job: Job, outcome: JobOutcome) -> Finished:
    """A trial that has ended, as promotion sees it."""
    smape, steady = outcome.metrics["smape"], outcome.steady
    return Finished(
        job.number, job.searched or {}, job.name, smape, outcome.best_epoch,
        smape if steady is None else steady, outcome.standard_error,
    )  # fmt: skip
