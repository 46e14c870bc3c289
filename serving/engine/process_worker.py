"""Worker process of the engine: loads a bundle and computes batches from a pipe.

The event loop never computes, and whatever brings such a process down (memory, a fault in a library) takes no other request
with it.
"""

from __future__ import annotations

import logging
import logging.config
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.hardware import THREAD_LIMITS
from serving.bundle.bundle import AnswerLevel
from serving.bundle.device_choice import DeviceChoice

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Seconds a process is given to end by itself before it is killed."""
_READY = "ready"
_WARM_UP_TEXT = "Item Name: warming up, Pack of 2"


class ProcessLost(Exception):
    """The process has ended, or sent nothing for too long, in the middle of a batch."""


@dataclass(frozen=True)
class WorkerBatch:
    """Rows that are computed together. texts: n of them. images: n names of files in `folder`, "" for none.

    fields: whether what was read from the texts is wanted, too.
    """

    texts: Sequence[str]
    images: Sequence[str]
    folder: str | None
    fields: bool = False


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """Price of one row. price, low, high: in currency units. members: that answered.

    unit, brand: read from the text, "" where it has none. read: all fields that the text has, where they were asked for.
    """

    price: float
    low: float
    high: float
    members: tuple[str, ...]
    level: AnswerLevel
    unit: str = ""
    brand: str = ""
    read: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Failure:
    """Reason why a batch was not computed or a bundle not loaded: for log and operator, never for callers."""

    reason: str


class Worker:
    """Handle of a worker process in the service. Its methods wait: call them in threads."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        log_config: Mapping[str, Any] | None,
        device: DeviceChoice = DeviceChoice.CPU,
    ) -> None:
        """threads: that libraries may use inside. log_config: for `logging.config.dictConfig`. device: of the networks."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        before = {name: os.environ.get(name) for name in THREAD_LIMITS}
        os.environ.update(dict.fromkeys(THREAD_LIMITS, str(threads)))  # libraries read them while they are imported
        try:
            arguments = (theirs, str(folder), threads, log_config, device)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
        finally:
            theirs.close()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def wait_ready(self, seconds: float) -> None:
        """Until the bundle is loaded. Raises UserError for one that cannot be, ProcessLost where nothing comes."""
        answer = self._receive(seconds)
        if isinstance(answer, Failure):
            self.stop()
            raise UserError(
                answer.reason,
                code="engine-process-refused",
                hint="write the bundle again with `python -m serving.export`",
            )

    def ask(self, batch: WorkerBatch, seconds: float) -> list[RowAnswer] | Failure:
        """The answers to the batch's rows, in order. Raises ProcessLost where none come within `seconds`."""
        try:
            self._connection.send(batch)
        except OSError:
            raise ProcessLost(self._exit_reason()) from None
        return self._receive(seconds)

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        self._connection.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, seconds: float) -> Any:
        try:
            if self._connection.poll(seconds):
                return self._connection.recv()
        except (EOFError, OSError):
            raise ProcessLost(self._exit_reason()) from None
        self._process.kill()
        raise ProcessLost(f"no answer within {seconds:g} s")

    def _exit_reason(self) -> str:
        self._process.join(STOP_SECONDS)
        return f"the process ended with code {self._process.exitcode}"


def _serve(
    connection: Connection, folder: str, threads: int, log_config: Mapping[str, Any] | None, device: DeviceChoice
) -> None:
    """The process. It ends when the service closes the pipe, not by a signal that was meant for the service."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if log_config is not None:
        logging.config.dictConfig(dict(log_config))
    with threadpool_limits(threads):
        try:
            computer = BatchComputer(Path(folder), threads, device)
        except UserError as error:
            _send(connection, Failure(str(error)))
            return
        connected = _send(connection, _READY)
        while connected and (batch := _receive_batch(connection)) is not None:
            connected = _send(connection, computer.compute(batch))


def _send(connection: Connection, answer: object) -> bool:
    """Sends to the service; False where it has ended meanwhile, as it may while the bundle is loaded."""
    try:
        connection.send(answer)
    except ConnectionError:
        return False
    return True


def _receive_batch(connection: Connection) -> WorkerBatch | None:
    """Next batch to compute; None where the service has ended."""
    try:
        batch: WorkerBatch = connection.recv()
    except (EOFError, ConnectionError):  # the latter where it has left an answer unread
        return None
    return batch


class BatchComputer:
    """A loaded bundle that answers batches; what happens inside the process, or in a test without one."""

    def __init__(self, folder: Path, threads: int = 1, device: DeviceChoice = DeviceChoice.CPU) -> None:
        """Raises UserError for a bundle that cannot be served. The first rows are slow (imports); they are none of a caller's."""
        from core.atomic_files import read_json
        from core.fields.reader import field_cache
        from serving.bundle.bundle import STATISTICS
        from serving.bundle.predictor import Predictor

        self._clear_fields = field_cache.clear
        self._predictor = Predictor(folder, device)
        self._learnt: list[str] = read_json(self._predictor.bundle.path(STATISTICS)).get("learnt", [])
        if any(not member.light for member in self._predictor.facts.members):
            import torch

            torch.set_num_threads(threads)
        self.compute(WorkerBatch([_WARM_UP_TEXT], [""], None))

    def compute(self, batch: WorkerBatch) -> list[RowAnswer] | Failure:
        """The answers to the batch's rows, in order. An unexpected error is logged, and a Failure: the process goes on."""
        try:
            return self._compute(batch)
        except Exception as error:  # a fault of the stack itself: the service falls back, the log has its place
            log.exception("a batch of %d rows failed", len(batch.texts))
            return Failure(type(error).__name__)
        finally:
            self._clear_fields()  # other texts come next: what was read of these would only fill the memory

    def _compute(self, batch: WorkerBatch) -> list[RowAnswer]:
        from core.data.catalog import Catalog
        from core.fields.reader import fields_of, labelled_of
        from serving.bundle.predictor import LEVELS

        def column(values: Sequence[str]) -> Any:
            return np.array(list(values), dtype=object)

        folder = Path(batch.folder) if batch.folder else None
        numbers = [str(number) for number in range(len(batch.texts))]
        catalog = Catalog(column(numbers), column(batch.texts), column(batch.images), images=folder)
        answer = self._predictor.predict(catalog)
        fields = fields_of(catalog)
        labelled = labelled_of(catalog) if batch.fields else []
        gave = [tuple(np.array(answer.members)[row].tolist()) for row in answer.answered]
        shared = {names: names for names in gave}  # or each answer that is remembered would have its own
        return [
            RowAnswer(
                float(answer.prices[row]),
                float(answer.low[row]),
                float(answer.high[row]),
                shared[gave[row]],
                LEVELS[answer.levels[row]],
                unit=str(fields["unit"].iloc[row]),
                brand=str(fields["brand"].iloc[row]),
                read=self._read_of(fields.iloc[row].to_dict(), labelled[row]) if batch.fields else None,
            )
            for row in range(len(catalog))
        ]

    def _read_of(self, fields: Mapping[Any, Any], labelled: Mapping[str, str]) -> dict[str, Any]:
        """The fields that rules read, and below them the lines that were learnt as fields, by their labels."""
        learnt = {label: labelled[label] for label in self._learnt if label in labelled}
        return {**learnt, **stated_fields(fields)}


def stated_fields(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a row of `core.fields.read_fields` that its text has: no empty words, no NaN, no counts of nothing."""
    numbers = (int, float, np.integer, np.floating)
    return {
        str(name): float(value) if isinstance(value, numbers) else str(value)
        for name, value in row.items()
        if value and value == value
    }
