"""Time budget: the next trial, and the members that the time left is enough for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.architectures import architecture
from experiments.planning.budget import CLOSING_SECONDS, Budget, affordable, makespan
from experiments.planning.search_state import ArchitectureSearch, next_search

FREE = Budget(start=0.0, end=None, concurrent=1)


def search(finished: int = 0, seconds: float = 10.0, exhausted: bool = False, **state: Any) -> ArchitectureSearch:
    """Search that wants three trials, with so many finished ones."""
    study: Any = SimpleNamespace(distinct=finished, exhausted=exhausted)
    found = ArchitectureSearch(architecture("lexical"), study, dict, seconds, 3, None, 1)
    for name, value in state.items():
        setattr(found, name, value)
    return found


def test_every_architecture_has_its_first_trial_before_any_has_its_second_and_the_cheap_ones_go_first() -> None:
    slow, quick, begun = search(seconds=50.0), search(seconds=1.0), search(finished=1)
    assert next_search([slow, quick, begun]) is quick
    assert next_search([slow, begun]) is slow


def test_later_trials_go_to_the_architecture_on_which_least_time_was_spent() -> None:
    costly, cheap = search(finished=1, spent=30.0), search(finished=2, spent=20.0)
    assert next_search([costly, cheap]) is cheap


@pytest.mark.parametrize(
    "ended", [{"is_open": False}, {"exhausted": True}, {"finished": 3}, {"finished": 1, "running": 2}]
)
def test_a_search_that_has_all_that_it_wanted_gets_nothing(ended: dict[str, Any]) -> None:
    assert next_search([search(**ended)]) is None


def test_a_slow_trial_must_leave_its_member_half_of_the_time() -> None:
    budget = Budget(start=0.0, end=100.0, concurrent=2)
    assert budget.deadline == 100.0 - CLOSING_SECONDS / 2
    assert budget.trial_deadline(now=0.0) == pytest.approx(97.5 / 2)
    assert budget.trial_deadline(now=37.0) == pytest.approx(37.0 + 60.5 / 2)
    assert budget.trial_deadline(now=200.0) == 200.0
    assert FREE.trial_deadline(now=0.0) is None


def test_the_opening_is_of_what_takes_a_fifth_of_the_time_at_most() -> None:
    budget = Budget(start=0.0, end=100.0, concurrent=2)
    assert budget.opens(6.0, trainings=5)  # three rounds of 6 s
    assert not budget.opens(7.0, trainings=5)
    assert not FREE.opens(0.1, trainings=5)


SECONDS = st.floats(0.0, 100.0)


@given(busy=st.lists(SECONDS, max_size=4), jobs=st.lists(SECONDS, max_size=8), slots=st.integers(4, 6))
def test_a_makespan_lies_between_what_no_order_can_beat_and_one_after_the_other(
    busy: list[float], jobs: list[float], slots: int
) -> None:
    found = makespan(busy, jobs, slots)
    if not jobs:
        assert found == 0.0
        return
    free = min(busy) if len(busy) == slots else 0.0
    assert found >= max(jobs) + free - 1e-9
    assert found >= sum(jobs) / slots - 1e-9
    assert found <= max(busy, default=0.0) + sum(jobs) + 1e-9
    assert makespan(busy, [*jobs, 1.0], slots) >= found


def test_a_makespan_counts_what_runs_already() -> None:
    assert makespan([5.0], [2.0, 2.0, 2.0], 2) == 6.0
    assert makespan([5.0, 1.0], [2.0], 2) == 3.0
    assert makespan([], [4.0, 3.0, 3.0], 2) == 6.0


def test_affordable_trainings_are_counted_in_members() -> None:
    budget = Budget(0.0, 100.0 + CLOSING_SECONDS, 2)
    enough = "one training takes 4.0 s, and the 100 s left are enough for 8 members of 5"
    assert affordable(4.0, 5, budget, 0.0) == enough
    assert "give more --minutes" in affordable(60.0, 5, budget, 0.0)


def test_stack_and_reports_keep_their_room_at_the_end() -> None:
    without, reserved = Budget(0.0, 1000.0, 2), Budget(0.0, 1000.0, 2, after=50.0)
    assert without.left(0.0) - reserved.left(0.0) == 50.0
    assert without.deadline is not None and reserved.deadline == without.deadline - 50.0
