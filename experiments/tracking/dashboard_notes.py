"""Notes of trials on the Optuna dashboard: settings that differ from the best known, why one failed or was stopped, MLflow run.

The dashboard draws learning curves itself, from the intermediate values. A thread writes the notes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from core.console import warn
from experiments.common.jobs import Job, RunCallback, StopReason

CLOSING_SECONDS = 10.0
NOTE_LENGTH = 2045
"""What the dashboard puts into one attribute."""
_FAILURES = (OptunaError, SQLAlchemyError, OSError)


@dataclass
class _Trial:
    """Content of a trial's note. why: it failed or was stopped. versions: how often it was written."""

    job: Job
    why: str = ""
    link: str = ""
    note: str = ""
    versions: int = 0


class DashboardNotes(RunCallback):
    """Callback that writes notes. Use as a context manager: leaving it waits for the thread, at most ten seconds.

    studies: by architecture.
    """

    def __init__(self, studies: Mapping[str, optuna.Study], storage: BaseStorage) -> None:
        self._study_ids = {name: storage.get_study_id_from_name(each.study_name) for name, each in studies.items()}
        self._storage = storage
        self._trials: dict[tuple[str, int], _Trial] = {}
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="dashboard-notes", daemon=True)
        self._failed, self._hurry = False, False

    def __enter__(self) -> DashboardNotes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.put(None)
        self._thread.join(CLOSING_SECONDS)
        self._hurry = True
        if self._thread.is_alive():
            warn("some notes for the dashboard were not written in time")

    def started(self, job: Job) -> None:
        if job.kind == "trial":
            self._trials.setdefault((job.architecture, job.number), _Trial(job))  # one whose worker died starts again

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        if reason is not None:
            self._write(job, why=f"**Stopped**: {reason.sentence}")

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        self._write(job, why=f"**Failed**\n\n```\n{error.strip()}\n```")

    def linked(self, job: Job, run: str, url: str) -> None:
        """Adds the trial's MLflow run: a user attribute while it runs, a link in its note in any case."""
        with suppress(UpdateFinishedTrialError):  # it was quicker than MLflow: the note has the link
            self._storage.set_trial_user_attr(self._id(job), "mlflow_run", run)
        self._write(job, link=f"[MLflow run]({url})")

    def _write(self, job: Job, **parts: str) -> None:
        if job.kind == "trial":
            trial = self._trials[job.architecture, job.number]
            vars(trial).update(parts)
            trial.note = "\n\n".join(filter(None, (job.differs, trial.why, trial.link)))
            self._tasks.put(lambda: self._save(trial))

    def _save(self, trial: _Trial) -> None:
        """As `optuna_dashboard.save_note` does, which is 0.8 s of importing away and reads all notes of the study for each."""
        body, trial.note = trial.note, ""
        if body:
            trial.versions += 1
            study, prefix = self._study_ids[trial.job.architecture], f"dashboard:{self._id(trial.job)}"
            for place in range(0, len(body), NOTE_LENGTH):
                key = f"{prefix}:note_str:{place // NOTE_LENGTH}"
                self._storage.set_study_system_attr(study, key, body[place : place + NOTE_LENGTH])
            self._storage.set_study_system_attr(study, f"{prefix}:note_ver", trial.versions)

    def _id(self, job: Job) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_ids[job.architecture], job.number)

    def _work(self) -> None:
        patiently = retry(
            retry=retry_if_exception_type(_FAILURES),
            stop=stop_after_attempt(4),
            wait=wait_exponential(0.2),
            reraise=True,
            sleep=lambda seconds: None if self._hurry else time.sleep(seconds),
        )
        while (task := self._tasks.get()) is not None:
            try:
                patiently(task)()
            except _FAILURES as error:
                if not self._failed:
                    warn(
                        f"notes for the dashboard cannot be kept ({str(error).partition(chr(10))[0]}); the sweep goes on"
                    )
                self._failed = True
