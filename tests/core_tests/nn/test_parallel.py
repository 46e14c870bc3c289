"""MicroBatchSize side by side: in order, bounded, and without a trace."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.nn.precision import side_by_side


@settings(deadline=None, max_examples=30)
@given(items=st.lists(st.integers(), max_size=30), threads=st.integers(1, 4))
def test_results_come_in_order_whoever_is_ready_first(items: list[int], threads: int) -> None:
    def work(item: int) -> int:
        time.sleep((item % 3) / 1000)
        return item * item

    assert list(side_by_side(work, items, threads)) == [(item, item * item) for item in items]


def test_each_pass_has_one_thread_and_afterwards_all_is_as_before() -> None:
    before, seen, lock = torch.get_num_threads(), set(), threading.Lock()

    def work(item: int) -> int:
        with lock:
            seen.add((threading.current_thread().name, torch.get_num_threads()))
        return item

    list(side_by_side(work, range(20), 2))
    assert {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == before


def test_few_results_wait() -> None:
    begun: list[int] = []
    results = side_by_side(lambda item: begun.append(item), range(100), 2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 6
    results.close()


def test_what_a_pass_raises_comes_out() -> None:
    def work(item: int) -> float:
        return 1 / (3 - item)

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(work, range(9), 2))
