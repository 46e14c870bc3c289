"""Notes and learning curves of trials on the Optuna dashboard.

Optuna changes nothing about ended trials but their notes. So a picture's place is made while the trial runs, at its second
epoch, and the picture is put there later; what takes time is done by a thread.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from core.console import warn
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.tracking.learning_curves import Curve, draw

PICTURE = "learning-curve.png"
CLOSING_SECONDS = 10.0
SHORTEST_SECONDS = 1.0
"""A picture takes 50 ms of a processor: none is drawn of a trial that has its epochs within a second."""
NOTE_LENGTH = 2045
"""What the dashboard puts into one attribute."""
_FAILURES = (OptunaError, SQLAlchemyError, OSError)


@dataclass
class _Trial:
    """A trial of this sweep, as long as something may still be shown of it."""

    job: Job
    since: float = field(default_factory=time.monotonic)
    curve: dict[int, float] = field(default_factory=dict)
    picture: str | None = None
    link: str = ""
    error: str = ""
    stopped: str = ""
    note: str = ""
    notes: int = 0


def artifacts_folder(workspace: Workspace) -> Path:
    """What `optuna-dashboard --artifact-dir` takes."""
    return workspace.path("artifacts")


class Board:
    """A `Listener`. Use as a context manager around the run: leaving it waits for the thread, at most ten seconds.

    studies: by architecture. shortest: seconds of a trial that is worth a picture.
    """

    def __init__(
        self,
        workspace: Workspace,
        studies: Mapping[str, optuna.Study],
        storage: BaseStorage,
        shortest: float = SHORTEST_SECONDS,
    ) -> None:
        self._shortest = shortest
        self._study_ids = {name: storage.get_study_id_from_name(each.study_name) for name, each in studies.items()}
        self._folder, self._storage = artifacts_folder(workspace), storage
        self._trials: dict[tuple[str, int], _Trial] = {}
        self._curves: dict[str, list[Curve]] = {name: [] for name in studies}
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="board", daemon=True)
        self._failed, self._hurry = False, False

    def __enter__(self) -> Board:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store = FileSystemArtifactStore(self._folder)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.put(None)
        self._thread.join(CLOSING_SECONDS)
        self._hurry = True
        if self._thread.is_alive():
            warn(
                "some pictures and notes for the dashboard were not ready in time; the next sweep draws missing pictures"
            )

    def remember(self, architecture: str, trials: Sequence[FrozenTrial]) -> None:
        """The ended trials of earlier sweeps: others are compared with them, and pictures that a killed sweep owes are drawn."""
        curves = self._curves[architecture]
        curves += [trial.intermediate_values for trial in trials if len(trial.intermediate_values) > 1]
        for trial in trials:
            for artifact in get_all_artifact_meta(trial, storage=self._storage):
                path = self._folder / artifact.artifact_id
                drawn = path.exists() and path.stat().st_size > len(_BLANK)
                if artifact.filename == PICTURE and not drawn:
                    self._picture(path, f"{architecture} #{trial.number}", trial.intermediate_values, curves)

    def started(self, job: Job) -> None:
        if job.kind == "trial":
            self._trials.setdefault((job.architecture, job.number), _Trial(job))  # one whose worker died starts again

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        trial = self._of(job)
        if trial is None:
            return
        trial.curve[epoch] = metrics["smape"]
        worth = time.monotonic() - trial.since >= self._shortest
        if len(trial.curve) > 1 and trial.picture is None and worth:
            trial.picture = self._promise(job)

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        self._end(job)

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        self._end(job, stopped="" if reason is None else reason.sentence)

    def failed(self, job: Job, error: str) -> None:
        self._end(job, error)

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        """Members are no trials."""

    def note(self, text: str) -> None:
        """Nor is the sweep."""

    def linked(self, job: Job, run: str, url: str) -> None:
        """The trial has an MLflow run: a user attribute while it runs, a link in its note in any case."""
        trial = self._of(job)
        if trial is None:
            return
        with suppress(UpdateFinishedTrialError):  # it was quicker than MLflow: the note tells
            self._storage.set_trial_user_attr(self._id(job), "mlflow_run", run)
        trial.link = url
        self._write_note(trial)

    def _of(self, job: Job) -> _Trial | None:
        return self._trials.get((job.architecture, job.number)) if job.kind == "trial" else None

    def _end(self, job: Job, error: str = "", stopped: str = "") -> None:
        trial = self._of(job)
        if trial is None:
            return
        if trial.picture is not None:
            path, others = self._folder / trial.picture, list(self._curves[job.architecture])
            self._picture(path, job.label, trial.curve, others)
            self._curves[job.architecture].append(trial.curve)
        if error or stopped:
            trial.error, trial.stopped = error, stopped
            self._write_note(trial)

    def _promise(self, job: Job) -> str | None:
        """Makes a place for the picture; returns its name in the artifacts' folder."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                blank = Path(folder) / PICTURE
                blank.write_bytes(_BLANK)
                trial = self._storage.get_trial(self._id(job))
                return str(
                    upload_artifact(
                        artifact_store=self._store, file_path=str(blank), study_or_trial=trial, storage=self._storage
                    )
                )
        except OSError as error:
            self._complain(error)
            return None

    def _picture(self, path: Path, title: str, curve: Curve, others: Sequence[Curve]) -> None:
        self._tasks.put(lambda: draw(path, title, curve, others))

    def _write_note(self, trial: _Trial) -> None:
        parts = [f"**Failed**\n\n```\n{trial.error.strip()}\n```"] if trial.error else []
        parts += [f"**Stopped**: {trial.stopped}"] if trial.stopped else []
        parts += [f"[MLflow run]({trial.link})"] if trial.link else []
        trial.note = "\n\n".join(parts)
        self._tasks.put(lambda: self._save_note(trial))

    def _save_note(self, trial: _Trial) -> None:
        """As `optuna_dashboard.save_note` does, which is 0.8 s of importing away and reads all notes of the study for each."""
        body, trial.note = trial.note, ""
        if body:
            trial.notes += 1
            study, prefix = self._study_ids[trial.job.architecture], f"dashboard:{self._id(trial.job)}"
            for place in range(0, len(body), NOTE_LENGTH):
                key = f"{prefix}:note_str:{place // NOTE_LENGTH}"
                self._storage.set_study_system_attr(study, key, body[place : place + NOTE_LENGTH])
            self._storage.set_study_system_attr(study, f"{prefix}:note_ver", trial.notes)

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
                self._complain(error)

    def _complain(self, error: BaseException) -> None:
        if not self._failed:
            warn(
                f"pictures and notes for the dashboard cannot be kept ({str(error).partition(chr(10))[0]}); the sweep goes on"
            )
        self._failed = True


_BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001010100"
    "b138f6140000000049454e44ae426082"
)
"""A PNG of one white pixel, until the picture is drawn."""
