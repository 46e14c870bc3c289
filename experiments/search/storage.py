"""Optuna storages: SQLite, PostgreSQL or a journal file, with retries while one is locked or restarts.

A database that is locked or restarts is waited for: every call is made again until it answers. A full disk is not waited for.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
import psycopg
import sqlalchemy
import tenacity
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.console import warn
from core.errors import UserError

PATIENCE = 150.0
"""Seconds that a locked or absent database is waited for in the middle of a sweep."""
OPENING = 10.0
"""Seconds that one is waited for at the start: there the address may be wrong."""
BUSY = 5.0
"""Seconds that SQLite itself waits for a lock; then the wait is told, and Ctrl-C is heard."""

StorageError = (optuna.exceptions.StorageInternalError, SQLAlchemyError)
"""What is raised when a study cannot be read or written, after all patience."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
# "Falling back to a slower alternative", with pages of SQL, whenever a connection is lost: the wait is told by us, in a line.
logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)

R = TypeVar("R")
_SQLITE_HEADER = b"SQLite format 3\x00"
_ESCAPES = "in a password @ : / % are written %40 %3A %2F %25"
_LASTING = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "failed to resolve host",
)
"""What PostgreSQL's client says, without a code, when it connects in vain and always will."""
_RACED = ("already exists", "duplicate key", "UNIQUE constraint failed")
"""What two processes that make the same tables at the same time hear: the second try finds them made."""


def without_password(url: str) -> str:
    """A storage URL that may be printed."""
    hidden = re.sub(r"(?<=://)([^/:@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&])(\w*password)=[^&]*", r"\1=***", hidden)


def open_storage(text: str) -> BaseStorage:
    """The storage behind an SQLAlchemy URL, or behind the path of a journal file: what `optuna-dashboard` takes as well.

    Safe for use from several threads. Raises UserError for one that cannot be opened.
    """
    if "://" not in text:
        return _open_journal(Path(text))
    if text.count("@") > 1:  # the database's library would print the password's end as part of a host's name
        raise UserError(
            f"the study's storage {without_password(text)} has more than one @", code="storage-two-ats", hint=_ESCAPES
        )
    try:
        return _open_database(text)
    except (*StorageError, ImportError, ValueError, RuntimeError, OSError) as error:
        shown = without_password(text)
        raise UserError(
            f"the study's storage {shown} cannot be opened: {cause(error)}",
            code="storage-unreachable",
            hint=_cure(shown, cause(error)),
        ) from None


def cause(error: BaseException) -> str:
    """The first line of the error that began the chain, `database or disk is full`, or that error's type. Has no password."""
    *_, first = _chain(error)
    return without_password(str(first).partition("\n")[0]) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cure(shown: str, what: str) -> str:
    if "authentication failed" in what or "no password supplied" in what:
        return f"check user and password in --storage; {_ESCAPES}"
    if "does not exist" in what:
        return "make the database and its user first: createuser NAME; createdb --owner NAME DATABASE"
    if shown.startswith("postgres"):
        return "see that the server runs and that --storage names its host, port, user and database"
    if "storage upgrade" in what:
        return f"optuna storage upgrade --storage {shown}"
    return "--storage takes sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or the path of a journal file"


def _open_database(url: str) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    if sqlite:
        file = sqlalchemy.make_url(url).database
        if not file or file == ":memory:":
            raise UserError(
                f"{url} names no file: a sweep that was stopped could not go on",
                code="storage-no-file",
                hint="sqlite:///FILE",
            )
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        kwargs: dict[str, Any] = {"connect_args": {"timeout": BUSY}}
    else:
        # A connection that broke while nobody used it is replaced before it is used.
        kwargs = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10} if url.startswith("postgres") else {}}
    opening = _Wait(without_password(url), OPENING, lambda error: passes(error) or _has_raced(error))
    # Optuna fills {SCHEMA_VERSION} into URLs; a brace in a password is only a brace.
    storage = opening(lambda: PatientStorage(re.sub(r"([{}])", r"\1\1", url), engine_kwargs=kwargs))
    if sqlite:
        opening(lambda: _write_ahead(storage.engine))
    return storage


def _write_ahead(engine: sqlalchemy.Engine) -> None:
    """Readers such as the dashboard do not block the sweep, nor it them. Safe against kill -9 of any process.

    After a power cut the last trials may be missing from the study; they are found on disk again and answered.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL").close()

    sqlalchemy.event.listen(engine, "connect", on_connect)
    engine.dispose()


def _has_raced(error: BaseException) -> bool:
    return any(words in str(each) for each in _chain(error) for words in _RACED)


_PASSING_STATES = ("08", "40", "57P", "53300", "55P03")
"""PostgreSQL's codes of lost connections, conflicts, restarts, too many clients and locks."""


def passes(error: BaseException) -> bool:
    """True for a failure that ends by itself: a lock, a lost connection, a server that restarts."""
    for each in _chain(error):
        if isinstance(each, sqlite3.OperationalError):
            return each.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if isinstance(each, psycopg.Error):
            if each.sqlstate is not None:
                return each.sqlstate.startswith(_PASSING_STATES)
            # Without a code no server answered, or the connection broke in the middle of a call.
            lost = isinstance(each, psycopg.OperationalError | psycopg.InterfaceError)
            return lost and not any(words in str(each) for words in _LASTING)
        if isinstance(each, DBAPIError) and each.connection_invalidated:
            return True
    return False


def _patient(method: Callable[..., Any]) -> Any:
    """The method, made again while its failure is one that passes."""

    @functools.wraps(method)
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.patiently(functools.partial(method, self, *args, **kwargs))

    return call


class PatientStorage(RDBStorage):
    """Optuna's database storage, which outlives a restart of the database and another process's lock.

    Every call that Optuna makes (`_CachedStorage`, which it puts around this one, calls some private ones) is repeated for
    up to PATIENCE seconds. A call may have been carried out although its answer was lost: writes are such that a
    second one changes nothing, but for a new trial, which then is there twice, one of them RUNNING: `Study` ends it.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None) -> None:
        self._local = threading.local()
        super().__init__(url, engine_kwargs)

    def patiently(self, call: Callable[[], R]) -> R:
        """The result of `call`, which is repeated while it fails as a database does that is locked or restarts."""
        if getattr(self._local, "waiting", False):  # within another call, which is repeated as a whole
            return call()
        self._local.waiting = True
        try:
            return _Wait(without_password(self.url), PATIENCE, passes)(call)
        finally:
            self._local.waiting = False

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a second try that finds the trial in the wanted state has succeeded."""
        tries = 0

        def call() -> bool:
            nonlocal tries
            tries += 1
            try:
                changed = RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                if tries > 1 and self.get_trial(trial_id).state == state:
                    return True
                raise
            return changed or (tries > 1 and self.get_trial(trial_id).state == state)

        return self.patiently(call)


for _name in (
    "create_new_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs", "get_study_system_attrs",
    "get_all_studies", "delete_study", "get_trial_id_from_study_id_trial_number", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "get_trial", "get_all_trials", "_create_new_trial",
    "_set_trial_param", "_get_trials", "_get_best_trial_id",
):  # fmt: skip
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))


class _Wait:
    """Repeats calls while their failures are such as pass, for `limit` seconds; the wait is told once, and its end."""

    def __init__(self, what: str, limit: float, passing: Callable[[BaseException], bool]) -> None:
        self._what, self._limit, self._told = what, limit, False
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=3.0),
            stop=tenacity.stop_after_delay(limit),
            before_sleep=self._tell,
            reraise=True,
        )

    def __call__(self, call: Callable[[], R]) -> R:
        began = time.monotonic()
        result = self._retrying(call)
        if self._told:
            warn(f"the study's storage answers again, after {time.monotonic() - began:.0f} s")
        return result

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if not self._told and error is not None and not _has_raced(error):
            self._told = True
            where = f"{self._what} ({cause(error)})"
            warn(f"waiting for the study's storage {where}, up to {self._limit:.0f} s; nothing is lost")


class _Journal(JournalFileBackend):
    """Optuna's journal file, which outlives a write that was cut short: half a line makes the whole file unreadable."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        with get_lock_file(self._lock):
            self._whole()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """All of them, on the disk when it returns, or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with get_lock_file(self._lock):
            end = self._whole()
            try:
                with self._path.open("ab") as file:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self._path, end)
                raise

    def _whole(self) -> int:
        """Cuts off an unfinished last line, whose writer was never told of success; the file's size. With the lock held."""
        with self._path.open("rb+") as file:
            size = end = file.seek(0, os.SEEK_END)
            step = 1  # nearly always the last byte ends a line
            while end:
                start = max(0, end - step)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end, step = start, 65_536
            if end < size:
                file.truncate(end)
            return end


def _open_journal(path: Path) -> JournalStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER:
                    raise UserError(
                        f"{path} is an SQLite file, not a journal",
                        code="journal-is-sqlite",
                        hint=f"--storage sqlite:///{path}",
                    )
        return JournalStorage(_Journal(path))
    except OSError as error:
        raise UserError(
            f"the study's journal {path} cannot be opened: {error.strerror or errno.errorcode.get(error.errno or 0)}",
            code="journal-unreadable",
            hint="--storage takes the path of a file in a folder that can be written",
        ) from None
    except (ValueError, KeyError, TypeError) as error:  # what Optuna's reader makes of another kind of file
        raise UserError(
            f"{path} is not a journal of Optuna's: {cause(error)}",
            code="journal-invalid",
            hint="name a new file with --storage; a database is named by its URL, sqlite:///FILE",
        ) from None
