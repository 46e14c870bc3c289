"""Fake workers without a process, for tests of the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from serving.engine import engine as module
from serving.engine.process_worker import Failure, ProcessLost, RowAnswer, WorkerBatch

Reply = Callable[[WorkerBatch], list[RowAnswer] | Failure]


def answers(batch: WorkerBatch) -> list[RowAnswer]:
    """The price of a row is the number that its text is, or one more than how long it is."""
    prices = [float(text) if text.isdecimal() else 1.0 + len(text) for text in batch.texts]
    return [RowAnswer(price, price / 2, price * 2, ("one",), "stack", read={"pack": 6.0}) for price in prices]


def losing(text: str) -> Reply:
    """Answers that a batch with this text never gets: its process is lost."""

    def reply(batch: WorkerBatch) -> list[RowAnswer]:
        if text in batch.texts:
            raise ProcessLost("killed")
        return answers(batch)

    return reply


def while_started(make: Callable[[], Any], work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Result of work with an engine or a service, which is started before and stopped afterwards."""

    async def whole() -> Any:
        made = make()
        await made.start()
        try:
            return await work(made)
        finally:
            await made.stop()

    return asyncio.run(whole())


class FakeWorker:
    """Stands where `Worker` does. `reply` answers; `batches` are the requests of all of them together."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.pid = 1

    def wait_ready(self, seconds: float) -> None:
        self._script.started += 1
        if self._script.broken_starts:
            self._script.broken_starts -= 1
            raise ProcessLost("it does not start")

    def ask(self, batch: WorkerBatch, seconds: float) -> list[RowAnswer] | Failure:
        with self._script.lock:
            self._script.batches.append(list(batch.texts))
        self._script.gate.wait(60)
        return self._script.reply(batch)

    def stop(self) -> None:
        self._script.stopped += 1


class Script:
    """Script of the engine's workers. gate: answers wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reply: Reply = answers
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.started = self.stopped = self.broken_starts = 0

        self.devices: list[str] = []

        def make(folder: Path, threads: int, log_config: object, device: str) -> FakeWorker:
            self.devices.append(device)
            return FakeWorker(self)

        monkeypatch.setattr(module, "Worker", make)

    async def busy(self) -> None:
        """Until a worker has taken the first batch."""
        while not self.batches:
            await asyncio.sleep(0.01)
