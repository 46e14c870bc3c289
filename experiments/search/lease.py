"""Study lease: one driver per study, renewed every few seconds in the study's attributes.

A workspace is locked by its file system; two workspaces, or two machines, can meet on one study in PostgreSQL or in a journal.
Each would take the other's running trials for those of a dead driver.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import BaseStorage

from core.console import say, warn
from core.errors import UserError
from experiments.search.storage import StorageError, cause

KEY = "driver"
"""The study's user attribute that names its driver; None where it has none."""
BEAT = 5.0
"""Seconds between two signs of life."""
EXPIRY = 30.0
"""Seconds without a sign of life after which a driver of another machine is taken for dead."""
SETTLE = 1.0
"""Seconds between writing and reading back: longer than a write takes."""


@dataclass(frozen=True)
class Driver:
    """Process that drives a study. machine: the running system and its space of process ids. born: when the process began.

    beat: counts signs of life. Whether it changes is what is looked at, never a clock of another machine. time: seconds, of
    the last sign, for people.
    """

    host: str
    pid: int
    machine: str
    born: str
    token: str
    beat: int = 0
    time: float = 0.0

    @property
    def is_here(self) -> bool:
        return self.machine == _machine()

    @property
    def is_dead(self) -> bool:
        """True where this machine knows that the process has ended; of another machine's nothing is known."""
        return self.is_here and _born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def driver_of(attributes: dict[str, Any]) -> Driver | None:
    """Driver named in the user attributes of a study, if any; it may be dead."""
    return Driver(**attributes[KEY]) if attributes.get(KEY) else None


@cache
def _machine() -> str:
    """Differs between machines, restarts, and containers, which have process ids of their own."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and space.exists():
        return f"{boot.read_text().strip()} {space.readlink()}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _born(pid: int) -> str | None:
    """Start time of a process, from the kernel, which no correction of the clock changes; None for one that has ended."""
    if not Path("/proc/self/stat").exists():
        return f"{psutil.Process(pid).create_time():.0f}" if psutil.pid_exists(pid) else None
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else numbers[18]


@contextmanager
def lease(storage: BaseStorage, studies: Sequence[str], *, settle: float = SETTLE) -> Iterator[Lease]:
    """Makes this process the studies' driver while the block runs. Studies that are not there are made.

    settle: 0 where nobody else can come to the storage at the same time. Raises UserError for a study that has a driver.
    """
    held = Lease(storage)
    try:
        for study in studies:
            held.take(study, settle)
        held.thread.start()
        yield held
    except StorageError:  # all patience is spent: releasing would wait once more
        held.studies.clear()
        raise
    finally:
        held.release()


class Lease:
    """Makes this process the only driver of `studies`, by id; `thread` shows signs of life. `check` is for any thread."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._token = secrets.token_hex(8)
        self._me = Driver(socket.gethostname(), os.getpid(), _machine(), _born(os.getpid()) or "", self._token)
        self.studies: dict[int, str] = {}
        self._beat, self._lost, self._lock = 0, "", threading.Lock()
        self._renewed = time.monotonic(), time.time()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def take(self, study: str, settle: float = SETTLE) -> None:
        """Raises UserError where another driver shows signs of life; waits for those of one whose fate is unknown."""
        number = self._find(study)
        other = self._other(number)
        if other is not None and not other.is_dead:
            self._watch(number, study, other)
        self._write(number)
        time.sleep(settle)
        winner = self._other(number)
        if winner is not None:
            raise _refusal(study, winner, "has just started")
        self.studies[number] = study

    def _find(self, study: str) -> int:
        with suppress(KeyError):
            return self._storage.get_study_id_from_name(study)
        return optuna.create_study(study_name=study, storage=self._storage, load_if_exists=True)._study_id

    def _other(self, number: int) -> Driver | None:
        found = driver_of(self._storage.get_study_user_attrs(number))
        return None if found is None or found.token == self._token else found

    def _watch(self, number: int, study: str, other: Driver) -> None:
        """Waits until the driver is dead for certain; a sign of life ends the wait with a UserError.

        Looks are counted and not seconds: while a database is away, nobody can show signs of life in it.
        """
        if other.is_here:
            raise _refusal(study, other, f"gave its last sign of life {max(0.0, time.time() - other.time):.0f} s ago")
        waiting = f"waiting up to {EXPIRY:.0f} s for a sign of life from it"
        say(f"{study} was last driven by {other}; {waiting}", style="yellow")
        for look in range(int(EXPIRY)):
            time.sleep(1.0)
            found = self._other(number)
            if found is None:
                return
            if (found.token, found.beat) != (other.token, other.beat):
                raise _refusal(study, found, f"gave a sign of life after {look + 1} s")
        say(f"{study}: no sign of life from {other}; it is taken over", style="yellow")

    def _write(self, number: int) -> None:
        self._beat += 1
        mine = {**asdict(self._me), "beat": self._beat, "time": time.time()}
        self._storage.set_study_user_attr(number, KEY, mine)

    def check(self) -> None:
        """Raises UserError once another driver has taken a study over. To be called before anything is written."""
        awake = max(time.monotonic() - self._renewed[0], time.time() - self._renewed[1])
        if awake > EXPIRY / 2 and not self._lost:  # this process or its machine slept, long enough to be taken for dead
            self._renew()
        if self._lost:
            raise UserError(
                self._lost,
                code="study-lease-lost",
                hint="let it work, or stop it and run the same command again: it goes on from there",
            )

    def _renew(self) -> None:
        with self._lock:
            for number, study in list(self.studies.items()):
                other = self._other(number)
                if other is not None:
                    self._lost = f"{study} is driven by {other} now: this sweep was taken for dead, and ends"
                    return
                self._write(number)
            self._renewed = time.monotonic(), time.time()

    def _run(self) -> None:
        while not self._stop.wait(BEAT) and not self._lost:
            try:
                self._renew()
            except (*StorageError, OSError) as error:
                # The driver meets the same error with its next write, and ends the sweep with it if it lasts.
                warn(f"no sign of life could be written to the study's storage: {cause(error)}")

    def release(self) -> None:
        """The studies have no driver any more, those apart that another one has taken over."""
        self._stop.set()
        if self.studies and self.thread.is_alive():
            self.thread.join()
        try:
            for number in self.studies:
                if self._other(number) is None:
                    self._storage.set_study_user_attr(number, KEY, None)
        except (*StorageError, OSError) as error:
            warn(f"the study's storage was not told that this sweep has ended: {cause(error)}")


def _refusal(study: str, driver: Driver, sign: str) -> UserError:
    return UserError(
        f"{study} is being driven by {driver}, which {sign}",
        code="study-driven",
        hint=f"wait for it, or stop it (Ctrl-C, or `kill {driver.pid}` on {driver.host}) and run the same command again; "
        "another --seed or --fresh makes a study of its own",
    )
