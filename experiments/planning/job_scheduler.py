"""Job scheduler: turns studies, members and the time left into a stream of jobs.

It imports neither Ray nor MLflow: the pool of workers asks it for jobs and reports results, and it forwards both to callbacks.
Without a time limit trials come first, then the folds of the best configs; with one, `experiments.planning.budget_allocator`
chooses the next step.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Any

from core.data.folds import HOLDOUT
from core.errors import FailureCode
from core.formatting import headline
from experiments.common.jobs import Job, JobKind, JobOutcome, RunCallback, StopReason
from experiments.execution.job_worker import scratch_folder
from experiments.planning.budget import MOST_MEMBERS, TIME_MARGIN, SweepLimits, affordable, makespan
from experiments.planning.budget_allocator import SEEDS, BudgetAllocator
from experiments.planning.cross_validation import MemberBuilder, MemberPlan
from experiments.planning.marginal_gain import StepKind
from experiments.planning.search_state import ArchitectureSearch, JobDefaults, next_search
from experiments.search.study import INTERRUPTED, Proposal
from experiments.search.trial_selection import Finished


class JobScheduler:
    """`JobSource` over several architectures that share one budget."""

    def __init__(
        self,
        searches: list[ArchitectureSearch],
        members: MemberBuilder,
        limits: SweepLimits,
        defaults: JobDefaults,
        callbacks: list[RunCallback],
    ) -> None:
        self.searches = {search.name: search for search in searches}
        self.members, self.budget, self.defaults, self.callbacks = members, limits.budget, defaults, callbacks
        self.memory = limits.memory
        chosen = self.budget.end is not None or limits.small_data_members is not None
        self.allocator = (
            BudgetAllocator(self.searches, members, self.budget, limits.small_data_members) if chosen else None
        )
        self._fits: list[Job] = []
        self._probes: set[str] = set()  # members with another seed of which one fold is tried
        self._running: dict[tuple[str, int], tuple[Job, float]] = {}  # jobs that run
        self._retries: list[Job] = []  # lost with their workers, to be run once more
        self._waiting_for_memory: set[str] = set()  # noted as waiting for memory
        self._lost_once: set[tuple[str, int]] = set()
        self.skipped: list[str] = []

    def next(self) -> Job | None:
        now = time.time()
        job = self._retries.pop(0) if self._retries else self._queued(now) or self._next(now)
        if job is not None and not self._fits_in_memory(job):
            self._retries.insert(0, job)
            return None
        if job is not None:
            self._running[job.name, job.fold] = job, now
            for callback in self.callbacks:
                callback.started(job)
        return job

    def _next(self, now: float) -> Job | None:
        """A job beyond the members that were begun: a trial, or the first fold of another member."""
        if self.allocator is not None:
            return self._next_step(self.allocator, now)
        return self._next_trial() or self._next_fit()

    def _fits_in_memory(self, job: Job) -> bool:
        """False while the job must wait for memory that running jobs hold."""
        running = [other.architecture for other, _ in self._running.values()]
        if not running or self.memory.fits(job.architecture, running):
            return True
        if job.architecture not in self._waiting_for_memory:
            self._waiting_for_memory.add(job.architecture)
            self._note(f"{job.architecture}: fewer trainings at once, for the memory that they take (--memory)")
        return False

    @property
    def done(self) -> bool:
        if self._running or self._fits or self._retries:
            return False
        if self.allocator is None:
            return next_search(self.searches.values()) is None and self._due_member() is None
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
                if (job := self._ask_trial(self.searches[first])) is not None:
                    return job
            elif (step := allocator.next_step(now, busy)) is None:
                return None
            elif step.kind is StepKind.MEMBER:
                self._note(
                    f"next: member {step.name}, expected {-step.gain:+.2f} SMAPE for {step.work:.0f} s of one worker"
                )
                self._queue(allocator.add_member(step.name, step.gain))
            elif step.kind is StepKind.SEED:
                self._queue(allocator.reseed(step.name))
            elif step.name.endswith(SEEDS):
                plan = allocator.reseed(step.name)
                if HOLDOUT in plan.missing:
                    self._probes.add(plan.name)
                    return self._fit(plan, HOLDOUT)
                allocator.seed_finished(
                    plan.name, self.searches[plan.architecture].seconds
                )  # an earlier sweep tried it
            elif (job := self._ask_trial(self.searches[step.name])) is not None:
                return job
            if (job := self._queued(now)) is not None:
                return job

    def _busy(self, now: float) -> list[float]:
        """Seconds that the jobs which run now are still expected to take."""
        return [
            max(0.0, self.searches[job.architecture].seconds - (now - start)) for job, start in self._running.values()
        ]

    def _next_trial(self) -> Job | None:
        while (search := next_search(self.searches.values())) is not None:
            if (job := self._ask_trial(search)) is not None:
                return job
        return None

    def _ask_trial(self, search: ArchitectureSearch) -> Job | None:
        """A trial of the architecture, or None if its search has ended."""
        if not self.memory.fits(search.name):
            self._note(f"{search.name}: {self.memory.sentence(search.name)}")
        elif (proposal := search.study.ask(search.trials)) is not None:
            search.running += 1
            return self._trial(search, proposal)
        search.is_open = False
        return None

    def _trial(self, search: ArchitectureSearch, proposal: Proposal) -> Job:
        settings = search.make_settings(proposal.searched)
        return Job(
            JobKind.TRIAL,
            search.name,
            proposal.name,
            settings,
            fold=HOLDOUT,
            number=proposal.number,
            searched=proposal.searched,
            differs=proposal.differs,
            # An architecture that does not watch its validation rows reports once, however many epochs it makes inside.
            epochs=int(settings.get("epochs", 1)) if search.kind.stops_on_valid else 1,
            longest=search.longest,
            deadline=self.budget.trial_deadline(time.time()),
            keep_below=search.study.threshold(MOST_MEMBERS if search.members is None else search.members),
            **self.defaults.of(search.kind, settings),
        )

    def _next_fit(self) -> Job | None:
        while not self._fits:
            due = self._due_member()
            if due is None:
                return None
            self.searches[due.architecture].promoted += 1
            self._queue(due)
        return self._fits.pop(0)

    def _queued(self, now: float) -> Job | None:
        """The next training of a member that was begun and can still be completed."""
        while self._fits:
            job = self._fits.pop(0)
            if TIME_MARGIN * self.searches[job.architecture].seconds <= self.budget.left(now):
                return job
            self._skip(job, "there was no time left for it")
        return None

    def _due_member(self) -> MemberPlan | None:
        """The member to be trained next where no time limit decides, or None.

        Every architecture has its best before any has its second, the cheaper first: different architectures err differently,
        and a stack gains by that.
        """

        def order(plan: MemberPlan) -> tuple[int, float]:
            search = self.searches[plan.architecture]
            return search.promoted, makespan((), [search.seconds] * len(plan.missing), self.budget.concurrent)

        over = [each for each in self.searches.values() if not each.running and not each.wants_more]
        return min((plan for each in over if (plan := self._candidate(each)) is not None), key=order, default=None)

    def _candidate(self, search: ArchitectureSearch) -> MemberPlan | None:
        """The best config of the architecture that is not a member yet."""
        ranking = search.ranking()
        if search.promoted >= min(search.members or 0, len(ranking)):
            return None
        best = ranking[search.promoted]
        return self.members.plan(search.kind, search.make_settings(best.searched), best)

    def likely_members(self, count: int) -> set[str]:
        """Ids of possible members, now or in a later sweep: of the best `count` configs of each architecture."""
        return {
            self.members.plan(search.kind, search.make_settings(best.searched), best).name
            for search in self.searches.values()
            for best in search.study.ranking()[:count]
        }

    def left_out(self) -> list[str]:
        """Sentences about members that were not made, and why."""
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
        kind = self.searches[plan.architecture].kind
        shared = {**self.defaults.of(kind, plan.settings), "seed": plan.key.seed}
        shared["deadline"] = self.budget.deadline
        return Job(JobKind.FIT, plan.architecture, plan.name, plan.settings, fold, **shared)

    def _assemble(self, name: str) -> None:
        record = self.members.assemble(name)
        if record is not None:
            for callback in self.callbacks:
                callback.member(name, record)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        if job.kind == JobKind.TRIAL:
            self.searches[job.architecture].study.report(job.name, epoch, metrics["smape"])
        for callback in self.callbacks:
            callback.epoch(job, epoch, metrics)

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        search = self._ended(job)
        self._measure(search, outcome.seconds, job.searched)
        if outcome.memory is not None:
            self.memory.measure(search.name, outcome.memory)
        if job.kind == JobKind.TRIAL:
            search.study.complete(job.name, outcome)
        for callback in self.callbacks:
            callback.finished(job, outcome)
        if job.name in self._probes and self.allocator is not None:
            self._probes.remove(job.name)
            self.allocator.seed_finished(job.name, outcome.seconds)
        elif job.kind == JobKind.FIT:
            self._assemble(job.name)
        elif self.allocator is not None:
            self.allocator.trial_finished(search, finished(job, outcome), outcome.seconds)

    def _measure(self, search: ArchitectureSearch, seconds: float, searched: Mapping[str, Any] | None) -> None:
        """Compares a training's seconds with the plan, and plans on with them."""
        first, expected = not search.measured, search.seconds
        ratio = search.slowdown(seconds)
        if ratio is not None and self.allocator is not None:
            self.allocator.slow_down(search.name, ratio)
        search.succeed(searched, seconds)
        if first and self.budget.end is not None:
            k = self.members.workspace.folds.k
            self._note(f"{search.name}: {affordable(search.seconds, k, self.budget, time.time())}")
        elif ratio is not None:
            self._note(f"{search.name}: a training took {seconds:.1f} s, not {expected:.1f}: planned again with that")

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        search = self._ended(job)
        search.succeed(job.searched)
        shutil.rmtree(scratch_folder(self.members.workspace, job), ignore_errors=True)  # it will not go on
        search.study.prune(job.name, smape, reason)
        for callback in self.callbacks:
            callback.pruned(job, epoch, smape, reason)

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        search = self._ended(job)
        search.fail(error, job.searched)
        if job.kind == JobKind.TRIAL:
            search.study.fail(job.name, error, code)
        else:
            self._skip(job, f"fold {job.fold} failed: {headline(error)}")
        for callback in self.callbacks:
            callback.failed(job, error, code)
        if summary := search.failures.summary():
            self._note(f"{search.name}: {summary}")

    def lost(self, job: Job, error: str) -> None:
        """Runs the job again, once, from its last state; a job that lost two workers has failed."""
        if (job.name, job.fold) in self._lost_once:
            self.failed(job, f"{error}, twice", FailureCode.WORKER_LOST)
            return
        self._lost_once.add((job.name, job.fold))
        self._running.pop((job.name, job.fold))
        self._retries.append(job)
        self._note(f"{job.label}: {error}; it is run once more, from its last state where there is one")

    def interrupted(self, job: Job) -> None:
        """Records a job stopped by Ctrl-C or the end of the time: the next sweep proposes it first."""
        search, now = self._ended(job), time.time()
        own_limit = job.deadline is not None and job.deadline <= now and self.budget.left(now) > 0
        if not own_limit:  # else it may be tried again while the sweep itself goes on
            search.is_open = False
        if job.kind == JobKind.TRIAL:
            search.study.interrupt(job.name)
        else:
            self._skip(job, "its time was over")
        for callback in self.callbacks:
            callback.failed(job, INTERRUPTED, FailureCode.INTERRUPTED)

    def close(self) -> None:
        """Ends the sweep: jobs that waited to be run again are interrupted too, and no trial is left RUNNING."""
        while self._retries:
            self.interrupted(self._retries.pop(0))
        for search in self.searches.values():
            search.study.close()

    def _note(self, text: str) -> None:
        for callback in self.callbacks:
            callback.note(text)

    def _ended(self, job: Job) -> ArchitectureSearch:
        search = self.searches[job.architecture]
        now = time.time()
        _, start = self._running.pop((job.name, job.fold), (job, now))
        if job.kind == JobKind.TRIAL:
            search.running -= 1
            search.spent += now - start
        return search

    def _skip(self, job: Job, why: str) -> None:
        """Leaves out the member that this fold is of: its other folds are not trained."""
        self.skipped.append(f"{job.name}: {why}")
        if self.allocator is not None:
            self.allocator.drop_member(job.name)
        self._fits = [other for other in self._fits if other.name != job.name]


def finished(job: Job, outcome: JobOutcome) -> Finished:
    """Result of a trial, as the choice of members reads it."""
    smape, steady = outcome.metrics["smape"], outcome.steady
    return Finished(
        job.number, job.searched or {}, job.name, smape, outcome.best_epoch,
        smape if steady is None else steady, outcome.standard_error,
    )  # fmt: skip
