"""MLflow logger of the service: one record of figures per minute."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
        with _outage_refused():
            _check_database(uri)
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._run, self._minute = "", 0

    def begin(self, bundle: Bundle) -> None:
        """The bundle is served from now on. Raises UserError where MLflow cannot be reached."""
        tags = {"bundle": bundle.name, "version": bundle.version}
        with _outage_refused():
            self._run = self._client.create_run(self._experiment, run_name=bundle.folder.name, tags=tags).info.run_id

    def __call__(self, figures: dict[str, float]) -> None:
        """Writes a minute's figures. A failed write is logged as an error, and lost: the service matters more."""
        now, self._minute = int(1000 * time.time()), self._minute + 1
        metrics = [Metric(name, value, now, self._minute) for name, value in figures.items()]
        with _outage_logged("a minute's figures did not reach MLflow"):
            self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """The run is over."""
        with _outage_logged("the run in MLflow was not ended"):
            self._client.set_terminated(self._run)


def _check_database(uri: str) -> None:
    """Connects first to a database server, which may be away: MLflow would try again for an hour."""
    kind = uri.partition(":")[0].partition("+")[0]
    if kind in DATABASE_ENGINES and kind != SQLITE:
        create_engine(uri).connect().close()


@contextmanager
def _outage_refused() -> Iterator[None]:
    try:
        yield
    except (*_OUTAGES, ImportError) as error:
        why = redact(str(error).strip().partition("\n")[0])
        raise UserError(
            f"MLflow cannot be written to: {why}", code="run-log-unwritable", hint="mend --mlflow, or leave it out"
        ) from None


@contextmanager
def _outage_logged(what: str) -> Iterator[None]:
    try:
        yield
    except _OUTAGES as error:
        log.error("%s: %s", what, type(error).__name__)
