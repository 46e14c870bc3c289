"""The run log, read back through MLflow's own client: also after its database was locked, its server away, its driver killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.dashboard import answers
from experiments.search.trial_store import differences
from experiments.tracking.mlflow_log import RunLog, experiment_name, tracking_uri
from experiments.tracking.run_record import RunRecord, StudyRuns
from tests.experiments_tests.waiting import free_port, locked, wait_for

METRICS = {"smape": 41.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}
RUNS = StudyRuns("text-1a2b", "text", {"seed": 0})
STUDIES = {"text": RUNS}
BEST = {"learning_rate": 2e-5, "dropout": 0.1}


def job(number: int, kind: Any = "trial") -> Job:
    settings = {"learning_rate": 2e-5, "loss": "huber"}
    differs = differences({"learning_rate": 2e-5 + number * 1e-5, "dropout": 0.1 * (1 + number // 2)}, BEST)
    return Job(
        kind, "text", f"config-{number}", settings, 0, 0, 1, "cpu", number=number, epochs=3, differs=differs
    )  # fmt: skip


def log_three_trials(run_log: RunLog) -> None:
    """One that finishes, one that is stopped, one that crashes, two epochs each."""
    for number in range(3):
        run_log.started(job(number))
        for epoch in (1, 2):
            run_log.epoch(job(number), epoch, {**METRICS, "smape": 50.0 - epoch})
    run_log.finished(job(0), JobOutcome(METRICS, 2, 1.5))
    run_log.pruned(job(1), 2, 48.0, StopReason(2, 48.0, 45.5, 3, 4))
    run_log.failed(job(2), "MemoryError: too large\nTraceback ...", "out-of-memory")


def runs(workspace: Workspace, uri: str | None = None) -> dict[str, Run]:
    """By key; fails where two runs have one key."""
    client = MlflowClient(tracking_uri(workspace, uri))
    experiment = client.get_experiment_by_name(experiment_name(workspace))
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    keyed = {run.data.tags["key"]: run for run in found}
    assert len(keyed) == len(found)
    return keyed


def states(found: dict[str, Run]) -> dict[str, tuple[str, str | None]]:
    return {key: (run.info.status, run.data.tags.get("state")) for key, run in found.items()}


ALL_THREE = {
    "text-1a2b#0": ("FINISHED", "COMPLETE"),
    "text-1a2b#1": ("FINISHED", "PRUNED"),
    "text-1a2b#2": ("FAILED", "FAIL"),
}


def curve(workspace: Workspace, run: Run, uri: str | None = None) -> list[tuple[int, float]]:
    history = MlflowClient(tracking_uri(workspace, uri)).get_metric_history(run.info.run_id, "smape")
    return [(point.step, point.value) for point in history]


def test_trials_are_runs_with_params_curves_states_and_artifacts(toy_workspace: Workspace) -> None:
    links: dict[int, str] = {}
    threads = set()

    def linked(job: Job, run: str, url: str) -> None:
        links[job.number] = run
        threads.add(threading.current_thread())
        assert url.endswith(f"/runs/{run}")

    with RunLog(toy_workspace, STUDIES, {"seed": 0}, linked) as run_log:
        log_three_trials(run_log)
    assert run_log.complete and threads == {threading.main_thread()}

    found = runs(toy_workspace)
    assert states(found) == ALL_THREE
    numbered = [found[f"text-1a2b#{number}"].info for number in range(3)]
    assert {number: run.run_id for number, run in enumerate(numbered)} == links
    done, crashed = found["text-1a2b#0"], found["text-1a2b#2"]
    assert (crashed.data.tags["error"], crashed.data.tags["error_code"]) == ("MemoryError: too large", "out-of-memory")
    assert [run.run_name for run in numbered] == [
        "text #0 best known", "text #1 learning_rate 3e-5", "text #2 learning_rate 4e-5, dropout 0.2",
    ]  # fmt: skip
    assert done.data.params == {"learning_rate": "2e-05", "loss": "huber"}
    assert {name: done.data.metrics[f"best_{name}"] for name in METRICS} == METRICS
    assert curve(toy_workspace, done) == [(1, 49.0), (2, 48.0)]
    client = MlflowClient(tracking_uri(toy_workspace))
    assert "huber" in Path(client.download_artifacts(done.info.run_id, "config.json")).read_text()
    assert "Traceback" in Path(client.download_artifacts(crashed.info.run_id, "error.txt")).read_text()
    assert done.info.artifact_uri.startswith(toy_workspace.path("mlartifacts").as_uri())


def test_the_driver_never_waits(toy_workspace: Workspace) -> None:
    with RunLog(toy_workspace, STUDIES, {}) as run_log:
        start = time.perf_counter()
        for _ in range(20):
            log_three_trials(run_log)
        assert time.perf_counter() - start < 1.0  # opening the database alone takes longer
        assert run_log.writer.missing == 3, "no run is written yet"


def test_folds_of_members_are_no_runs_of_their_own(toy_workspace: Workspace) -> None:
    with RunLog(toy_workspace, STUDIES, {}) as run_log:
        run_log.started(job(0, "fit"))
        run_log.epoch(job(0, "fit"), 1, METRICS)
        run_log.finished(job(0, "fit"), JobOutcome(METRICS, 1, 1.0))
    assert runs(toy_workspace) == {}


def study_with_every_state(path: Path) -> optuna.Study:
    """Trials 0 to 4: complete, stopped, failed, answered from 0, running."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="text-1a2b")
    for number in range(5):
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)
        trial.set_user_attr("config", f"config-{number}")
        for epoch in (1, 2):
            trial.report(50.0 - epoch, epoch)
        if number == 1:
            study.tell(trial, state=TrialState.PRUNED)
        elif number == 2:
            trial.set_user_attr("error", "MemoryError: too large\nTraceback ...")
            study.tell(trial, state=TrialState.FAIL)
        elif number < 4:
            for name, value in {**METRICS, "best_epoch": 2, "seconds": 1.5}.items():
                trial.set_user_attr(name, value)
            if number == 3:
                trial.set_user_attr("answered_from", 0)
            study.tell(trial, 41.0)
    return study


def catch_up(run_log: RunLog, study: optuna.Study) -> None:
    trials = study.get_trials(deepcopy=False)
    settings = {"learning_rate": 2e-5, "loss": "huber"}

    def make(trial: FrozenTrial) -> RunRecord:
        return RUNS.whole(trial, {**settings, **trial.params}, differences(trial.params, BEST))

    run_log.catch_up(RUNS, trials, make)


def test_what_a_killed_driver_left_is_written_from_the_study(toy_workspace: Workspace, tmp_path: Path) -> None:
    with RunLog(toy_workspace, STUDIES, {"seed": 0}) as killed:  # it wrote the beginnings only
        for number in (0, 4, 17):  # 17: a trial that the study does not know
            killed.started(replace(job(number), differs=""))  # of a version that named its runs by number alone
        killed.epoch(job(0), 1, {"smape": 49.0})
    assert {status for status, _ in states(runs(toy_workspace)).values()} == {"RUNNING"}

    study = study_with_every_state(tmp_path / "study.db")
    for _ in range(2):  # the second time there is nothing left to do
        with RunLog(toy_workspace, STUDIES, {"seed": 0}) as run_log:
            catch_up(run_log, study)
            catch_up(run_log, study)
        found = runs(toy_workspace)
        assert states(found) == {
            **ALL_THREE,
            "text-1a2b#3": ("FINISHED", "COMPLETE"),
            "text-1a2b#4": ("RUNNING", None),
            "text-1a2b#17": ("KILLED", None),
        }
        for number in range(4):
            run = found[f"text-1a2b#{number}"]
            assert curve(toy_workspace, run) == [(1, 49.0), (2, 48.0)]
            assert run.data.tags["config"] == f"config-{number}" and run.data.params["loss"] == "huber"
        assert found["text-1a2b#0"].info.run_name == "text #0", "the killed driver's run goes on"
        rate = found["text-1a2b#3"].info.run_name.removeprefix("text #3 learning_rate ")
        assert float(rate) == pytest.approx(study.trials[3].params["learning_rate"], rel=1e-3)
        assert found["text-1a2b#3"].data.tags["answered_from"] == "0"
        assert found["text-1a2b#0"].data.metrics["best_smape"] == 41.0
        assert found["text-1a2b#2"].data.tags["error"] == "MemoryError: too large"


def test_a_locked_database_is_waited_for(
    toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process holds the file longer than SQLite itself waits, here a second."""
    with RunLog(toy_workspace, STUDIES, {}):
        pass
    import mlflow.store.db.utils as store  # its 20 seconds are shortened, and nothing else is changed

    text = store.sql.text
    monkeypatch.setattr(store.sql, "text", lambda line: text(line.replace("= 20000", "= 200")))
    with RunLog(toy_workspace, STUDIES, {}) as run_log:
        run_log.started(job(0))
        wait_for(lambda: run_log.writer.missing == 0)
        with locked(toy_workspace.path("mlflow.db")):
            start = time.perf_counter()
            log_three_trials(run_log)
            assert time.perf_counter() - start < 0.5
            wait_for(lambda: bool(run_log.writer.problem))
        wait_for(lambda: run_log.writer.missing == 0)
    assert states(runs(toy_workspace)) == ALL_THREE
    printed = capsys.readouterr()
    assert printed.err.count("database is locked") == 1 and "can be written again" in printed.out


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real `mlflow server`, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db", "--port", str(port),
         "--artifacts-destination", str(folder / "served"), "--workers", "1"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    try:
        wait_for(lambda: answers(port), 120)
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.faults
def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    toy_workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with RunLog(toy_workspace, STUDIES, {}, uri=uri) as run_log:
        with server(tmp_path, port):
            run_log.started(job(0))
            wait_for(lambda: run_log.writer.missing == 0)
        log_three_trials(run_log)
        wait_for(lambda: bool(run_log.writer.problem))
        time.sleep(3)  # some tries fail
        with server(tmp_path, port):
            wait_for(lambda: run_log.writer.missing == 0)
            assert states(runs(toy_workspace, uri)) == ALL_THREE
            assert curve(toy_workspace, runs(toy_workspace, uri)["text-1a2b#1"], uri) == [(1, 49.0), (2, 48.0)]
    assert capsys.readouterr().err.count("cannot be written now") == 1


def test_a_server_that_never_answers_is_reported_and_waited_for_within_bounds(
    toy_workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://somebody:secret@127.0.0.1:{free_port()}"
    start = time.monotonic()
    with RunLog(toy_workspace, STUDIES, {}, uri=uri, patience=lambda: 2.0) as run_log:
        log_three_trials(run_log)
        start = time.monotonic()
    assert time.monotonic() - start < 10.0 and not run_log.complete
    printed = capsys.readouterr()
    assert "3 entries were not written" in printed.err and "the next sweep here writes them" in printed.err
    assert "at most 2 s" in printed.out
    assert "secret" not in printed.err + printed.out
