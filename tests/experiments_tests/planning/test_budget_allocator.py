"""The next step of a sweep with a time limit, with the real architectures' plans and without training anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import optuna

from core.store.oof_store import Member, write_prices
from core.store.workspace import Workspace
from experiments.execution.job_worker import holdout_path
from experiments.planning.budget import Budget
from experiments.planning.budget_allocator import SEEDS, BudgetAllocator
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.marginal_gain import StepKind
from experiments.search.trial_selection import Finished
from tests.experiments_tests.planning.local_sweep import make_search


class AllocatorCase:
    """A workspace with an allocator between architectures, whose models err by so much."""

    def __init__(self, workspace: Workspace, seconds: Mapping[str, float], minutes: float = 60.0) -> None:
        self.workspace, self.members = workspace, MemberBuilder(workspace, 0, {})
        storage = optuna.storages.InMemoryStorage()
        self.searches = {name: make_search(name, self.members, storage, seconds=each) for name, each in seconds.items()}
        self.now = time.time()
        self.budget = Budget(self.now, self.now + 60 * minutes, 2)
        self.allocator = self.new_allocator()

    def new_allocator(self) -> BudgetAllocator:
        return BudgetAllocator(self.searches, self.members, self.budget)

    def trial(
        self, name: str, number: int, seed: int = 0, spread: float = 0.3, seconds: float = 1.0, factor: float = 1.0
    ) -> str:
        """A finished trial of the space's config of that number; the member that would follow. Its prices are `factor` times
        the true ones, with errors of that seed and spread.
        """
        config, searched = self._configs(name)[number]
        true = self.workspace.train.known_prices[self.workspace.folds.split(0)[1]]
        prices = factor * true * np.exp(np.random.default_rng(seed).normal(0.0, spread, len(true)))
        write_prices(holdout_path(self.workspace, config), prices)
        found, search = Finished(number, searched, config, 20.0, 1, 20.0, 1.0), self.searches[name]
        self.allocator.trial_finished(search, found, seconds)
        return self.members.plan(search.kind, search.make_settings(searched), found).name

    def _configs(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Different configs, by id: points that differ in settings without effect are one."""
        search, found = self.searches[name], dict[str, dict[str, Any]]()
        for point in islice(search.study.space.grid(), 0, None, 30):
            found.setdefault(self.members.key(search.kind, search.make_settings(point)).id, point)
        return list(found.items())

    def opening(self) -> tuple[str | None, str | None]:
        """The architecture of the opening trial and the opening member that are due."""
        return self.allocator.opening_trial(self.now, ()), self.allocator.opening_member(self.now, ())


def test_the_opening_is_of_the_short_ones_the_cheapest_first(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"boosted": 5.0, "lexical": 2.0})
    assert case.opening() == ("lexical", None)  # nothing was tried
    best = case.trial("lexical", 0)
    assert case.opening()[1] == best
    assert case.allocator.add_member(best).missing == (0, 1, 2) and case.opening()[1] is None


def test_an_architecture_that_is_not_short_waits_for_the_stack(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"boosted": 400.0, "lexical": 2.0}, minutes=20.0)
    assert case.opening()[0] == "lexical"
    case.allocator.add_member(case.trial("lexical", 0))
    case.trial("boosted", 0, seed=1, seconds=400.0)
    assert case.opening()[1] is None


def test_of_candidates_the_one_that_errs_elsewhere_is_taken_and_then_worth_nothing_more(
    toy_workspace: Workspace,
) -> None:
    case = AllocatorCase(toy_workspace, {"lexical": 2.0})
    case.allocator.add_member(case.trial("lexical", 0))
    alike, elsewhere = case.trial("lexical", 1, factor=1.001), case.trial("lexical", 2, seed=1)
    step = case.allocator.next_step(case.now, ())
    assert step is not None and (step.kind, step.name) == (StepKind.MEMBER, elsewhere) and step.gain > 0.0
    assert case.allocator.add_member(step.name, step.gain).name == elsewhere
    step = case.allocator.next_step(case.now, ())
    assert step is not None and step.name != alike


def test_another_seed_is_of_a_member_and_never_the_same_twice(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"lexical": 2.0})
    member = case.allocator.add_member(case.trial("lexical", 0))
    plans = [case.allocator.reseed("lexical" + SEEDS) for _ in range(3)]
    assert [plan.key.seed for plan in plans] == [1, 2, 3]
    assert all(plan.settings == member.settings and plan.origin["seed_of"] == member.name for plan in plans)


def test_members_of_earlier_sweeps_are_in_the_stack_and_not_opened_again(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"lexical": 2.0})
    before, train = case.trial("lexical", 0), toy_workspace.train.known_prices
    toy_workspace.store.write_member(Member(before, train * 1.1, np.ones(len(toy_workspace.test)), {"seconds": 1.0}))
    case.allocator = case.new_allocator()
    assert case.opening() == (None, None)
    step = case.allocator.next_step(case.now, ())
    assert step is not None and step.kind == StepKind.CANDIDATE


def test_nothing_is_taken_that_does_not_fit_behind_what_runs(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"lexical": 20.0}, minutes=2.0)
    case.allocator.add_member(case.trial("lexical", 0, seconds=20.0))
    case.trial("lexical", 1, seed=1, seconds=20.0)
    assert case.allocator.next_step(case.now, ()) is not None
    assert case.allocator.next_step(case.now, (100.0, 100.0)) is None
    assert case.allocator.next_step(case.now + 80.0, ()) is None


def test_an_architecture_without_a_member_is_explained(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"boosted": 400.0, "lexical": 2.0}, minutes=20.0)
    case.allocator.add_member(case.trial("lexical", 0, spread=0.2))
    case.trial("boosted", 0, seed=1, spread=5.0)
    assert case.allocator.left_out() == ["boosted's best config: it would not lower the stack's SMAPE"]


def test_no_more_members_than_were_asked_for(toy_workspace: Workspace) -> None:
    case = AllocatorCase(toy_workspace, {"lexical": 2.0})
    case.searches["lexical"].members = 1
    case.allocator.add_member(case.trial("lexical", 0))
    case.trial("lexical", 1, seed=1)
    assert case.allocator.next_step(case.now, ()) is None
