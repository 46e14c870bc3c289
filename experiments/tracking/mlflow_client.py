"""MLflow writes of run records; the only module of the sweep that imports MLflow, used from one thread.

Everything here may be tried again after it failed: a run is found by its key, and a metric that was written stays one point.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the run log tries again itself, and says so
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from sqlalchemy.exc import SQLAlchemyError

from experiments.tracking.run_record import RunRecord

OUTAGES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
"""What is raised while the database or the server cannot be used; requests' errors are OSErrors."""
MOST_POINTS = 500
"""MLflow takes at most 1,000 metrics, parameters and tags together in one call."""
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Run:
    """A run that MLflow has. open: it counts as running. params: those that are written, which cannot change."""

    id: str
    open: bool
    params: frozenset[str]


class MlflowExperiment:
    """One MLflow experiment. uri: what `--tracking` takes. artifacts: a folder; None: where the server keeps them."""

    def __init__(self, uri: str, experiment: str, artifacts: Path | None) -> None:
        for noisy in ("alembic", "mlflow", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # the run log says what fails, once and in a line
        if uri.startswith(SQLITE):
            _with_write_ahead(Path(uri.removeprefix(SQLITE)))
        self._client = MlflowClient(uri)
        found = self._client.get_experiment_by_name(experiment)
        location = None if artifacts is None else artifacts.resolve().as_uri()
        self.experiment = (
            found.experiment_id
            if found is not None
            else str(self._client.create_experiment(experiment, artifact_location=location))
        )

    def create(self, run_record: RunRecord) -> str:
        """A new run with the run record's name and tags; returns its id."""
        run = self._client.create_run(
            self.experiment, start_time=run_record.started, run_name=run_record.name, tags=run_record.tags
        )
        return str(run.info.run_id)

    def add(self, run_record: RunRecord, run: str) -> None:
        """Writes the run record to the run, in as few calls as can be."""
        points = [Metric(point.name, point.value, point.time, point.step) for point in run_record.points]
        params = [Param(name, value) for name, value in run_record.params.items()]
        labels = [RunTag(name, value) for name, value in run_record.tags.items()]
        if points or params or labels:
            self._client.log_batch(run, metrics=points[:MOST_POINTS], params=params, tags=labels)
        for start in range(MOST_POINTS, len(points), MOST_POINTS):
            self._client.log_batch(run, metrics=points[start : start + MOST_POINTS])
        for name, text in run_record.texts.items():
            self._client.log_text(run, text, name)
        for path in run_record.files:
            self._client.log_artifact(run, str(path))
        if run_record.status:
            self._client.set_terminated(run, run_record.status, run_record.ended)

    def find(self, tag: str, value: str) -> dict[str, Run]:
        """By key, the runs whose tag has that value."""
        found: dict[str, Run] = {}
        token: str | None = None
        while True:
            runs = self._client.search_runs(
                [self.experiment], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token
            )
            for run in runs:
                if (key := run.data.tags.get("key")) is not None:
                    found[key] = Run(run.info.run_id, run.info.status == "RUNNING", frozenset(run.data.params))
            token = runs.token
            if not token:
                return found

    def steps(self, run: str, metric: str) -> set[int]:
        """The epochs of which the run has that metric."""
        return {point.step for point in self._client.get_metric_history(run, metric)}

    def kill(self, run: str) -> None:
        """Ends a run that nothing will continue."""
        self._client.set_terminated(run, "KILLED")


def is_own_fault(error: BaseException) -> bool:
    """True where trying again cannot help: what is written is refused, or somebody deleted the run."""
    refused = {ErrorCode.Name(INVALID_PARAMETER_VALUE), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)}
    return isinstance(error, MlflowException) and error.error_code in refused


def _with_write_ahead(path: Path) -> None:
    """Readers (`mlflow ui`) and the run log do not block each other, and a write takes a third of the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
