"""Budget allocator with --minutes: trains next what is expected to lower the stack's error most per second.

The stack as it stands is measured on the holdout fold. First the opening: architectures whose cross-validation is short, and
the cheapest in any case, are cross-validated at once as their documented best. From then on
`experiments.planning.marginal_gain` decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.arrays import Floats
from core.data.folds import HOLDOUT
from core.metrics import smape_of_logs
from core.store.oof_store import read_prices
from ensemble.methods.boosting import parts_of
from experiments.execution.job_worker import holdout_path
from experiments.planning.budget import TIME_MARGIN, Budget, makespan
from experiments.planning.cross_validation import MemberBuilder, MemberPlan
from experiments.planning.marginal_gain import (
    FADING,
    NEW_CONFIG,
    NEW_SEED,
    MemberSource,
    NextStep,
    StepKind,
    gains,
    next_step,
    shrunk_gain,
    stack_smape,
)
from experiments.planning.search_state import ArchitectureSearch
from experiments.search.trial_selection import Finished

SEEDS = " seeds"
"""Ends the name of the source that trains an architecture's members with other seeds."""


@dataclass(frozen=True, eq=False)
class HoldoutCandidate:
    """Finished trial, or first fold of a member with another seed: its errors on the holdout fold.

    errors: (h,) log prices minus the true ones, holdout rows. seconds: of its training.
    """

    plan: MemberPlan
    source: str
    errors: Floats
    seconds: float


class BudgetAllocator:
    """State and rules of the decision: the scheduler asks it for steps and reports what has ended."""

    def __init__(
        self,
        searches: Mapping[str, ArchitectureSearch],
        members: MemberBuilder,
        budget: Budget,
        small_data_members: int | None = None,
    ) -> None:
        """small_data_members: of each architecture, where there is no search (`experiments.planning.setup`); else None."""
        self.small_data_members = small_data_members
        self.searches, self.members, self.budget = searches, members, budget
        workspace = members.workspace
        self._store, self._k = workspace.store, workspace.folds.k
        self._rows = workspace.folds.split(HOLDOUT)[1]
        self._true_logs = np.log(workspace.train.known_prices[self._rows])
        self._parts = parts_of(workspace.train.product_groups[self._rows], members.seed)
        self._stack: dict[str, Floats] = {}  # errors of members, those in the making too
        self._candidates: dict[str, HoldoutCandidate] = {}
        self._gains: dict[str, float] = {}  # by candidate, while the stack does not change
        self._smape: float | None = None  # of the stack as it is
        self._seeds_tried: Counter[str] = Counter()  # by member
        self._past_gains: dict[str, list[float]] = defaultdict(list)  # of members when they were chosen, by source
        for name in self._store.complete():
            self._add_to_stack(name, self._errors(self._store.read(name).oof[self._rows]))
        for search in searches.values():
            for trial in search.study.ranking():
                self.trial_finished(search, trial, search.seconds)

    def trial_finished(self, search: ArchitectureSearch, trial: Finished, seconds: float) -> None:
        """Adds a finished trial to the candidates."""
        plan = self.members.plan(search.kind, search.make_settings(trial.searched), trial)
        path = holdout_path(self.members.workspace, trial.name)
        if self._store.has_fit(plan.name, HOLDOUT):
            self._add_candidate(plan, search.name, self._store.read_fit(plan.name, HOLDOUT).valid, seconds)
        elif path.exists():
            self._add_candidate(plan, search.name, read_prices(path), seconds)

    def slow_down(self, architecture: str, ratio: float) -> None:
        """Makes further trainings of the architecture's candidates so many times as long as theirs were."""
        for name, each in self._candidates.items():
            if each.plan.architecture == architecture:
                self._candidates[name] = replace(each, seconds=ratio * each.seconds)

    def seed_finished(self, name: str, seconds: float) -> None:
        """Adds a config with another seed, whose holdout fold was trained, to the candidates."""
        plan = self.members.refreshed(name)
        self._add_candidate(plan, plan.architecture + SEEDS, self._store.read_fit(name, HOLDOUT).valid, seconds)

    def opening_member(self, now: float, busy: Sequence[float]) -> str | None:
        """The documented best (with few rows, any documented point) of an architecture that is cross-validated at once."""
        for search in self._opening_searches():
            name = self._best(search.name)
            if name is not None and self._candidate(name, 0.0, busy).wall <= self._left(now):
                return name
        return None

    def opening_trial(self, now: float, busy: Sequence[float]) -> str | None:
        """The architecture of the opening whose trial is due, the cheapest first: one each, or with few rows all documented."""
        lacking = [each for each in self._opening_searches() if each.wants_more]
        due = [each for each in lacking if self.small_data_members or not each.tried]
        fitting = [each for each in due if self._wall(each.seconds, busy) <= self._left(now)]
        return min(fitting, key=lambda each: (each.tried, each.seconds)).name if fitting else None

    def _opening_searches(self) -> list[ArchitectureSearch]:
        """Architectures whose first trial becomes a member; with few rows, those with documented points that are no members."""
        if self.small_data_members is not None:
            return [each for each in self.searches.values() if each.wants_more or self._best(each.name)]
        lacking = [each for each in self.searches.values() if not self._count(each.name) and self._wanted(each.name)]
        short = [each for each in lacking if self.budget.opens(each.seconds, self._k)]
        return short if short or self._stack else sorted(lacking, key=lambda each: each.seconds)[:1]

    def next_step(self, now: float, busy: Sequence[float]) -> NextStep | None:
        """The step that is expected to lower the stack's SMAPE most per second, or None if nothing fits."""
        if self.small_data_members is not None:
            return self._next_seed(self.small_data_members, now, busy)
        gains_now = self._measured_gains()
        candidates = [
            self._candidate(name, gains_now[name], busy)
            for name, each in self._candidates.items()
            if self._wanted(each.plan.architecture)
        ]
        return next_step(candidates, list(self._sources(busy, gains_now)), self._left(now))

    def add_member(self, name: str, gain: float | None = None) -> MemberPlan:
        """Adds the candidate of that name to the stack; its missing folds are to be trained now.

        gain: expected when it was chosen, from which later candidates of its source are predicted; None in the opening.
        """
        found = self._candidates[name]
        if gain is not None and self._count(
            found.plan.architecture
        ):  # the first of a kind gains more than any later one
            self._past_gains[found.source].append(gain)
        self._add_to_stack(name, found.errors)
        return found.plan

    def reseed(self, source: str) -> MemberPlan:
        """The plan of one of the architecture's members, those of few seeds and of low SMAPE first, with a new seed."""
        own = self._seedable(source.removesuffix(SEEDS))
        base = min(own, key=lambda name: (1 + self._seeds_tried[name]) * smape_of_logs(self._stack[name]))
        while True:
            self._seeds_tried[base] += 1
            plan = self.members.reseeded(base, self.members.seed + self._seeds_tried[base])
            if plan.name not in self._stack:  # or an earlier sweep has trained it
                if self.small_data_members is not None:
                    self._stack[plan.name] = self._stack[base]  # nothing is chosen by its prices
                return plan

    def drop_member(self, name: str) -> None:
        """Takes a member that will not be complete out of the stack."""
        self._stack.pop(name, None)
        self._gains, self._smape = {}, None

    def left_out(self) -> list[str]:
        """Reasons why architectures that had a trial have no member."""
        reasons = []
        for search in self.searches.values():
            if not self._count(search.name) and (name := self._best(search.name)) is not None:
                gain = self._measured_gains()[name]
                why = "no time was left to cross-validate it" if gain > 0 else "it would not lower the stack's SMAPE"
                reasons.append(f"{search.name}'s best config: {why}")
        return reasons

    def _best(self, architecture: str) -> str | None:
        """The candidate of the lowest SMAPE among the architecture's trials."""
        own = {
            name: smape_of_logs(each.errors) for name, each in self._candidates.items() if each.source == architecture
        }
        return min(own, key=own.__getitem__) if own else None

    def _candidate(self, name: str, gain: float, busy: Sequence[float]) -> NextStep:
        found = self._candidates[name]
        jobs = [found.seconds] * len(found.plan.missing)
        wall = makespan(busy, jobs, self.budget.concurrent)
        return NextStep(StepKind.MEMBER, name, found.source, gain, sum(jobs), wall)

    def _next_seed(self, wanted: int, now: float, busy: Sequence[float]) -> NextStep | None:
        """Without a search: one more member of the architecture that has fewest."""
        steps = [
            NextStep(
                StepKind.SEED, each.name + SEEDS, each.name, 0.0, self._k * each.seconds, self._wall(each.seconds, busy)
            )
            for each in self.searches.values()
            if self._seedable(each.name) and not each.failures.hopeless and self._count(each.name) < wanted
        ]
        fitting = [step for step in steps if step.wall <= self._left(now)]
        return min(fitting, key=lambda step: (self._count(step.source), step.work), default=None)

    def _add_to_stack(self, name: str, errors: Floats) -> None:
        self._candidates.pop(name, None)
        if np.isfinite(errors).all():  # a member made outside may lack rows
            self._stack[name] = errors
        self._gains, self._smape = {}, None

    def _add_candidate(self, plan: MemberPlan, source: str, prices: Floats, seconds: float) -> None:
        if plan.name not in self._stack:
            self._candidates[plan.name] = HoldoutCandidate(plan, source, self._errors(prices), seconds)
            self._gains = {}

    def _errors(self, prices: Floats) -> Floats:
        return np.asarray(np.log(prices) - self._true_logs)

    def _count(self, architecture: str) -> int:
        return sum(name.startswith(f"{architecture}-") for name in self._stack)

    def _wanted(self, architecture: str) -> bool:
        limit = self.searches[architecture].members
        return limit is None or self._count(architecture) < limit

    def _seedable(self, architecture: str) -> list[str]:
        return [plan.name for plan in self.members.planned(architecture) if plan.name in self._stack]

    def _matrix(self) -> Floats:
        """(h, m) of the stack; before there is a member, the median price."""
        if not self._stack:
            return (np.median(self._true_logs) - self._true_logs)[:, None]
        return np.column_stack(list(self._stack.values()))

    def _measured_gains(self) -> dict[str, float]:
        if not self._gains and self._candidates:
            errors = np.column_stack([each.errors for each in self._candidates.values()])
            measured = zip(self._candidates.items(), *gains(self._matrix(), errors, self._parts), strict=True)
            self._gains = {
                name: shrunk_gain(float(gain), float(error), self._prior(each.source))
                for (name, each), gain, error in measured
            }
        return self._gains

    def _prior(self, source: str) -> float:
        """Percentage points expected of a new candidate of the source; of a kind that is there, less with every member."""
        if self._smape is None:
            self._smape = stack_smape(self._matrix())
        architecture = source.removesuffix(SEEDS)
        count = self._count(architecture)
        if not count:
            return self.searches[architecture].prior * self._smape
        further = NEW_CONFIG if source == architecture else NEW_SEED
        return further * FADING ** (count - 1) * self._smape

    def _sources(self, busy: Sequence[float], gains_now: Mapping[str, float]) -> Iterator[MemberSource]:
        for search in self.searches.values():
            if not self._wanted(search.name):
                continue
            work, wall = self._k * search.seconds, self._wall(search.seconds, busy)
            awaited = search.running and not search.measured  # its first trial has not ended yet
            names = [search.name] if search.wants_more and not awaited else []
            if self._seedable(search.name) and not search.failures.hopeless:
                names.append(search.name + SEEDS)
            for name in names:
                yield MemberSource(name, self._prior(name), self._seen_gains(name, gains_now), work, wall)

    def _seen_gains(self, source: str, gains_now: Mapping[str, float]) -> tuple[float, ...]:
        now = [gains_now[name] for name, each in self._candidates.items() if each.source == source]
        return (*now, *(FADING * each for each in self._past_gains[source]))

    def _wall(self, seconds: float, busy: Sequence[float]) -> float:
        """Seconds until a new member would be complete: its trial, then the other folds."""
        rest = makespan((), [seconds] * (self._k - 1), self.budget.concurrent)
        return makespan(busy, [seconds], self.budget.concurrent) + rest

    def _left(self, now: float) -> float:
        return self.budget.left(now) / TIME_MARGIN
