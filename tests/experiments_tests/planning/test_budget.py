"""Time budget: the next trial, and the members that the time left is enough for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.planning.budget import (
    CLOSING_SECONDS,
    Budget,
    NextMember,
    SearchProgress,
    affordable,
    makespan,
    next_member,
    next_search,
)

FREE = Budget(start=0.0, end=None, concurrent=1)


def progress(name: str, **changes: object) -> SearchProgress:
    values: dict[str, object] = {
        "seconds": 10.0, "spent": 0.0, "finished": 0, "running": 0, "wanted": 3, "open": True,
    }  # fmt: skip
    return SearchProgress(name, **{**values, **changes})  # type: ignore[arg-type]


def test_every_architecture_has_its_first_trial_before_any_has_its_second_and_the_cheap_ones_go_first() -> None:
    states = [progress("slow", seconds=50.0), progress("quick", seconds=1.0), progress("begun", finished=1)]
    assert next_search(states) == "quick"
    assert next_search([states[0], states[2]]) == "slow"


def test_later_trials_go_to_the_architecture_on_which_least_time_was_spent() -> None:
    states = [progress("a", finished=1, spent=30.0), progress("b", finished=2, spent=20.0)]
    assert next_search(states) == "b"


@pytest.mark.parametrize("closed", [{"open": False}, {"finished": 3}, {"finished": 1, "running": 2}])
def test_a_search_that_has_what_it_wanted_gets_nothing(closed: dict[str, object]) -> None:
    assert next_search([progress("a", **closed)]) is None


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


def member(name: str, rank: int = 0, trainings: int = 5, seconds: float = 10.0) -> NextMember:
    return NextMember(name, rank, trainings, seconds)


def test_every_architecture_gets_its_best_member_before_any_gets_a_second_and_the_cheap_ones_first() -> None:
    waiting = [member("cheap", rank=1, seconds=1.0), member("dear", seconds=50.0), member("middle", seconds=20.0)]
    assert next_member(waiting, 1) == "middle"
    assert next_member(waiting[:2], 1) == "dear"
    assert next_member(waiting[:1], 1) == "cheap"
    assert next_member([], 1) is None


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


def test_what_is_affordable_is_told_in_members() -> None:
    budget = Budget(0.0, 100.0 + CLOSING_SECONDS, 2)
    assert (
        affordable(4.0, 5, budget, 0.0) == "one training takes 4.0 s, and the 100 s left are enough for 8 members of 5"
    )
    assert "give more --minutes" in affordable(60.0, 5, budget, 0.0)


def test_stack_and_reports_keep_their_room_at_the_end() -> None:
    without, reserved = Budget(0.0, 1000.0, 2), Budget(0.0, 1000.0, 2, after=50.0)
    assert without.left(0.0) - reserved.left(0.0) == 50.0
    assert without.deadline is not None and reserved.deadline == without.deadline - 50.0
