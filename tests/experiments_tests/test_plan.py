"""The plan: who gets the next trial, and which members the time that is left can pay for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.plan import (
    CLOSING_SECONDS,
    Affordable,
    Budget,
    NextMember,
    Progress,
    affordable,
    fits,
    next_member,
    next_search,
)

FREE = Budget(start=0.0, end=None, concurrent=1)


def progress(name: str, **changes: object) -> Progress:
    values: dict[str, object] = {
        "seconds": 10.0, "spent": 0.0, "finished": 0, "running": 0, "wanted": 3, "open": True,
    }  # fmt: skip
    return Progress(name, **{**values, **changes})  # type: ignore[arg-type]


def test_every_architecture_has_its_first_trial_before_any_has_its_second_and_the_cheap_ones_go_first() -> None:
    states = [progress("slow", seconds=50.0), progress("quick", seconds=1.0), progress("begun", finished=1)]
    assert next_search(states, FREE, now=0.0) == "quick"
    assert next_search([states[0], states[2]], FREE, now=0.0) == "slow"


def test_later_trials_go_to_the_architecture_on_which_least_time_was_spent() -> None:
    states = [progress("a", finished=1, spent=30.0), progress("b", finished=2, spent=20.0)]
    assert next_search(states, FREE, now=0.0) == "b"


@pytest.mark.parametrize("closed", [{"open": False}, {"finished": 3}, {"finished": 1, "running": 2}])
def test_a_search_that_has_what_it_wanted_gets_nothing(closed: dict[str, object]) -> None:
    assert next_search([progress("a", **closed)], FREE, now=0.0) is None


def test_with_a_limit_further_trials_stop_at_their_share_but_first_trials_do_not() -> None:
    budget = Budget(start=0.0, end=100.0, concurrent=1)
    begun, untried = progress("begun", finished=1, wanted=None), progress("untried", wanted=None)
    assert next_search([begun], budget, now=20.0) == "begun"
    assert next_search([begun], budget, now=40.0) is None
    assert next_search([begun, untried], budget, now=40.0) == "untried"
    assert next_search([untried], budget, now=95.0) is None


def test_a_slow_trial_must_leave_the_members_their_time() -> None:
    budget = Budget(start=0.0, end=100.0, concurrent=1)
    assert budget.trial_deadline(10.0, now=0.0) == pytest.approx(45.0)
    late = budget.trial_deadline(10.0, now=60.0)
    assert late is not None and 60.0 < late < 80.0
    assert FREE.trial_deadline(10.0, now=0.0) is None


def member(name: str, rank: int = 0, trainings: int = 5, seconds: float = 10.0) -> NextMember:
    return NextMember(name, rank, trainings, seconds)


def test_every_architecture_gets_its_best_member_before_any_gets_a_second_and_the_cheap_ones_first() -> None:
    waiting = [member("cheap", rank=1, seconds=1.0), member("dear", seconds=50.0), member("middle", seconds=20.0)]
    assert next_member(waiting, FREE, now=0.0) == "middle"
    assert next_member(waiting[:2], FREE, now=0.0) == "dear"
    assert next_member(waiting[:1], FREE, now=0.0) == "cheap"
    assert next_member([], FREE, now=0.0) is None


def test_a_member_that_does_not_fit_gives_way_to_one_that_does() -> None:
    budget = Budget(start=0.0, end=100.0 + CLOSING_SECONDS, concurrent=2)
    dear, cheap = member("dear", seconds=40.0), member("cheap", rank=1, seconds=10.0)
    assert dear.wall_seconds(2) == 120.0
    assert next_member([dear, cheap], budget, now=0.0) == "cheap"
    assert next_member([dear, cheap], budget, now=70.0) is None


@given(
    waiting=st.lists(
        st.builds(NextMember, st.sampled_from("abcd"), st.integers(0, 5), st.integers(1, 5), st.floats(0.1, 100.0)),
        max_size=6,
    ),
    left=st.floats(0.0, 500.0),
    concurrent=st.integers(1, 4),
)
def test_what_is_chosen_fits_and_nothing_that_fits_ranks_better(
    waiting: list[NextMember], left: float, concurrent: int
) -> None:
    budget = Budget(start=0.0, end=left + CLOSING_SECONDS, concurrent=concurrent)
    fitting = [each for each in waiting if fits(each.wall_seconds(concurrent), budget.left(0.0))]
    chosen = next_member(waiting, budget, now=0.0)
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        assert chosen in {each.name for each in fitting if each.rank == min(other.rank for other in fitting)}


def test_what_is_affordable_is_told_in_trials_and_members() -> None:
    progress = Progress("text", 10.0, 0.0, 1, 1, None, True)
    budget = Budget(0.0, 1000.0, 2, stack=50.0)
    afford = affordable(progress, [progress, progress], budget, 0.0, 5)
    # 45% of 950 s are for trials; 8 s of the rest close the sweep.
    assert afford == Affordable(trials=42, members=10, trainings=5)
    assert "42 more trials and 6 members" in afford.sentence(10.0, 6)
    assert affordable(progress, [progress], Budget(0.0, None, 2), 0.0, 5) is None


def test_a_limit_that_no_member_fits_into_says_so() -> None:
    slow = Progress("text", 400.0, 0.0, 1, 0, 3, True)
    afford = affordable(slow, [slow], Budget(0.0, 1000.0, 1), 0.0, 5)
    assert afford is not None and "for no member of 5 trainings: give more --minutes" in afford.sentence(400.0, 2)


def test_the_stack_keeps_its_room_at_the_end() -> None:
    without, reserved = Budget(0.0, 1000.0, 2), Budget(0.0, 1000.0, 2, stack=50.0)
    assert without.left(0.0) - reserved.left(0.0) == 50.0
    assert without.deadline is not None and reserved.deadline == without.deadline - 50.0
