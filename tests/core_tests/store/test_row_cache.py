"""Rows remembered while there is room."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.cache.entries import RowCache

ROW = 16
"""Bytes of a row below."""


class Squares:
    """Computes (number, its square) of keys that are numbers, and counts what it is asked."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.asked: list[str] = []

    def __call__(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        chosen = [self.keys[place] for place in places]
        self.asked += chosen
        return np.array([[float(key), float(key) ** 2] for key in chosen])


@given(
    st.lists(st.lists(st.integers(0, 9).map(str), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(0, 6)
)
def test_what_is_remembered_is_what_was_computed(requests: list[list[str]], room: int) -> None:
    memory = RowCache(room * ROW)
    for keys in requests:
        squares = Squares(keys)
        expected = np.array([[float(key), float(key) ** 2] for key in keys])
        np.testing.assert_array_equal(memory.rows(keys, squares), expected)
        assert len(squares.asked) == len(set(squares.asked))
        again = Squares(keys)
        memory.rows(keys, again)
        assert len(set(keys)) > room or not again.asked


def test_those_asked_for_last_stay() -> None:
    memory = RowCache(2 * ROW)
    for keys, expected in ((["1"], ["1"]), (["2"], ["2"]), (["1"], []), (["3"], ["3"]), (["1"], []), (["2"], ["2"])):
        squares = Squares(keys)
        memory.rows(keys, squares)
        assert squares.asked == expected


def test_threads_may_ask_together() -> None:
    memory, keys = RowCache(5 * ROW), [str(number) for number in range(20)]

    def ask(start: int) -> bool:
        chosen = keys[start : start + 8]
        return bool((memory.rows(chosen, Squares(chosen))[:, 0] == np.arange(start, start + len(chosen))).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, [number % 13 for number in range(400)]))
