"""Run record: parameters, metrics and tags of one trial or member for MLflow, from events or from the study."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from core.errors import failure_code
from core.formatting import headline
from core.metrics import METRICS
from core.store.workspace import Workspace
from experiments.common.jobs import JobOutcome

PARAMETER_LENGTH = 500
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}
"""Optuna's state of a trial and MLflow's status of its run; the state itself is the run's tag `state`."""


@dataclass(frozen=True)
class Point:
    """A metric's value at an epoch. time: milliseconds since 1970; writing the same point twice changes nothing."""

    name: str
    value: float
    time: int
    step: int


@dataclass
class RunRecord:
    """Facts to be written of one run; several run records of one key add up.

    key: names the run for good (its tag `key`): `text-1a2b3c4d#3`, or a member's name. name: for people. started, ended:
    milliseconds since 1970. status: MLflow's, empty while it runs. texts, files: artifacts.
    """

    key: str
    name: str
    started: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    status: str = ""
    ended: int | None = None

    def then(self, later: RunRecord) -> RunRecord:
        """Both run records joined."""
        return RunRecord(
            self.key, self.name, self.started,
            self.tags | later.tags, self.params | later.params, self.points + later.points,
            self.texts | later.texts, self.files + later.files,
            later.status or self.status, later.ended or self.ended,
        )  # fmt: skip


@dataclass(frozen=True)
class StudyRuns:
    """Runs of a study's trials. facts: tags that all of them have."""

    study: str
    architecture: str
    facts: Mapping[str, Any]

    def key(self, number: int) -> str:
        """Key of a trial's run: `text-1a2b3c4d#3`."""
        return f"{self.study}#{number}"

    def opening(
        self, number: int, config: str, settings: Mapping[str, Any], differs: str, started: datetime | None = None
    ) -> RunRecord:
        """Run record of a trial's start. differs: what names it. started: None for now, as in `curve` and `ending`."""
        tags = {
            **self.facts, "kind": "trial", "architecture": self.architecture, "config": config, "trial": number,
            "study": self.study, "key": self.key(number),
        }  # fmt: skip
        return RunRecord(
            self.key(number),
            f"{self.architecture} #{number} {differs}".rstrip(),
            _milliseconds(started),
            _texts(tags),
            _params(settings),
            texts={"config.json": json.dumps(settings, indent=2, sort_keys=True)},
        )

    def whole(self, trial: FrozenTrial, settings: Mapping[str, Any], differs: str) -> RunRecord:
        """Whole run record of an ended trial: the events that the study keeps of it, one after the other."""
        known, ended = trial.user_attrs, trial.datetime_complete
        record = self.opening(trial.number, known.get("config", ""), settings, differs, trial.datetime_start)
        for epoch, value in trial.intermediate_values.items():
            record = record.then(curve(record.key, epoch, {"smape": value}, ended))
        outcome = None
        if trial.state == TrialState.COMPLETE and all(name in known for name in METRICS):
            outcome = JobOutcome({name: known[name] for name in METRICS}, known["best_epoch"], known["seconds"])
        if "answered_from" in known:
            record.tags["answered_from"] = str(known["answered_from"])
        epochs = max(trial.intermediate_values, default=0)
        failure = (str(known["error"]), failure_code(known)) if "error" in known else None
        return record.then(ending(record.key, trial.state.name, epochs, outcome, failure, ended))


def curve(key: str, epoch: int, metrics: Mapping[str, float], time: datetime | None = None) -> RunRecord:
    """Run record of a trial's epoch."""
    return RunRecord(key, "", 0, points=_points(metrics, _milliseconds(time), epoch))


def ending(
    key: str,
    state: str,
    epochs: int = 0,
    outcome: JobOutcome | None = None,
    failure: tuple[str, str | None] | None = None,
    ended: datetime | None = None,
) -> RunRecord:
    """Run record of a trial's end. state: Optuna's. epochs: step of the outcome's points. failure: an error's text and code."""
    time = _milliseconds(ended)
    run_record = RunRecord(key, "", 0, {"state": state}, status=STATUS[state], ended=time)
    if outcome is not None:
        best = {f"best_{name}": value for name, value in outcome.metrics.items()}
        best |= {"best_epoch": outcome.best_epoch, "seconds": outcome.seconds}
        run_record.points = _points(best, time, epochs)
    if failure is not None:
        error, code = failure
        run_record.tags |= {"error": headline(error)[:PARAMETER_LENGTH]} | ({"error_code": code} if code else {})
        run_record.texts["error.txt"] = error
    return run_record


def record_of_member(workspace: Workspace, name: str, record: Mapping[str, Any], facts: Mapping[str, Any]) -> RunRecord:
    """The run record of a complete member. record: its `member.json`."""
    folder = workspace.store.folder / name
    written = int((folder / "member.json").stat().st_mtime * 1000)
    tags = {**facts, "kind": "member", "architecture": record["architecture"], "config": name, "key": name}
    folds = {f"fold_{fold}_smape": value for fold, value in enumerate(record["fold_smape"])}
    metrics = {**record["metrics"], **folds, "seconds": record.get("seconds")}
    known = {key: value for key, value in metrics.items() if value is not None}  # a member made outside has no seconds
    return RunRecord(
        name,
        name,
        written,
        _texts(tags),
        _params(record["settings"]),
        _points(known, written, 0),
        files=tuple(folder / part for part in ("member.json", "oof.parquet", "test.parquet")),
        status="FINISHED",
        ended=written,
    )


def _points(metrics: Mapping[str, float], time: int, step: int) -> list[Point]:
    return [Point(name, float(value), time, step) for name, value in metrics.items()]


def _params(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:PARAMETER_LENGTH] for name, value in sorted(settings.items())}


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}


def _milliseconds(moment: datetime | None) -> int:
    return int((time.time() if moment is None else moment.timestamp()) * 1000)
