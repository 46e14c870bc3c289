"""What is remembered: the last ones, and for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.service import ResponseCache


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_there_until_it_is_too_old() -> None:
    clock = Clock()
    memory: ResponseCache[int] = ResponseCache(10, 60.0, clock=clock)
    memory.put("jam", 5)
    clock.now = 59.9
    assert memory.get("jam") == 5
    clock.now = 60.0
    assert memory.get("jam") is None
    assert len(memory) == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60), st.integers(1, 4))
def test_it_holds_those_that_were_used_last(steps: list[tuple[str, bool]], most: int) -> None:
    memory: ResponseCache[str] = ResponseCache(most, 60.0, clock=Clock())
    used: list[str] = []
    for key, put in steps:
        if put:
            memory.put(key, key)
        there = key in used[-most:]
        assert (memory.get(key) is not None) == (put or there)
        if put or there:
            used = [each for each in used if each != key] + [key]
        assert len(memory) <= most


def test_nothing_is_remembered_where_there_is_no_room() -> None:
    memory: ResponseCache[int] = ResponseCache(0, 60.0)
    memory.put("jam", 5)
    assert memory.get("jam") is None
