"""Notes of trials on the Optuna dashboard, read back through Optuna's and the dashboard's own functions."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard import get_note

from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.search.storage import open_storage
from experiments.tracking.dashboard_notes import DashboardNotes

METRICS = {"smape": 41.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}


def job(number: int, epochs: int = 3) -> Job:
    return Job("trial", "text", f"config-{number}", {}, 0, 0, 1, "cpu", number=number, epochs=epochs, differs="depth 3")


@pytest.fixture
def study(toy_workspace: Workspace) -> optuna.Study:
    storage = open_storage(f"sqlite:///{toy_workspace.path('optuna.db')}")
    return optuna.create_study(storage=storage, study_name="text-1a2b")


def notes_of(workspace: Workspace, study: optuna.Study) -> DashboardNotes:
    return DashboardNotes({"text": study}, open_storage(f"sqlite:///{workspace.path('optuna.db')}"))


def note(study: optuna.Study, number: int) -> str:
    return get_note(optuna.Trial(study, study.trials[number]._trial_id))


def test_a_note_says_why_a_trial_failed_or_was_stopped(toy_workspace: Workspace, study: optuna.Study) -> None:
    reason = StopReason(2, 48.0, 45.5, 3, 4)
    with notes_of(toy_workspace, study) as notes:
        for number, state in enumerate((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
            trial = study.ask()
            notes.started(job(number))
            study.tell(trial, 47.0 if state == TrialState.COMPLETE else None, state=state)
        notes.finished(job(0), JobOutcome(METRICS, 3, 1.0))
        notes.pruned(job(1), 2, 48.0, reason)
        notes.failed(job(2), "MemoryError: too large\nTraceback ...")
    assert note(study, 0) == ""
    assert note(study, 1) == f"depth 3\n\n**Stopped**: {reason.sentence}"
    assert "MemoryError: too large" in note(study, 2) and "Traceback" in note(study, 2)


def test_the_link_is_an_attribute_while_the_trial_runs_and_in_the_note_always(
    toy_workspace: Workspace, study: optuna.Study
) -> None:
    with notes_of(toy_workspace, study) as notes:
        trials = [study.ask(), study.ask()]
        for number in (0, 1):
            notes.started(job(number))
        notes.linked(job(0), "abc", "http://127.0.0.1:5000/#/experiments/1/runs/abc")
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL)
        notes.failed(job(0), "ValueError: no")
        notes.linked(job(1), "def", "http://127.0.0.1:5000/#/experiments/1/runs/def")  # too late for an attribute
    assert study.trials[0].user_attrs["mlflow_run"] == "abc" and "mlflow_run" not in study.trials[1].user_attrs
    assert "[MLflow run](http://127.0.0.1:5000/#/experiments/1/runs/abc)" in note(study, 0)
    assert "ValueError: no" in note(study, 0)
    assert note(study, 1) == "depth 3\n\n[MLflow run](http://127.0.0.1:5000/#/experiments/1/runs/def)"


def test_a_long_error_is_written_whole(toy_workspace: Workspace, study: optuna.Study) -> None:
    error = "ValueError: no\n" + "\n".join(f"line {number}" for number in range(1000))
    with notes_of(toy_workspace, study) as notes:
        study.tell(study.ask(), state=TrialState.FAIL)
        notes.started(job(0))
        notes.failed(job(0), error)
    assert note(study, 0) == f"depth 3\n\n**Failed**\n\n```\n{error}\n```"
