"""MLflow logger of the service: one record of figures per minute."""

from __future__ import annotations

import logging
import os
import sqlite3
import time

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the next minute is tried in any case
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from core.errors import UserError
from core.formatting import redact
from serving.bundle.bundle import Bundle

log = logging.getLogger(__name__)

EXPERIMENT = "pricestack-serving"
_OUTAGES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
"""Exceptions raised while the database or the server cannot be used; requests' errors are OSErrors."""


class MlflowRunLogger:
    """One run per service. Called in threads, by one at a time, from `begin` on."""

    def __init__(self, uri: str) -> None:
        """Raises UserError where MLflow cannot be reached."""
        try:
            _check_database(uri)
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        except (*_OUTAGES, ImportError) as error:
            raise _unwritable(error) from None
        self._run, self._minute = "", 0

    def begin(self, bundle: Bundle) -> None:
        """The bundle is served from now on. Raises UserError where MLflow cannot be reached."""
        tags = {"bundle": bundle.name, "version": bundle.version}
        try:
            made = self._client.create_run(self._experiment, run_name=bundle.folder.name, tags=tags)
        except _OUTAGES as error:
            raise _unwritable(error) from None
        self._run = made.info.run_id

    def __call__(self, figures: dict[str, float]) -> None:
        """Writes a minute's figures. A failed write is logged as an error, and lost: the service matters more."""
        now, self._minute = int(1000 * time.time()), self._minute + 1
        metrics = [Metric(name, value, now, self._minute) for name, value in figures.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except _OUTAGES as error:
            log.error("a minute's figures did not reach MLflow: %s", type(error).__name__)

    def close(self) -> None:
        """The run is over."""
        try:
            self._client.set_terminated(self._run)
        except _OUTAGES as error:
            log.error("the run in MLflow was not ended: %s", type(error).__name__)


def _check_database(uri: str) -> None:
    """Connects first to a database server, which may be away: MLflow would try again for an hour."""
    kind = uri.partition(":")[0].partition("+")[0]
    if kind in DATABASE_ENGINES and kind != SQLITE:
        create_engine(uri).connect().close()


def _unwritable(error: Exception) -> UserError:
    why = redact(str(error).strip().partition("\n")[0])
    return UserError(
        f"MLflow cannot be written to: {why}", code="run-log-unwritable", hint="mend --mlflow, or leave it out"
    )
