"""Rows are gathered, computed, and never lost with the process that computed them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine.engine import FIRST_ROWS, WORK_SECONDS, AdaptiveBatchSize, Engine, EngineConfig, OnBatch, Overloaded
from serving.engine.process_worker import Failure, RowAnswer, WorkerBatch
from serving.middleware.problems import request_id
from tests.errors import refused
from tests.serving_tests.engines import Script, answers, losing, while_started

FOLDER = Path("bundle")


def run(
    work: Callable[[Engine], Awaitable[Any]], on_batch: OnBatch = lambda rows, seconds: None, **settings: float
) -> Any:
    """Work with an engine. settings: of EngineConfig; batches wait for no row by default."""
    config = EngineConfig.of(**{"workers": 1, "batch_ms": 0, **settings})
    return while_started(lambda: Engine(FOLDER, config, on_batch=on_batch), work)


async def priced(engine: Engine, texts: list[str], **how: Any) -> list[float | None]:
    found = await asyncio.gather(*(engine.put(text, **how) for text in texts))
    return [None if answer is None else answer.price for answer in found]


def test_rows_that_come_together_are_computed_together(script: Script) -> None:
    seen: list[int] = []
    texts = [str(number) for number in range(1, 9)]
    found = run(lambda engine: priced(engine, texts), lambda rows, _: seen.append(rows), batch_rows=4, batch_ms=1000)
    assert found == [float(text) for text in texts]
    assert [len(batch) for batch in script.batches] == [4, 4] == seen


def test_a_single_row_waits_for_others_no_longer_than_it_may(script: Script) -> None:
    assert run(lambda engine: priced(engine, ["3"]), batch_rows=100, batch_ms=20) == [3.0]
    assert script.batches == [["3"]]


def test_a_batch_is_no_more_than_a_second_of_work(script: Script) -> None:
    def slow(batch: WorkerBatch) -> list[RowAnswer]:
        time.sleep(0.05 * len(batch.texts))
        return answers(batch)

    script.reply = slow
    texts = [str(number) for number in range(1, 32)]
    assert run(lambda engine: priced(engine, texts), batch_rows=100) == [float(text) for text in texts]
    assert len(script.batches[0]) == 8  # nothing is known yet
    assert all(len(batch) <= 20 for batch in script.batches)


def test_large_requests_leave_room_for_single_ones(script: Script) -> None:
    script.gate.clear()

    async def work(engine: Engine) -> None:
        first = engine.put("1")
        await script.busy()
        many = [engine.put(str(number), bulk=True) for number in range(100, 120)]
        singles = [engine.put(str(number)) for number in range(2, 12)]
        script.gate.set()
        await asyncio.gather(first, *many, *singles)

    run(work, batch_rows=8)
    assert [int(text) for text in script.batches[1]] == [2, 3, 4, 5, 6, 7, 100, 101]


def test_more_than_may_wait_are_not_taken(script: Script) -> None:
    script.gate.clear()

    async def work(engine: Engine) -> int:
        held = [engine.put("1")]
        await script.busy()
        with pytest.raises(Overloaded) as full:
            while True:
                engine.check_room()
                held.append(engine.put("2"))
        script.gate.set()
        await asyncio.gather(*held)
        assert 1 <= full.value.seconds <= 30
        return len(held)

    assert run(work, queue_rows=5) == 6  # one is being computed, five wait


def test_rows_of_a_lost_process_are_computed_by_the_next(script: Script) -> None:
    lost = iter([True])
    script.reply = lambda batch: losing("1")(batch) if next(lost, False) else answers(batch)
    assert run(lambda engine: priced(engine, ["1", "2", "3"]), batch_rows=3, batch_ms=1000) == [1.0, 2.0, 3.0]
    assert script.batches == [["1", "2", "3"], ["1"], ["2"], ["3"]]
    assert script.started == 2


@pytest.mark.parametrize("rows", [13, 17, 500, 1_024])
def test_the_row_that_brings_processes_down_is_found_in_few_passes(
    script: Script, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    script.reply = losing("13")
    monkeypatch.setattr(AdaptiveBatchSize, "rows", rows)  # however slow this machine is
    texts = [str(number) for number in range(1, rows + 1)]
    found = run(lambda engine: priced(engine, texts), batch_rows=rows, batch_ms=1000, queue_rows=rows)
    assert found == [None if text == "13" else float(text) for text in texts]
    assert len(script.batches[0]) == rows
    assert script.started <= 5 and len(script.batches) <= 45


def test_a_batch_that_fails_is_tried_row_by_row(script: Script) -> None:
    script.reply = lambda batch: Failure("ValueError") if len(batch.texts) > 1 else answers(batch)
    assert run(lambda engine: priced(engine, ["1", "2"]), batch_rows=2, batch_ms=1000) == [1.0, 2.0]
    assert script.started == 1


def test_rows_are_answered_while_no_process_starts_again(script: Script) -> None:
    script.reply = lambda batch: losing(batch.texts[0])(batch)

    async def work(engine: Engine) -> list[float | None]:
        script.broken_starts = 1
        first = await priced(engine, ["1", "2"])
        while engine.alive:
            await asyncio.sleep(0.01)
        return first + await priced(engine, ["3"])

    assert run(work, batch_rows=2, batch_ms=1000) == [None, None, None]


def test_a_bundle_that_cannot_be_loaded_is_refused_at_the_start(script: Script) -> None:
    script.broken_starts = 1
    with refused("engine-process-lost"):
        run(lambda engine: priced(engine, []), workers=2)


def test_what_waits_is_answered_before_the_end(script: Script) -> None:
    script.gate.clear()

    async def work(engine: Engine) -> list[float | None]:
        waiting = asyncio.ensure_future(priced(engine, ["1", "2", "3"]))
        await script.busy()
        ending = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.02)
        script.gate.set()
        await ending
        assert script.stopped == 1
        return await waiting

    assert run(work, batch_rows=1) == [1.0, 2.0, 3.0]


def test_what_an_engine_logs_is_no_part_of_the_request_that_started_it(script: Script) -> None:
    ids: list[str] = []
    token = request_id.set("reload-7")
    try:
        run(lambda engine: priced(engine, ["1"]), lambda *_: ids.append(request_id.get()))
    finally:
        request_id.reset(token)
    assert ids == [""]


def test_abandoned_rows_are_not_computed_at_the_end(script: Script) -> None:
    script.gate.clear()

    async def work(engine: Engine) -> float:
        first = engine.put("1")
        await script.busy()
        left = [engine.put(str(number)) for number in range(2, 30)]
        left[0].cancel()
        ending = asyncio.create_task(engine.stop(answer=False))
        assert await asyncio.gather(*left[1:]) == [None] * 27
        script.gate.set()
        await ending
        return (await first).price

    assert run(work, batch_rows=1) == 1.0
    assert script.batches == [["1"]]


MOST = 64


def settled(fixed: float, each: float, batches: int = 60) -> AdaptiveBatchSize:
    """After so many batches, each as large as the one before advised, of a process with these costs."""
    size = AdaptiveBatchSize()
    for _ in range(batches):
        rows = min(MOST, size.rows)
        size.observe(rows, fixed + each * rows)
    return size


def test_nothing_is_known_at_first() -> None:
    assert (AdaptiveBatchSize().rows, AdaptiveBatchSize().rate) == (FIRST_ROWS, 0.0)


@given(st.floats(0.0, 0.4), st.floats(1e-4, 2.0))
def test_a_batch_is_about_a_seconds_work(fixed: float, each: float) -> None:
    rows = min(MOST, settled(fixed, each).rows)
    assert rows == 1 or fixed + each * rows <= 2.1 * WORK_SECONDS
    assert rows == MOST or fixed + each * (rows + 1) >= 0.4 * WORK_SECONDS


@pytest.mark.parametrize(("fixed", "each"), [(0.24, 0.004), (1.0, 0.01), (5.0, 0.05)])
def test_what_every_batch_costs_is_shared_by_many_rows(fixed: float, each: float) -> None:
    """A process that takes seconds whatever it is given must not be asked row by row."""
    assert min(MOST, settled(fixed, each).rows) == MOST


def test_one_slow_minute_is_forgotten() -> None:
    size = settled(0.02, 0.004)
    for _ in range(20):
        size.observe(1, 3.0)
    for _ in range(60):
        rows = min(MOST, size.rows)
        size.observe(rows, 0.02 + 0.004 * rows)
    assert min(MOST, size.rows) == MOST


@given(st.lists(st.tuples(st.integers(1, 1024), st.floats(0.0, 100.0)), max_size=30))
def test_any_observations_give_a_size_and_a_rate(batches: list[tuple[int, float]]) -> None:
    size = AdaptiveBatchSize()
    for rows, seconds in batches:
        size.observe(rows, seconds)
    assert size.rows >= 1 and size.rate >= 0
