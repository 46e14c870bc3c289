"""The diary, read back through MLflow's own client."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from core.workspace import Workspace
from experiments.jobs import Job, Outcome
from experiments.tracking import Diary, prepare_diary, tracking_uri

METRICS = {"smape": 41.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}


def job(number: int) -> Job:
    settings = {"learning_rate": 2e-5, "loss": "huber"}
    return Job("trial", "text", f"config-{number}", settings, 0, 0, 1, "cpu", number=number, epochs=3)


def test_trials_and_members_are_runs_with_params_curves_states_and_artifacts(toy_workspace: Workspace) -> None:
    prepare_diary(toy_workspace)
    links: dict[int, str] = {}
    diary = Diary(toy_workspace, {"seed": 0}, lambda job, run: links.update({job.number: run}))
    for number in range(3):
        diary.started(job(number))
        for epoch in (1, 2):
            diary.epoch(job(number), epoch, {**METRICS, "smape": 50.0 - epoch})
    diary.finished(job(0), Outcome(METRICS, 2, 1.5))
    diary.pruned(job(1), 2, 48.0)
    diary.failed(job(2), "MemoryError: too large\nTraceback ...")

    client = MlflowClient(tracking_uri(toy_workspace))
    done, stopped, crashed = (client.get_run(links[number]) for number in range(3))
    assert done.info.status == "FINISHED" and done.data.tags["state"] == "COMPLETE"
    assert stopped.data.tags["state"] == "PRUNED"
    assert crashed.info.status == "FAILED" and crashed.data.tags["error"] == "MemoryError: too large"
    assert done.data.params == {"learning_rate": "2e-05", "loss": "huber"}
    assert {name: done.data.metrics[f"best_{name}"] for name in METRICS} == METRICS
    curve = [(each.step, each.value) for each in client.get_metric_history(links[0], "smape")]
    assert curve == [(1, 49.0), (2, 48.0)]
    artifact = Path(client.download_artifacts(links[0], "config.json"))
    assert "huber" in artifact.read_text()
    assert done.info.artifact_uri.startswith(toy_workspace.path("mlartifacts").as_uri())


def test_runs_of_a_dead_driver_are_closed(toy_workspace: Workspace) -> None:
    prepare_diary(toy_workspace)
    links: list[str] = []
    Diary(toy_workspace, {}, lambda _, run: links.append(run)).started(job(0))
    assert prepare_diary(toy_workspace) == 1
    assert MlflowClient(tracking_uri(toy_workspace)).get_run(links[0]).info.status == "KILLED"


@pytest.mark.parametrize("kind", ["fit"])
def test_folds_of_members_are_no_runs_of_their_own(toy_workspace: Workspace, kind: str) -> None:
    prepare_diary(toy_workspace)
    diary = Diary(toy_workspace, {}, lambda *_: None)
    fold = Job(**{**vars(job(0)), "kind": kind})
    diary.started(fold)
    diary.epoch(fold, 1, METRICS)
    diary.finished(fold, Outcome(METRICS, 1, 1.0))
    client = MlflowClient(tracking_uri(toy_workspace))
    experiment = client.get_experiment_by_name(f"pricestack-{toy_workspace.facts.catalog[:8]}")
    assert experiment is not None and client.search_runs([experiment.experiment_id]) == []
