"""Checkpoint mirror: copies training states to --storage-path, fetches them on another node, removes them at the end.

<url>/<job's name>/<kind>-<fold>/state-<steps>/{state-<steps>.*, best.*}
<url>/<job's name>/<kind>-<fold>/state-<steps>/whole.json     written last: the files' sizes

A thread copies each new state; training never waits for it. `fsspec` knows the protocols: a folder, file://, s3://, gs:// and
others whose library is installed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec

from core.errors import FailureCode, UserError
from experiments.common.jobs import Job, JobOutcome, RunCallback, StopReason

log = logging.getLogger(__name__)

_WHOLE = "whole.json"
_STATE = re.compile(r"state-(\d{1,18})")
_FILES = re.compile(r"(?:state-\d{1,18}|best)\.(?:json|safetensors)")
_POLL_SECONDS = 1.0
"""Between checks for a new state. A training writes one a minute."""


@dataclass(frozen=True)
class CheckpointMirror:
    """Folder or URL for training states. url: anything that fsspec takes."""

    url: str

    @property
    def _place(self) -> tuple[Any, str]:
        """(file system, path). Raises UserError for a protocol that is unknown or whose library is not installed."""
        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise UserError(
                f"--storage-path {self.url}: {error}",
                code="storage-path-invalid",
                hint="give a folder or a URL whose protocol is installed (s3:// needs `pip install s3fs`, gs:// gcsfs)",
            ) from None
        return system, str(path).rstrip("/")

    def check(self) -> None:
        """Writes and removes a probe. Raises UserError for a place that cannot be written: before anything is trained."""
        system, path = self._place
        probe = f"{path}/.write-probe-{uuid4().hex}"
        try:
            system.makedirs(path, exist_ok=True)
            system.pipe_file(probe, b"x")
            system.rm_file(probe)
        except Exception as error:  # noqa: BLE001  # every protocol's library has errors of its own
            raise UserError(
                f"--storage-path {self.url} cannot be written: {type(error).__name__}: {error}",
                code="storage-path-unwritable",
                hint="check the address and that this machine and the nodes may write there, or leave --storage-path out",
            ) from None

    def folder(self, job: Job) -> str:
        return f"{self._place[1]}/{job.folder}"

    def store(self, job: Job, number: int, files: list[Path]) -> None:
        """Copies a state, then removes older ones. It counts once its last file is written."""
        system, target = self._place[0], f"{self.folder(job)}/state-{number}"
        system.makedirs(target, exist_ok=True)
        for file in files:
            system.put_file(str(file), f"{target}/{file.name}")
        sizes = {file.name: file.stat().st_size for file in files}
        system.pipe_file(f"{target}/{_WHOLE}", json.dumps(sizes).encode())
        for older in self._numbers(job):
            if older < number:
                system.rm(f"{self.folder(job)}/state-{older}", recursive=True)

    def fetch(self, job: Job, folder: Path) -> bool:
        """Brings the newest whole state of the job into `folder`, its record last; False if there is none."""
        system = self._place[0]
        for number in reversed(self._numbers(job)):
            source = f"{self.folder(job)}/state-{number}"
            if not system.exists(f"{source}/{_WHOLE}"):
                continue  # its node died while it was copied
            sizes = {str(name): int(size) for name, size in json.loads(system.cat_file(f"{source}/{_WHOLE}")).items()}
            if not all(_FILES.fullmatch(name) for name in sizes):
                log.warning("%s holds files that no training writes: %s", source, ", ".join(sorted(sizes)))
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for name in sorted(sizes, key=lambda name: (name.endswith(".json"), name.startswith("state"))):
                part = folder / f".{name}.part"
                system.get_file(f"{source}/{name}", str(part))
                if part.stat().st_size != sizes[name]:
                    raise OSError(f"{source}/{name} has {part.stat().st_size} bytes, not {sizes[name]}")
                part.replace(folder / name)
            log.info("went on from %s", source)
            return True
        return False

    def remove(self, job: Job) -> None:
        """Removes every state of a job that has ended. What cannot be removed only costs space: it is logged."""
        system, folder = self._place[0], self.folder(job)
        try:
            if system.exists(folder):
                system.rm(folder, recursive=True)
        except Exception as error:  # noqa: BLE001
            log.warning("%s could not be removed: %s", folder, error)

    def _numbers(self, job: Job) -> list[int]:
        system, folder = self._place[0], self.folder(job)
        system.invalidate_cache()  # other nodes write there too
        if not system.exists(folder):
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in system.ls(folder, detail=False)]
        return sorted(int(match[1]) for name in names if (match := _STATE.fullmatch(name)))


@contextmanager
def mirrored(url: str | None, job: Job, scratch: Path) -> Iterator[None]:
    """Keeps copies of the states that a training writes into `scratch`; where there are none yet, the last copy comes first.

    A copy that fails is a warning in the worker's log, and the next state is another chance: no training dies of its copies.
    """
    if url is None:
        yield
        return
    mirror = CheckpointMirror(url)
    if _newest(scratch) is None:
        try:
            mirror.fetch(job, scratch)
        except Exception as error:  # noqa: BLE001  # every protocol's library has errors of its own
            log.warning("no earlier state of %s: %s: %s", job.label, type(error).__name__, error)
            shutil.rmtree(scratch, ignore_errors=True)
    stop = threading.Event()
    known = _newest(scratch) or 0  # what a training starts with is worth nothing: nothing is learnt yet
    thread = threading.Thread(target=_copy_until, args=(stop, mirror, job, scratch, known), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # at most one copy long


def _copy_until(stop: threading.Event, mirror: CheckpointMirror, job: Job, scratch: Path, copied: int) -> None:
    while not stop.wait(_POLL_SECONDS):
        number = _newest(scratch)
        if number is None or number <= copied:
            continue
        try:
            with _pinned(scratch, number) as files:
                mirror.store(job, number, files)
        except Exception as error:  # noqa: BLE001
            log.warning("state %d of %s was not copied to %s: %s", number, job.label, mirror.url, error)
        copied = number


@contextmanager
def _pinned(scratch: Path, number: int) -> Iterator[list[Path]]:
    """The files of a state under names that the training does not touch: it removes and replaces its own as it goes on."""
    folder = scratch / f".copying-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        for name in (f"state-{number}.safetensors", f"state-{number}.json", "best.safetensors", "best.json"):
            if (scratch / name).exists():
                os.link(scratch / name, folder / name)
        yield sorted(folder.iterdir())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _newest(scratch: Path) -> int | None:
    numbers = [int(match[1]) for path in scratch.glob("state-*.json") if (match := _STATE.fullmatch(path.stem))]
    return max(numbers, default=None)


class CheckpointCleanup(RunCallback):
    """Callback that removes checkpoints once their training will not go on."""

    def __init__(self, remove: Sequence[Callable[[Job], None]]) -> None:
        self._remove = remove
        self._stopped: list[Job] = []

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        self._end(job)

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        self._stopped.append(job)
        self._end(job)

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        if code != FailureCode.INTERRUPTED:
            self._end(job)

    def _end(self, job: Job) -> None:
        for remove in self._remove:
            remove(job)

    def settle(self) -> None:
        """Once nothing runs: a training that was stopped from outside may have been copying its state at that moment."""
        for job in self._stopped:
            self._end(job)
