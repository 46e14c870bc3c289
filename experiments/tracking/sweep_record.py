"""`sweep.json`: the last sweep's command, options, times and end; and lookup of a workspace's studies."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from core.atomic_files import read_json, write_json
from core.errors import UserError, suggestion
from experiments.common.jobs import SweepStatus
from experiments.search.storage import StorageError, open_storage, without_password
from experiments.search.trial_store import find_study, short_name

RECORD = "sweep.json"


@dataclass(frozen=True)
class Record:
    """Contents of `sweep.json`. start, end, ended: seconds since 1970; end: when it must be over.

    studies: their names by architecture. trials, members: wanted, by architecture; None: as many as the time allows.
    command: what was typed. storage, tracking: what was given; empty: the workspace's own files. All without passwords.
    """

    pid: int
    host: str
    start: float
    end: float | None
    folds: int
    storage: str
    tracking: str
    studies: dict[str, str]
    trials: dict[str, int | None]
    members: int | None
    command: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    state: str = SweepStatus.RUNNING
    ended: float | None = None
    error: str = ""


def here() -> dict[str, Any]:
    """Process id and host of this process, as in a record."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def read_record(workspace: Path) -> Record | None:
    """The last sweep's record; None if there is none, or one that another version wrote."""
    path = workspace / RECORD
    if not path.exists():
        return None
    found: Mapping[str, Any] = read_json(path)
    try:
        return Record(**found)
    except TypeError:
        return None


@contextmanager
def recorded(workspace: Path, record: Record) -> Iterator[list[SweepStatus]]:
    """Writes the record, and when the block is left how it ended: the last state in the list, or `failed` after an error."""
    path = workspace / RECORD
    write_json(path, asdict(record))
    states = [SweepStatus.FINISHED]
    try:
        yield states
    except BaseException as error:
        state = SweepStatus.INTERRUPTED if isinstance(error, KeyboardInterrupt) else SweepStatus.FAILED
        headline = "" if state == SweepStatus.INTERRUPTED else str(error).partition("\n")[0]
        write_json(path, asdict(replace(record, ended=time.time(), state=state, error=headline)))
        raise
    write_json(path, asdict(replace(record, ended=time.time(), state=states[-1])))


def open_studies(workspace: Path, given: str | None) -> BaseStorage:
    """The storage that was given, or the one of the workspace's last sweep. Raises UserError where there is none."""
    if given is not None:
        return open_storage(given)
    record = read_record(workspace)
    if record is not None and record.storage:
        if "***" in record.storage:
            raise UserError(
                f"the last sweep in {workspace} used {record.storage}, whose password is written nowhere",
                code="storage-password-unknown",
                hint="give the URL with --storage",
            )
        return open_storage(record.storage)
    path = workspace / "optuna.db"
    if not path.exists():
        raise UserError(
            f"{workspace} has no study: there is no {path}",
            code="study-none",
            hint="run `python -m experiments.sweep` first, or name another folder with --workspace, or give --storage",
        )
    return open_storage(f"sqlite:///{path}")


@contextmanager
def reading(given: str | None) -> Iterator[None]:
    """Turns the errors of a database that does not answer into a UserError."""
    try:
        yield
    except StorageError as error:
        where = f"the storage {without_password(given)}" if given else "the study's storage"
        raise UserError(
            f"{where} cannot be read: {without_password(str(error).partition(chr(10))[0])}",
            code="storage-unreadable",
            hint="see that its server runs and its file is whole, then try again",
        ) from error


def study_names(storage: BaseStorage, record: Record | None) -> dict[str, str]:
    """By architecture, the studies of the last sweep; without a record, the newest of each."""
    names = sorted(optuna.get_all_study_names(storage), key=_age)
    found = {short_name(name).partition("-")[0]: name for name in names}
    if record is not None:
        known = set(names)
        found = {architecture: name for architecture, name in record.studies.items() if name in known} or found
    return found


def _age(name: str) -> tuple[str, int]:
    """`text-1a2b3c4d-run2` is younger than `text-1a2b3c4d`."""
    base, _, run = short_name(name).partition("-run")
    return base, int(run) if run.isdigit() else 1


def load(storage: BaseStorage, name: str) -> optuna.Study:
    """Raises UserError, with the nearest name, for a study that is not there."""
    known = optuna.get_all_study_names(storage)
    found = find_study(name, known)
    if found is None:
        raise UserError(f"no study '{name}'", code="study-unknown", hint=suggestion(name, map(short_name, known)))
    return optuna.load_study(study_name=found, storage=storage)
