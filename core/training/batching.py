"""Batch loader: rows to network inputs, made by worker processes where it pays, with recovery of lost workers."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from core.arrays import RowIndices
from core.atomic_files import digest, read_json, write_json
from core.data.catalog import Strings
from core.errors import UserError
from core.inputs.tokens import micro_batches
from core.nn.precision import Settled
from core.protocols.architecture import ALONE, Context, Group

_FILE = "passes.json"
_ON_CPU = 2_048
"""Enough for full speed, and the activations of MiniLM's layers still fit the processor's caches: 4,096 were a tenth slower."""
_ON_GPU = 65_536


@dataclass(frozen=True)
class MicroBatchSize:
    """Most tokens of one forward pass, and the file that remembers a smaller number.

    tokens: padding included, unless one row alone has more. path, key: the file and the entry in it.
    """

    tokens: int
    path: Path | None = None
    key: str = ""

    @classmethod
    def by_device(cls, device: str, asked: int | None) -> MicroBatchSize:
        """The size that was asked for, else the device's default."""
        return cls(asked or (_ON_CPU if device == "cpu" else _ON_GPU))

    @classmethod
    def remembered(cls, context: Context, what: str, precision: Settled, asked: int | None) -> MicroBatchSize:
        """As `by_device`, or the smaller size that an earlier training of such a network (`what`) found to fit this device."""
        path, key = context.cache.folder / _FILE, f"{what}, {precision}, {_device_name(context.device)}"
        passes = cls.by_device(context.device, asked)
        known = _read(path).get(key, passes.tokens) if asked is None else passes.tokens
        return cls(min(known, passes.tokens), path, key)

    def halved(self, lengths: NDArray[np.int64]) -> MicroBatchSize:
        """Half the size, remembered. Raises UserError where rows of these lengths (n,) already go through one at a time."""
        if self.tokens < 2 * lengths.min():
            raise UserError(
                f"out of memory with a single row of {lengths.max()} tokens in one pass",
                code="out-of-memory-single-row",
                hint="lower max_length, choose a smaller encoder, freeze it (--set freeze_text=true) or use precision=bf16",
            )
        half = replace(self, tokens=self.tokens // 2)
        if self.path is not None:
            write_json(self.path, {**_read(self.path), self.key: half.tokens})
        return half


def _read(path: Path) -> dict[str, int]:
    found: dict[str, int] = read_json(path) if path.exists() else {}
    return found


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


log = logging.getLogger(__name__)

_SILENT = "DataLoader timed out"
_LOOK = 2.0
"""Seconds between looks at whether the workers still live."""
_FAILURES = 3
"""After so many lost workers the training makes its batches itself: slower, but it ends."""


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of one forward pass.

    inputs: keyword arguments of the network. targets: (B,) log1p prices, None for rows to be predicted.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor | None

    def to(self, device: str) -> Batch:
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(inputs, None if self.targets is None else self.targets.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in memory from which a GPU copies while the processor goes on (called by the loader)."""
        inputs = {name: tensor.pin_memory() for name, tensor in self.inputs.items()}
        return Batch(inputs, None if self.targets is None else self.targets.pin_memory())


class Examples(Protocol):
    """Rows as a network takes them. ids: (n,) sample ids. prices: (n,) or None. lengths: (n,) tokens per row."""

    @property
    def ids(self) -> Strings: ...

    @property
    def prices(self) -> NDArray[np.float64] | None: ...

    @property
    def lengths(self) -> NDArray[np.int64]: ...

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        """These rows, in this order; a generator asks for training's random changes."""


@dataclass(frozen=True)
class LoaderSettings:
    """Settings of the batch loader. workers: processes; 0: by the training itself. prefetch: batches that each makes ahead.

    pinned: in page-locked memory. timeout: seconds to wait for a worker before it counts as lost.
    """

    workers: int
    prefetch: int
    pinned: bool
    timeout: float


def loader_settings(
    device: str, threads: int, workers: int | None, prefetch: int | None, timeout: float
) -> LoaderSettings:
    """Loader settings, by device where the user named none: a processor has no cores to spare for workers."""
    cuda = device.startswith("cuda")
    if workers is None:
        workers = max(1, min(4, threads)) if cuda else 0
    return LoaderSettings(workers, prefetch or (4 if cuda else 2), cuda, timeout)


@dataclass(frozen=True)
class TrainingStep:
    """Plan of one optimizer step. number: from 0, over all epochs. rows: of the batch. parts: of these, the rows of each pass
    through this process's network."""

    number: int
    rows: RowIndices
    parts: tuple[RowIndices, ...]


def plan(
    batches: Sequence[RowIndices], lengths: NDArray[np.int64], tokens: int, first: int, group: Group = ALONE
) -> list[TrainingStep]:
    """Steps numbered from `first`, one per batch, with this process's share of it in parts of at most `tokens` tokens."""
    return [
        TrainingStep(first + place, rows, tuple(micro_batches(group.share_of(rows), lengths, tokens)))
        for place, rows in enumerate(batches)
    ]


def generator_at(seed: int, *place: object) -> torch.Generator:
    """Random generator seeded by the place in the training alone, so that a resumed training draws the same."""
    return torch.Generator().manual_seed(int(digest(repr((seed, *place)))[:15], 16))


class BatchLoader:
    """Loader of the batches of each step, in order. Keeps its worker processes from one epoch to the next.

    A worker that dies, or that gives nothing for `timeout` seconds, is replaced and the step made again: batches depend on
    their place alone. After three, the training makes its batches itself. Both are logged.
    """

    def __init__(self, examples: Examples, loading: LoaderSettings, seed: int, rank: int = 0) -> None:
        """seed: of training's random changes. rank: of this process in its group; no two change their rows alike."""
        self._source = _StepDataset(examples, seed, rank)
        self._loading = loading
        self._sampler = _StepSampler()
        self._loader: DataLoader[list[Batch]] | None = None
        self.lost = 0

    def __call__(self, steps: Sequence[TrainingStep]) -> Iterator[tuple[TrainingStep, list[Batch]]]:
        place = 0
        while place < len(steps) and self._loading.workers and self.lost < _FAILURES:
            self._sampler.steps = steps[place:]
            try:
                for batches in self._worker_batches():
                    yield steps[place], batches
                    place += 1
            except _LostWorkerError as error:
                self._replace(str(error))
        for step in steps[place:]:
            yield step, self._source[step]

    def _worker_batches(self) -> Iterator[list[Batch]]:
        """Batches that the workers make of the sampled steps. Raises _LostWorkerError for a dead or silent worker."""
        with _keeping_signal_handler():
            waiting = iter(self._workers())
        heard = time.monotonic()
        while True:
            try:
                batches = next(waiting, None)
            except (RuntimeError, OSError, EOFError) as error:
                if not _is_lost_worker(error):
                    raise
                if _SILENT in str(error) and time.monotonic() - heard < self._loading.timeout:
                    continue
                raise _LostWorkerError(str(error).partition("\n")[0]) from None
            if batches is None:
                return
            yield batches
            heard = time.monotonic()

    def _workers(self) -> DataLoader[list[Batch]]:
        if self._loader is None:
            how = self._loading
            self._loader = DataLoader(
                self._source,
                batch_size=None,
                sampler=self._sampler,
                num_workers=how.workers,
                prefetch_factor=how.prefetch,
                pin_memory=how.pinned,
                timeout=min(how.timeout, _LOOK),
                persistent_workers=True,
            )
        return self._loader

    def _replace(self, why: str) -> None:
        self._loader = None
        self.lost += 1
        then = "it is replaced" if self.lost < _FAILURES else "batches are made without workers from now on"
        log.warning("a worker that makes batches was lost (%s); %s", why, then)


class _LostWorkerError(Exception):
    """Raised when a worker died or fell silent."""


def _is_lost_worker(error: Exception) -> bool:
    """True if the loader's error is about its worker; one that the rows caused carries that worker's traceback."""
    text = str(error)
    if "in DataLoader worker process" in text:
        return False
    # A worker that dies while a batch is handed over breaks the connection through which its memory is passed.
    return isinstance(error, (OSError, EOFError)) or _SILENT in text or "exited unexpectedly" in text


@contextmanager
def _keeping_signal_handler() -> Iterator[None]:
    """Keeps the process's answer to SIGCHLD: the loader's would raise at a worker's death wherever the training just is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


class _StepDataset(Dataset[list[Batch]]):
    def __init__(self, examples: Examples, seed: int, rank: int) -> None:
        self.examples, self.seed, self.rank = examples, seed, (rank,) if rank else ()

    def __getitem__(self, step: TrainingStep) -> list[Batch]:
        return [
            self.examples.batch(rows, generator_at(self.seed, "step", step.number, part, *self.rank))
            for part, rows in enumerate(step.parts)
        ]


class _StepSampler(Sampler[TrainingStep]):
    """Sampler of the steps still to be made: changes from epoch to epoch while the workers stay."""

    def __init__(self) -> None:
        self.steps: Sequence[TrainingStep] = ()

    def __iter__(self) -> Iterator[TrainingStep]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)
