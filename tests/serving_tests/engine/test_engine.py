"""Rows are gathered, computed, and never lost with the process that computed them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from serving.engine.engine import AdaptiveBatchSize, Engine, EngineConfig, Overloaded
from serving.engine.process_worker import Failure, ProcessLost, WorkerBatch
from serving.middleware.problems import request_id
from tests.errors import refused
from tests.serving_tests.engines import Script, answers

FOLDER = Path("bundle")


def run(script: Script, settings: EngineConfig, work: Callable[[Engine], Awaitable[Any]], **more: Any) -> Any:
    async def whole() -> Any:
        engine = Engine(FOLDER, settings, **more)
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return asyncio.run(whole())


async def priced(engine: Engine, texts: list[str], **how: Any) -> list[float | None]:
    found = await asyncio.gather(*(engine.put(text, **how) for text in texts))
    return [None if answer is None else answer.price for answer in found]


def test_rows_that_come_together_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    seen: list[int] = []
    settings = EngineConfig(workers=1, batch_rows=4, batch_ms=1000)
    texts = [str(number) for number in range(1, 9)]
    found = run(script, settings, lambda engine: priced(engine, texts), on_batch=lambda rows, _: seen.append(rows))
    assert found == [float(text) for text in texts]
    assert [len(batch) for batch in script.batches] == [4, 4] == seen


def test_a_single_row_waits_for_others_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    assert run(script, EngineConfig(workers=1, batch_rows=100, batch_ms=20), lambda engine: priced(engine, ["3"])) == [
        3.0
    ]
    assert script.batches == [["3"]]


def test_a_batch_is_no_more_than_a_second_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(batch: WorkerBatch) -> Any:
        time.sleep(0.05 * len(batch.texts))
        return answers(batch)

    script = Script(monkeypatch, slow)
    texts = [str(number) for number in range(1, 32)]
    found = run(script, EngineConfig(workers=1, batch_rows=100, batch_ms=0), lambda engine: priced(engine, texts))
    assert found == [float(text) for text in texts]
    assert len(script.batches[0]) == 8  # nothing is known yet
    assert all(len(batch) <= 20 for batch in script.batches)


def test_large_requests_leave_room_for_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.gate.clear()

    async def work(engine: Engine) -> None:
        first = engine.put("1")
        await script.busy()
        many = [engine.put(str(number), bulk=True) for number in range(100, 120)]
        singles = [engine.put(str(number)) for number in range(2, 12)]
        script.gate.set()
        await asyncio.gather(first, *many, *singles)

    run(script, EngineConfig(workers=1, batch_rows=8, batch_ms=0), work)
    second = [int(text) for text in script.batches[1]]
    assert second == [2, 3, 4, 5, 6, 7, 100, 101]


def test_more_than_may_wait_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.gate.clear()

    async def work(engine: Engine) -> int:
        held = [engine.put("1")]
        await script.busy()
        while True:
            try:
                engine.check_room()
            except Overloaded as full:
                script.gate.set()
                await asyncio.gather(*held)
                assert 1 <= full.seconds <= 30
                return len(held)
            held.append(engine.put("2"))

    assert run(script, EngineConfig(workers=1, queue_rows=5, batch_ms=0), work) == 6  # one is being computed, five wait


def test_rows_of_a_lost_process_are_computed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = iter([True])

    def reply(batch: WorkerBatch) -> Any:
        if next(lost, False):
            raise ProcessLost("killed")
        return answers(batch)

    script = Script(monkeypatch, reply)
    settings = EngineConfig(workers=1, batch_rows=3, batch_ms=1000)
    assert run(script, settings, lambda engine: priced(engine, ["1", "2", "3"])) == [1.0, 2.0, 3.0]
    assert script.batches == [["1", "2", "3"], ["1"], ["2"], ["3"]]
    assert script.started == 2


def test_the_row_that_brings_processes_down_is_found_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(batch: WorkerBatch) -> Any:
        if "13" in batch.texts:
            raise ProcessLost("killed")
        return answers(batch)

    script = Script(monkeypatch, reply)
    settings = EngineConfig(workers=1, batch_rows=3, batch_ms=1000)
    assert run(script, settings, lambda engine: priced(engine, ["1", "13", "3"])) == [1.0, None, 3.0]


@pytest.mark.parametrize("rows", [17, 500, 1_024])
def test_one_row_of_many_is_found_in_few_passes(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    def reply(batch: WorkerBatch) -> Any:
        if "13" in batch.texts:
            raise ProcessLost("killed")
        return answers(batch)

    script = Script(monkeypatch, reply)
    monkeypatch.setattr(AdaptiveBatchSize, "rows", rows)  # however slow this machine is
    texts = [str(number) for number in range(1, rows + 1)]
    settings = EngineConfig(workers=1, batch_rows=rows, batch_ms=1000, queue_rows=rows)
    found = run(script, settings, lambda engine: priced(engine, texts))
    assert found == [None if text == "13" else float(text) for text in texts]
    assert len(script.batches[0]) == rows
    assert script.started <= 5 and len(script.batches) <= 45


def test_a_batch_that_fails_is_tried_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, lambda batch: Failure("ValueError") if len(batch.texts) > 1 else answers(batch))
    settings = EngineConfig(workers=1, batch_rows=2, batch_ms=1000)
    assert run(script, settings, lambda engine: priced(engine, ["1", "2"])) == [1.0, 2.0]
    assert script.started == 1


def test_rows_are_answered_while_no_process_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, lambda batch: (_ for _ in ()).throw(ProcessLost("killed")))

    async def work(engine: Engine) -> list[float | None]:
        script.broken_starts = 1
        first = await priced(engine, ["1", "2"])
        while engine.alive:
            await asyncio.sleep(0.01)
        return first + await priced(engine, ["3"])

    assert run(script, EngineConfig(workers=1, batch_rows=2, batch_ms=1000), work) == [None, None, None]


def test_a_bundle_that_cannot_be_loaded_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.broken_starts = 1
    with refused("engine-process-lost"):
        run(script, EngineConfig(workers=2), lambda engine: priced(engine, []))


def test_what_waits_is_answered_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.gate.clear()

    async def whole() -> list[Any]:
        engine = Engine(FOLDER, EngineConfig(workers=1, batch_rows=1, batch_ms=0))
        await engine.start()
        waiting = [engine.put(str(number)) for number in range(1, 4)]
        await asyncio.sleep(0.02)
        ending = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.02)
        script.gate.set()
        await ending
        return [row.result() for row in waiting]

    assert [row.price for row in asyncio.run(whole())] == [1.0, 2.0, 3.0]
    assert script.stopped == 1


def test_what_an_engine_logs_is_no_part_of_the_request_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[str] = []
    token = request_id.set("reload-7")
    try:
        settings = EngineConfig(workers=1, batch_ms=0)
        run(
            Script(monkeypatch),
            settings,
            lambda engine: priced(engine, ["1"]),
            on_batch=lambda *_: ids.append(request_id.get()),
        )
    finally:
        request_id.reset(token)
    assert ids == [""]


def test_abandoned_rows_are_not_computed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.gate.clear()

    async def work() -> list[float | None]:
        engine = Engine(FOLDER, EngineConfig(workers=1, batch_rows=1, batch_ms=0))
        await engine.start()
        first = engine.put("1")
        await script.busy()
        left = [engine.put(str(number)) for number in range(2, 30)]
        left[0].cancel()
        ending = asyncio.create_task(engine.stop(answer=False))
        dropped = await asyncio.gather(*left[1:])
        script.gate.set()
        await ending
        answer = await first
        assert dropped == [None] * 27
        return [None if answer is None else answer.price]

    assert asyncio.run(work()) == [1.0]
    assert script.batches == [["1"]]
