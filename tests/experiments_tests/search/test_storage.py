"""Storages: three kinds keep one contract; locks, restarts and half-written lines lose nothing; passwords are not shown."""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import _CachedStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from optuna_dashboard._storage_url import get_storage

from core.errors import UserError
from experiments.search.storage import PatientStorage, StorageError, cause, open_storage, without_password
from tests.errors import refused
from tests.experiments_tests import postgres
from tests.experiments_tests.waiting import locked
from tests.paths import ROOT

SPACE = {"depth": optuna.distributions.CategoricalDistribution((1, 2, 3))}


def study(text: str) -> optuna.Study:
    return optuna.create_study(storage=open_storage(text), study_name="toy", load_if_exists=True)


def finish(search: optuna.Study, count: int) -> None:
    for _ in range(count):
        trial = search.ask(SPACE)
        trial.report(50.0, 1)
        trial.set_user_attr("config", f"depth {trial.params['depth']}")
        search.tell(trial, float(trial.params["depth"]))


def test_what_is_written_is_read_by_another_process_and_by_the_dashboard(storage_text: str) -> None:
    search = study(storage_text)
    finish(search, 2)
    search.tell(search.ask(SPACE), state=TrialState.FAIL)
    search.add_trial(create_trial(state=TrialState.PRUNED, params={"depth": 3}, distributions=SPACE, value=9.0))
    search.set_user_attr("notes", ["a", "b"])
    for storage in (open_storage(storage_text), get_storage(storage_text)):
        again = optuna.load_study(study_name="toy", storage=storage)
        states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
        assert [trial.state for trial in again.trials] == states
        assert [trial.number for trial in again.trials] == [0, 1, 2, 3]
        assert again.trials[0].intermediate_values == {1: 50.0}
        assert again.trials[0].user_attrs["config"] == f"depth {again.trials[0].params['depth']}"
        assert again.user_attrs == {"notes": ["a", "b"]}


def test_a_running_trial_is_there_whole_or_not_at_all(storage_text: str) -> None:
    search = study(storage_text)
    running = create_trial(
        state=TrialState.RUNNING, params={"depth": 2}, distributions=SPACE, user_attrs={"config": "x"}
    )
    search._storage.create_new_trial(search._study_id, running)
    found = optuna.load_study(study_name="toy", storage=open_storage(storage_text)).trials[0]
    assert (found.state, found.params, found.user_attrs) == (TrialState.RUNNING, {"depth": 2}, {"config": "x"})
    search.tell(found.number, 2.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        search._storage.set_trial_user_attr(found._trial_id, "late", 1)


WRITER = """
import sys, optuna
from experiments.search.storage import open_storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
space = {"depth": optuna.distributions.CategoricalDistribution((1, 2, 3))}
search = optuna.create_study(storage=open_storage(sys.argv[1]), study_name="toy", load_if_exists=True)
for _ in range(int(sys.argv[2])):
    trial = search.ask(space)
    trial.report(50.0, 1)
    trial.set_user_attr("writer", sys.argv[3])
    search.tell(trial, float(trial.params["depth"]))
    print(trial.number, flush=True)
"""


@pytest.mark.timeout(300)
def test_eight_concurrent_writers_lose_nothing(storage_text: str) -> None:
    """They even make the tables at the same time."""
    count = 12
    command = [sys.executable, "-c", WRITER, storage_text, str(count)]
    writers = [subprocess.Popen([*command, str(each)], cwd=ROOT, stdout=-1, text=True) for each in range(8)]
    told = sorted(int(number) for writer in writers for number in writer.communicate()[0].split())
    assert [writer.returncode for writer in writers] == [0] * 8
    trials = study(storage_text).trials
    assert [trial.number for trial in trials] == told == list(range(8 * count))
    assert all(trial.state == TrialState.COMPLETE and trial.intermediate_values == {1: 50.0} for trial in trials)
    assert all(trial.value == trial.params["depth"] for trial in trials)
    by_writer = [sum(trial.user_attrs["writer"] == str(writer) for trial in trials) for writer in range(8)]
    assert by_writer == [count] * 8


@pytest.mark.parametrize("seconds", [2.0, pytest.param(40.0, marks=pytest.mark.faults)])
def test_a_locked_sqlite_file_only_delays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: float
) -> None:
    monkeypatch.setattr("experiments.search.storage.BUSY", 0.2)
    path = tmp_path / "study.db"
    search = study(f"sqlite:///{path}")
    finish(search, 1)
    began = time.monotonic()
    with locked(path) as release:
        threading.Timer(seconds, release).start()
        search.set_user_attr("note", "written when the lock is gone")
        assert time.monotonic() - began > seconds
    finish(search, 3)
    assert [trial.state for trial in study(f"sqlite:///{path}").trials] == [TrialState.COMPLETE] * 4
    told = capsys.readouterr().err
    assert told.count("waiting for the study's storage sqlite://") == told.count("answers again") == 1
    assert "database is locked" in told


def test_a_locked_file_is_waited_for_at_the_start_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.search.storage.BUSY", 0.1)
    path = tmp_path / "study.db"
    path.touch()
    with locked(path) as release:
        threading.Timer(1.5, release).start()
        finish(study(f"sqlite:///{path}"), 1)


def test_a_full_disk_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    assert isinstance(storage, PatientStorage)
    search = optuna.create_study(storage=storage, study_name="toy")

    @optuna.storages._rdb.storage.sqlalchemy.event.listens_for(storage.engine, "connect")
    def small(connection: sqlite3.Connection, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    storage.engine.dispose()
    with pytest.raises(StorageError) as caught:
        search.set_user_attr("long", "x" * 2_000_000)
    assert "database or disk is full" in str(caught.value.__cause__)
    assert capsys.readouterr().err == ""


def test_every_call_that_optuna_makes_is_patient() -> None:
    """`_CachedStorage` calls the storage behind it by these names, private ones among them."""
    called = set(re.findall(r"self\._backend\.(\w+)\(", inspect.getsource(_CachedStorage)))
    heartbeats = {"record_heartbeat", "_get_stale_trial_ids", "get_heartbeat_interval"}
    heartbeats |= {"get_heartbeat_stale_trial_callback"}  # Optuna's own, which nobody switches on here
    assert called - heartbeats <= set(vars(PatientStorage))


@pytest.mark.timeout(300)
def test_a_server_that_crashes_in_the_middle_loses_nothing(
    server: postgres.Server, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search, stop = study(database), threading.Event()

    def crash() -> None:
        while not stop.wait(0.7):
            server.restart("immediate")

    crasher = threading.Thread(target=crash)
    crasher.start()
    finished = 0
    began = time.monotonic()
    try:
        while time.monotonic() - began < 8.0:
            finish(search, 1)
            finished += 1
    finally:
        stop.set()
        crasher.join()
    trials = study(database).trials
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == finished > 0
    assert all(trial.intermediate_values == {1: 50.0} and "config" in trial.user_attrs for trial in complete)
    assert "waiting for the study's storage" in capsys.readouterr().err


def test_a_server_that_is_away_for_seconds_is_waited_for(server: postgres.Server, database: str) -> None:
    search = study(database)
    server.stop("immediate")
    starter = threading.Timer(3.0, server.start)
    starter.start()
    finish(search, 2)
    starter.join()
    assert [trial.state for trial in study(database).trials] == [TrialState.COMPLETE] * 2


def test_a_commit_whose_answer_was_lost_is_a_success(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the commit: the second try finds the trial ended as it was wanted."""
    storage = open_storage(database)
    assert isinstance(storage, PatientStorage)
    search = optuna.create_study(storage=storage, study_name="toy")
    trial = search.ask(SPACE)
    search.enqueue_trial({"depth": 2})
    cut_after_commit(storage, monkeypatch)
    search.tell(trial, 1.0)
    cut_after_commit(storage, monkeypatch)
    popped = search.ask(SPACE)
    assert [each.state for each in search.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert popped.number == 1
    search.tell(popped, 2.0)
    with pytest.raises(ValueError, match="COMPLETE"):
        search.tell(0, 2.0)


def cut_after_commit(storage: PatientStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills the server's side of the connection right after the next change of a trial's state was committed."""
    inner = optuna.storages.RDBStorage.set_trial_state_values

    def call(self: PatientStorage, trial_id: int, state: TrialState, values: object = None) -> bool:
        inner(self, trial_id, state, values)  # type: ignore[arg-type]
        monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", inner)
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("the connection was to break")

    monkeypatch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", call)


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    search = study(str(path))
    finish(search, 3)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    again = study(str(path))
    finish(again, 1)
    assert [trial.state for trial in study(str(path)).trials] == [TrialState.COMPLETE] * 4
    path.write_bytes(path.read_bytes() + b'{"op')
    finish(again, 1)
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert len(list(JournalFileBackend(str(path)).read_logs(0))) == len(path.read_text().splitlines())


PASSWORD = "s3cret-word"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("nonsense://nowhere", "Can't load plugin", "postgresql+psycopg://USER@HOST/DATABASE"),
        (f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db", "Connection refused", "see that the server runs"),
        (f"postgresql+psycopg://me:{PASSWORD}@rd@127.0.0.1:1/db", "more than one @", "%40"),
        ("sqlite://", "names no file", "sqlite:///FILE"),
        ("sqlite:////proc/pricestack/study.db", "cannot be opened", "the path of a journal file"),
        ("/proc/pricestack/study.log", "cannot be opened", "a folder that can be written"),
    ],
)
def test_what_cannot_be_opened_is_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch, text: str, what: str, hint: str
) -> None:
    monkeypatch.setattr("experiments.search.storage.OPENING", 0.3)
    with pytest.raises(UserError) as caught:
        open_storage(text)
    assert what in caught.value.what and hint in caught.value.hint
    assert PASSWORD not in str(caught.value) and "rd@" not in str(caught.value)


def test_wrong_passwords_and_databases_are_told_without_the_password(server: postgres.Server) -> None:
    with refused("storage-unreachable") as caught:
        open_storage(server.url("postgres", password="wrong{word}"))
    assert "wrong" not in str(caught.value) and "%40" in caught.value.hint
    with refused("storage-unreachable") as caught:
        open_storage(server.url("nowhere"))
    assert postgres.PASSWORD not in str(caught.value) and "createdb" in caught.value.hint


def test_other_files_are_no_storages(tmp_path: Path) -> None:
    broken = tmp_path / "study.db"
    broken.write_text("this is not a database, " * 100)
    with refused("storage-unreachable"):
        open_storage(f"sqlite:///{broken}")
    broken.write_text("sample_id,price\n1,2.0\n2,3.0\n")
    with refused("journal-invalid"):
        open_storage(str(broken))
    assert broken.read_text().startswith("sample_id")
    study(f"sqlite:///{tmp_path}/real.db")
    with refused("journal-is-sqlite") as caught:
        open_storage(f"{tmp_path}/real.db")
    assert f"sqlite:///{tmp_path}/real.db" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:p@ss/w:rd@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql://me@host/db?password=abc&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_what_began_an_error_is_told_without_its_password() -> None:
    wrapped = RuntimeError("not written")
    wrapped.__cause__ = OSError("no answer from postgresql://me:secret@db/optuna\nat all")
    assert cause(wrapped) == "no answer from postgresql://me:***@db/optuna"
    assert cause(TimeoutError()) == "TimeoutError"
