"""`sweep.json`: what the last sweep of a workspace was asked, when, by whom, and how it ended. For people and `status` alone."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from core.atomic_files import read_json, write_json

RECORD = "sweep.json"
RUNNING, FINISHED, INTERRUPTED, FAILED = "running", "finished", "interrupted", "failed"


@dataclass(frozen=True)
class Record:
    """state: `running` also of a driver that was killed. start, end, ended: seconds since 1970; end: when it must be over.

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
    state: str = RUNNING
    ended: float | None = None
    error: str = ""


def here() -> dict[str, Any]:
    """This process, as a record names it."""
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
def recorded(workspace: Path, record: Record) -> Iterator[list[str]]:
    """Writes the record, and when the block is left how it ended: the last state in the list, or `failed` after an error."""
    path = workspace / RECORD
    write_json(path, asdict(record))
    states: list[str] = [FINISHED]
    try:
        yield states
    except BaseException as error:
        state = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        headline = "" if state == INTERRUPTED else str(error).partition("\n")[0]
        write_json(path, asdict(replace(record, ended=time.time(), state=state, error=headline)))
        raise
    write_json(path, asdict(replace(record, ended=time.time(), state=states[-1])))
