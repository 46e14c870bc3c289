"""What the Optuna dashboard shows of a trial, read back through Optuna's and the dashboard's own functions."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from optuna_dashboard import get_note
from PIL import Image

from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.search.storage import open_storage
from experiments.tracking.dashboard_notes import Board, artifacts_folder
from experiments.tracking.learning_curves import best_of, draw, middle_of

METRICS = {"smape": 41.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}


def job(number: int, epochs: int = 3) -> Job:
    return Job("trial", "text", f"config-{number}", {}, 0, 0, 1, "cpu", number=number, epochs=epochs)


@pytest.fixture
def study(toy_workspace: Workspace) -> optuna.Study:
    storage = open_storage(f"sqlite:///{toy_workspace.path('optuna.db')}")
    return optuna.create_study(storage=storage, study_name="text-1a2b")


def board_of(workspace: Workspace, study: optuna.Study) -> Board:
    return Board(workspace, {"text": study}, open_storage(f"sqlite:///{workspace.path('optuna.db')}"), shortest=0.0)


def pictures(workspace: Workspace, study: optuna.Study, number: int) -> list[tuple[int, int]]:
    """Sizes in pixels of the trial's learning curves."""
    found = get_all_artifact_meta(study.trials[number], storage=study._storage)
    assert all(each.filename == "learning-curve.png" and each.mimetype == "image/png" for each in found)
    return [Image.open(artifacts_folder(workspace) / each.artifact_id).size for each in found]


def note(study: optuna.Study, number: int) -> str:
    return get_note(optuna.Trial(study, study.trials[number]._trial_id))


def test_trials_of_several_epochs_get_a_picture_however_they_end(toy_workspace: Workspace, study: optuna.Study) -> None:
    with board_of(toy_workspace, study) as board:
        for number, (epochs, state) in enumerate(
            ((3, TrialState.COMPLETE), (2, TrialState.PRUNED), (2, TrialState.FAIL), (1, TrialState.COMPLETE))
        ):
            trial = study.ask()
            board.started(job(number))
            for epoch in (1, *range(1, epochs + 1)):  # the first twice, as after the death of a worker
                board.epoch(job(number), epoch, {"smape": 50.0 - epoch})
            study.tell(trial, 47.0 if state == TrialState.COMPLETE else None, state=state)
            if state == TrialState.COMPLETE:
                board.finished(job(number), JobOutcome(METRICS, epochs, 1.0))
            elif state == TrialState.PRUNED:
                board.pruned(job(number), epochs, 48.0, StopReason(2, 48.0, 45.5, 3, 4))
            else:
                board.failed(job(number), "MemoryError: too large\nTraceback ...")
    assert [pictures(toy_workspace, study, number) for number in range(4)] == [[(640, 400)]] * 3 + [[]]
    assert "MemoryError: too large" in note(study, 2) and "Traceback" in note(study, 2)
    assert note(study, 0) == ""


def test_the_link_is_an_attribute_while_the_trial_runs_and_in_the_note_always(
    toy_workspace: Workspace, study: optuna.Study
) -> None:
    with board_of(toy_workspace, study) as board:
        trials = [study.ask(), study.ask()]
        for number in (0, 1):
            board.started(job(number))
        board.linked(job(0), "abc", "http://127.0.0.1:5000/#/experiments/1/runs/abc")
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL)
        board.failed(job(0), "ValueError: no")
        board.linked(job(1), "def", "http://127.0.0.1:5000/#/experiments/1/runs/def")  # too late for an attribute
    assert study.trials[0].user_attrs["mlflow_run"] == "abc" and "mlflow_run" not in study.trials[1].user_attrs
    assert "[MLflow run](http://127.0.0.1:5000/#/experiments/1/runs/abc)" in note(study, 0)
    assert "ValueError: no" in note(study, 0)
    assert note(study, 1) == "[MLflow run](http://127.0.0.1:5000/#/experiments/1/runs/def)"


def test_a_picture_that_a_killed_sweep_owes_is_drawn_by_the_next(toy_workspace: Workspace, study: optuna.Study) -> None:
    with board_of(toy_workspace, study) as killed:
        trial = study.ask()
        killed.started(job(0))
        for epoch in (1, 2):
            trial.report(50.0 - epoch, epoch)
            killed.epoch(job(0), epoch, {"smape": 50.0 - epoch})
    study.tell(trial, state=TrialState.FAIL)
    assert pictures(toy_workspace, study, 0) == [(1, 1)]
    with board_of(toy_workspace, study) as board:
        board.remember("text", study.trials)
    assert pictures(toy_workspace, study, 0) == [(640, 400)]


def test_trials_of_a_moment_get_no_picture(toy_workspace: Workspace, study: optuna.Study) -> None:
    with Board(toy_workspace, {"text": study}, study._storage, shortest=3600.0) as board:
        trial = study.ask()
        board.started(job(0))
        for epoch in (1, 2, 3):
            board.epoch(job(0), epoch, {"smape": 50.0})
        study.tell(trial, 50.0)
        board.finished(job(0), JobOutcome(METRICS, 2, 1.0))
    assert pictures(toy_workspace, study, 0) == []


def test_a_long_error_is_told_whole(toy_workspace: Workspace, study: optuna.Study) -> None:
    error = "ValueError: no\n" + "\n".join(f"line {number}" for number in range(1000))
    with board_of(toy_workspace, study) as board:
        study.tell(study.ask(), state=TrialState.FAIL)
        board.started(job(0))
        board.failed(job(0), error)
    assert note(study, 0) == f"**Failed**\n\n```\n{error}\n```"


def test_a_folder_that_cannot_be_written_costs_the_picture_and_not_the_sweep(
    toy_workspace: Workspace, study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with board_of(toy_workspace, study) as board:
        artifacts_folder(toy_workspace).rmdir()
        artifacts_folder(toy_workspace).write_text("a file in the way")
        trial = study.ask()
        board.started(job(0))
        for epoch in (1, 2):
            board.epoch(job(0), epoch, {"smape": 50.0})
        study.tell(trial, 50.0)
        board.finished(job(0), JobOutcome(METRICS, 2, 1.0))
    assert "the sweep goes on" in capsys.readouterr().err
    assert study.trials[0].state == TrialState.COMPLETE


def test_best_and_middle_of_curves(tmp_path: Path) -> None:
    curves = [{1: 9.0, 2: 5.0, 3: 6.0}, {1: 8.0, 2: 7.0}, {1: 4.5}]
    assert best_of(curves) == {1: 4.5} and best_of([]) is None
    assert middle_of(curves) == {1: 8.0, 2: 6.0}
    draw(tmp_path / "alone.png", "text #0 of $1 & more", {1: 3.0}, [])
    assert Image.open(tmp_path / "alone.png").size == (640, 400)
