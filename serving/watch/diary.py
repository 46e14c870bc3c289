"""A line of figures each minute in MLflow, beside the sweeps that made the models."""

from __future__ import annotations

import logging
import time

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from core.errors import UserError
from serving.bundle import Bundle

log = logging.getLogger(__name__)

EXPERIMENT = "pricestack-serving"


class MlflowDiary:
    """One run per service. Called in threads, by one at a time."""

    def __init__(self, uri: str, bundle: Bundle) -> None:
        """Raises UserError where MLflow cannot be reached."""
        try:
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
            tags = {"bundle": bundle.name, "version": bundle.version}
            self._run = self._client.create_run(experiment, run_name=bundle.folder.name, tags=tags).info.run_id
        except MlflowException as error:
            raise UserError(
                f"MLflow cannot be written to: {error.message}", cure="mend --mlflow, or leave it out"
            ) from None
        self._minute = 0

    def __call__(self, figures: dict[str, float]) -> None:
        """Writes a minute's figures. What cannot be written is told in the log, and lost: the service matters more."""
        now, self._minute = int(1000 * time.time()), self._minute + 1
        metrics = [Metric(name, value, now, self._minute) for name, value in figures.items()]
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except MlflowException as error:
            log.error("a minute's figures did not reach MLflow: %s", type(error).__name__)

    def close(self) -> None:
        """The run is over."""
        try:
            self._client.set_terminated(self._run)
        except MlflowException as error:
            log.error("the run in MLflow was not ended: %s", type(error).__name__)
