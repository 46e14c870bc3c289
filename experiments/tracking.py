"""The diary: every trial and member as an MLflow run with its parameters, metrics per epoch, outcome and artifacts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from core.workspace import Workspace
from experiments.jobs import Job, Outcome, headline

DiaryError = MlflowException
"""What is raised when the diary cannot be written."""

PARAMETER_LENGTH = 500


def tracking_uri(workspace: Workspace) -> str:
    """What `mlflow ui --backend-store-uri` takes."""
    return f"sqlite:///{workspace.path('mlflow.db')}"


class Diary:
    """Writes one MLflow experiment, named by the catalog. A `Listener`; used from one thread.

    linked: called with a job and its run's id, so that the study can point to the diary.
    """

    def __init__(self, workspace: Workspace, facts: Mapping[str, Any], linked: Callable[[Job, str], None]) -> None:
        self._client = MlflowClient(tracking_uri(workspace))
        self._workspace, self._facts, self._linked = workspace, dict(facts), linked
        self._runs: dict[tuple[str, int], str] = {}
        name = f"pricestack-{workspace.facts.catalog[:8]}"
        found = self._client.get_experiment_by_name(name)
        artifacts = workspace.path("mlartifacts").resolve()
        self._experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(name, artifact_location=artifacts.as_uri())
        )

    def started(self, job: Job) -> None:
        if job.kind == "fit" or (job.name, job.fold) in self._runs:  # a member is one run, written when complete
            return
        tags = {"kind": "trial", "architecture": job.architecture, "config": job.name, "trial": job.number}
        run = self._start(job.label, tags, job.settings)
        self._client.log_dict(run, job.settings, "config.json")
        self._runs[job.name, job.fold] = run
        self._linked(job, run)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        run = self._runs.get((job.name, job.fold))
        if run is not None:
            self._log(run, metrics, epoch)

    def finished(self, job: Job, outcome: Outcome) -> None:
        best = {f"best_{name}": value for name, value in outcome.metrics.items()}
        self._end(job, "FINISHED", "COMPLETE", {**best, "best_epoch": outcome.best_epoch, "seconds": outcome.seconds})

    def pruned(self, job: Job, epoch: int, smape: float) -> None:
        self._end(job, "FINISHED", "PRUNED", {})

    def failed(self, job: Job, error: str) -> None:
        self._end(job, "FAILED", "FAIL", {}, error)

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        tags = {"kind": "member", "architecture": record["architecture"], "config": name}
        run = self._start(name, tags, record["settings"])
        folds = {f"fold_{fold}_smape": value for fold, value in enumerate(record["fold_smape"])}
        self._log(run, {**record["metrics"], **folds, "seconds": record["seconds"]}, 0)
        folder = self._workspace.store.folder / name
        for artifact in ("member.json", "oof.parquet", "test.parquet"):
            self._client.log_artifact(run, str(folder / artifact))
        self._client.set_terminated(run, "FINISHED")

    def note(self, text: str) -> None:
        """Notes are for who watches; the diary keeps trials and members."""

    def _start(self, name: str, tags: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        run = self._client.create_run(self._experiment, run_name=name)
        params = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in sorted(settings.items())]
        labels = [RunTag(key, str(value)) for key, value in {**self._facts, **tags}.items()]
        self._client.log_batch(run.info.run_id, params=params, tags=labels)
        return str(run.info.run_id)

    def _log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(run, metrics=[Metric(key, float(value), now, step) for key, value in metrics.items()])

    def _end(self, job: Job, status: str, state: str, metrics: Mapping[str, float], error: str = "") -> None:
        run = self._runs.pop((job.name, job.fold), None)
        if run is None:
            return
        self._log(run, metrics, job.epochs)
        self._client.set_tag(run, "state", state)
        if error:
            self._client.log_text(run, error, "error.txt")
            self._client.set_tag(run, "error", headline(error)[:PARAMETER_LENGTH])
        self._client.set_terminated(run, status)


def prepare_diary(workspace: Workspace) -> int:
    """Makes the database where there is none, and marks runs that a dead driver left RUNNING as KILLED: returns how many."""
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri(workspace))
    experiment = client.get_experiment_by_name(f"pricestack-{workspace.facts.catalog[:8]}")
    if experiment is None:
        return 0
    stale = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    for run in stale:
        client.set_terminated(run.info.run_id, "KILLED")
    return len(stale)
