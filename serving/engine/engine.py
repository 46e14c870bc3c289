"""Inference engine: queues rows, forms adaptive batches, runs worker processes and replaces lost ones.

Rows are gathered into batches by size and time: as soon as a process is free it takes what waits, at most `batch_rows` and
about a second's work (`serving.engine.engine`), and where few wait it gives others `batch_ms` to come. Rows of large requests
leave room for single ones. Rows of a lost batch are computed again in parts, and those of a lost part in smaller ones, until
the row that brings processes down is alone; it is answered without them. Halves would find it in fewer passes, but each pass
that holds it costs a process.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from core.command_config import CommandConfig, Flag
from core.errors import UserError
from core.hardware import usable_cores
from serving.bundle.device_choice import DeviceChoice
from serving.engine.process_worker import Failure, ProcessLost, RowAnswer, Worker, WorkerBatch

WORK_SECONDS = 1.0
"""A batch is no more work than this, as far as is known: who comes next must wait for it."""
FIRST_ROWS = 8
"""Of a batch before anything is known."""
_DECAY = 0.9
_LEAST_VARIANCE = 0.25
"""Squared rows. Where sizes vary less, the cost of a batch of any size is unknown, and larger ones are tried."""


class AdaptiveBatchSize:
    """Rows per batch: learns `seconds = fixed + each * rows` by least squares over the last batches, older
    ones counting less and less."""

    def __init__(self) -> None:
        self._sums = np.zeros(5)  # of weights, rows, rows squared, seconds, rows times seconds

    def observe(self, rows: int, seconds: float) -> None:
        """One batch of one process."""
        self._sums = _DECAY * self._sums + np.array([1.0, rows, rows * rows, seconds, rows * seconds])

    @property
    def rows(self) -> int:
        """The most rows of a batch, at least 1.

        As many as take WORK_SECONDS; more where most of the time goes by whatever their number, for then single rows would
        cost nearly as much: so many that rows cost as much as all that is fixed.
        """
        if not self._sums[0]:
            return FIRST_ROWS
        fixed, each = self._line()
        best = max(WORK_SECONDS - fixed, fixed) / each
        if self._spread() < _LEAST_VARIANCE:
            best = max(best, 2 * self._means()[0])
        return max(1, int(min(best, 1e6)))

    @property
    def rate(self) -> float:
        """Rows a second of one process that computes batches of that size; 0 where nothing is known."""
        if not self._sums[0]:
            return 0.0
        fixed, each = self._line()
        return self.rows / (fixed + each * self.rows)

    def _means(self) -> tuple[float, float]:
        """Weighted means of rows and of seconds."""
        weight, rows, _, seconds, _ = self._sums.tolist()
        return rows / weight, seconds / weight

    def _spread(self) -> float:
        """Variance of the batches' rows."""
        return float(self._sums[2] / self._sums[0]) - self._means()[0] ** 2

    def _line(self) -> tuple[float, float]:
        """(fixed, each), neither negative; each above 0. Batches of one size count as proportional to their rows."""
        rows, seconds = self._means()
        proportional = max(seconds / rows, 1e-9)
        if self._spread() < _LEAST_VARIANCE:
            return 0.0, proportional
        slope = float(self._sums[4] / self._sums[0] - rows * seconds) / self._spread()
        each = min(max(slope, proportional / 100), proportional)
        return max(0.0, seconds - each * rows), each


log = logging.getLogger(__name__)

_TRIES = 2
_PARTS = 16
"""Into so many a lost batch is parted: of 1,024 rows, four processes and 40 passes find the one that brings them down."""
_BULK_SHARE = 4
"""Of a batch, one part in so many is for large requests even where single ones would fill it."""
_LONGEST_BACKOFF = 30.0
_BATCH_ROWS, _QUEUE_ROWS = 64, 512
_GPU_BATCH_ROWS, _GPU_QUEUE_ROWS = 256, 2048
_GPU_WORKERS = 2
"""Each holds the networks in the GPU's memory: one computes there while another reads texts and pictures."""
_BATCH_SECONDS, _LOAD_SECONDS = 120.0, 600.0
"""After so long a process that computes, or loads the bundle, and sends nothing is given up."""


class EngineConfig(CommandConfig):
    """Worker processes, which share the cores, the batches that they compute, and the queue before them."""

    workers: Annotated[
        int,
        Flag(shown=f"one per core; {_GPU_WORKERS} on a GPU"),
        Field(ge=1, le=256, description="Processes that compute."),
    ] = Field(default_factory=usable_cores)
    batch_rows: Annotated[
        int,
        Flag(shown=f"{_BATCH_ROWS}; {_GPU_BATCH_ROWS} on a GPU"),
        Field(ge=1, le=4096, description="Most rows computed together."),
    ] = Field(default_factory=lambda: _BATCH_ROWS)
    batch_ms: Annotated[float, Field(ge=0, le=1000, description="How long the first row waits for others.")] = 4.0
    queue_rows: Annotated[
        int,
        Flag(shown=f"{_QUEUE_ROWS}; {_GPU_QUEUE_ROWS} on a GPU"),
        Field(ge=1, description="Rows that may wait; beyond, the answer is 503."),
    ] = Field(default_factory=lambda: _QUEUE_ROWS)
    device: Annotated[
        DeviceChoice, Field(description="Where networks compute: auto is the GPU if there is one that they can use.")
    ] = DeviceChoice.AUTO

    def on(self, device: DeviceChoice) -> EngineConfig:
        """The config for a settled device: on a GPU with its own defaults for what was not set."""
        defaults = {"workers": _GPU_WORKERS, "batch_rows": _GPU_BATCH_ROWS, "queue_rows": _GPU_QUEUE_ROWS}
        changed = {name: value for name, value in defaults.items() if name not in self.model_fields_set}
        return self.model_copy(update={"device": device, **(changed if device == DeviceChoice.CUDA else {})})

    @property
    def threads(self) -> int:
        """Threads of each process."""
        return max(1, usable_cores() // self.workers)


class Overloaded(Exception):
    """No more rows are taken. seconds: after which it may be tried again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many rows wait; try again in {seconds} s")
        self.seconds = seconds


@dataclass(eq=False)
class QueuedRow:
    """A row that waits. done: gets its answer, or None where no process could compute it. tries: that were lost."""

    text: str
    image: str
    fields: bool
    done: asyncio.Future[RowAnswer | None]
    since: float = field(default_factory=time.monotonic)
    tries: int = 0


OnBatch = Callable[[int, float], None]


class Engine:
    """Used from one event loop. `put` gives rows, `start` and `stop` frame its life."""

    def __init__(
        self,
        folder: Path,
        config: EngineConfig,
        images: Path | None = None,
        log_config: Mapping[str, Any] | None = None,
        on_batch: OnBatch = lambda rows, seconds: None,
    ) -> None:
        """images: folder of the images that rows name. on_batch: called with (rows, seconds) of each batch."""
        self.folder, self.config, self.restarts = folder, config, 0
        self._images, self._log_config, self._on_batch = images, log_config, on_batch
        self._single: deque[QueuedRow] = deque()
        self._bulk: deque[QueuedRow] = deque()
        self._retries: deque[list[QueuedRow]] = deque()  # parts of batches that were lost
        self._arrived, self._gathering = asyncio.Event(), asyncio.Lock()
        self._batch_size = AdaptiveBatchSize()
        self._threads = ThreadPoolExecutor(config.workers, thread_name_prefix="engine")
        self._workers: list[Worker | None] = [None] * config.workers
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._all_lost = False  # all processes have died, and at least one could not be started again

    async def start(self) -> None:
        """Until all processes have loaded the bundle. Raises UserError where they cannot."""
        started = [asyncio.ensure_future(self._start(place)) for place in range(self.config.workers)]
        results = await asyncio.gather(*started, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                await self.stop()
                if isinstance(result, ProcessLost):
                    raise UserError(
                        f"a process that loads {self.folder.name} was lost: {result}", code="engine-process-lost"
                    ) from None
                raise result
        self._tasks = [  # in contexts of their own: what they log is no part of the request that reloads
            asyncio.create_task(self._run(place), context=contextvars.Context()) for place in range(self.config.workers)
        ]

    async def stop(self, *, answer: bool = True) -> None:
        """Answers rows that wait, unless their requests are gone; then ends the processes."""
        self._stopping = True
        if not answer:
            self._fail_waiting()
        self._arrived.set()
        await asyncio.gather(*self._tasks)
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            if worker is not None:
                await loop.run_in_executor(None, worker.stop)
        self._workers = [None] * self.config.workers
        self._threads.shutdown(wait=False)

    @property
    def waiting(self) -> int:
        """Rows that wait for a process."""
        return len(self._single) + len(self._bulk) + sum(map(len, self._retries))

    @property
    def alive(self) -> int:
        """Processes that answer."""
        return sum(worker is not None for worker in self._workers)

    def check_room(self) -> None:
        """Raises Overloaded where so many rows wait that no more are taken."""
        if self.waiting >= self.config.queue_rows:
            rate = self.config.workers * self._batch_size.rate
            seconds = self.waiting / rate if rate else 1.0
            raise Overloaded(min(30, max(1, math.ceil(seconds))))

    def put(
        self, text: str, image: str = "", *, bulk: bool = False, fields: bool = False
    ) -> asyncio.Future[RowAnswer | None]:
        """A row to be computed; `check_room` comes first. Its answer is None where no process can give one."""
        done: asyncio.Future[RowAnswer | None] = asyncio.get_running_loop().create_future()
        if self._all_lost:
            done.set_result(None)
            return done
        (self._bulk if bulk else self._single).append(QueuedRow(text, image, fields, done))
        self._arrived.set()
        return done

    async def _start(self, place: int) -> None:
        loop = asyncio.get_running_loop()

        def begin() -> Worker:
            worker = Worker(self.folder, self.config.threads, self._log_config, self.config.device)
            try:
                worker.wait_ready(_LOAD_SECONDS)
            except ProcessLost:
                worker.stop()
                raise
            return worker

        self._workers[place] = await loop.run_in_executor(self._threads, begin)

    async def _run(self, place: int) -> None:
        """Loop of one worker process: computes batch after batch; restarts it when it dies."""
        while (batch := await self._next_batch()) is not None:
            worker = self._workers[place]
            if worker is None:  # it could not be started again before the end
                return
            try:
                await self._compute(worker, batch)
            except ProcessLost as lost:
                log.error("process %s was lost with %d rows: %s", worker.pid, len(batch), lost)
                self._retry_in_parts(batch)
                await self._restart(place, worker)

    async def _compute(self, worker: Worker, rows: list[QueuedRow]) -> None:
        images = str(self._images) if self._images else None
        batch = WorkerBatch(
            [row.text for row in rows], [row.image for row in rows], images, any(row.fields for row in rows)
        )
        start = time.monotonic()
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._threads, worker.ask, batch, _BATCH_SECONDS)
        seconds = time.monotonic() - start
        self._on_batch(len(rows), seconds)
        self._batch_size.observe(len(rows), seconds)
        if isinstance(answers, Failure):
            log.error("a batch of %d rows was not computed: %s", len(rows), answers.reason)
            self._retry_in_parts(rows)
            return
        for row, answer in zip(rows, answers, strict=True):
            _resolve(row, answer)

    def _retry_in_parts(self, rows: list[QueuedRow]) -> None:
        """Queues the rows of a lost batch again in parts; a row that was lost alone and before is given up."""
        for row in rows:
            row.tries += 1
        if len(rows) == 1 and rows[0].tries >= _TRIES:
            _resolve(rows[0], None)
        else:
            size = math.ceil(len(rows) / _PARTS)
            self._retries.extend(rows[start : start + size] for start in range(0, len(rows), size))
        self._arrived.set()

    async def _restart(self, place: int, worker: Worker) -> None:
        """Starts the process anew, with pauses that grow while it fails; meanwhile the others go on, or rows get None."""
        loop = asyncio.get_running_loop()
        self._workers[place] = None
        await loop.run_in_executor(self._threads, worker.stop)
        pause = 1.0
        while not self._stopping or self.waiting:
            try:
                await self._start(place)
                self.restarts += 1
                self._all_lost = False
                return
            except (UserError, ProcessLost) as error:
                log.error("a process could not be started again: %s", error)
                if not self.alive:
                    self._all_lost = True
                    self._fail_waiting()
                await asyncio.sleep(pause)
                pause = min(_LONGEST_BACKOFF, 2 * pause)

    def _fail_waiting(self) -> None:
        """Resolves all queued rows with None, where no process can compute them."""
        for queue in (self._single, self._bulk, *self._retries):
            for row in queue:
                _resolve(row, None)
        for waiting in (self._single, self._bulk, self._retries):
            waiting.clear()

    async def _next_batch(self) -> list[QueuedRow] | None:
        """Next batch, once rows wait; None when the engine stops and none wait."""
        async with self._gathering:
            while True:
                if self._retries:
                    return self._retries.popleft()
                if not self.waiting:
                    if self._stopping:
                        return None
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                oldest = min(queue[0].since for queue in (self._single, self._bulk) if queue)
                left = oldest + self.config.batch_ms / 1000 - time.monotonic()
                if left <= 0 or self.waiting >= self._size or self._stopping:
                    return self._take()
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), left)

    @property
    def _size(self) -> int:
        """Most rows of the next batch."""
        return min(self.config.batch_rows, self._batch_size.rows)

    def _take(self) -> list[QueuedRow]:
        size = self._size
        kept = min(len(self._bulk), size // _BULK_SHARE)
        rows = [self._single.popleft() for _ in range(min(len(self._single), size - kept))]
        return rows + [self._bulk.popleft() for _ in range(min(len(self._bulk), size - len(rows)))]


def _resolve(row: QueuedRow, answer: RowAnswer | None) -> None:
    """Sets the row's answer, unless its request was cancelled."""
    if not row.done.done():
        row.done.set_result(answer)
