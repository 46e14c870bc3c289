"""Run record: parameters, metrics and tags of one trial or member for MLflow, from events or from the study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

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
            self.key,
            self.name,
            self.started,
            {**self.tags, **later.tags},
            {**self.params, **later.params},
            [*self.points, *later.points],
            {**self.texts, **later.texts},
            (*self.files, *later.files),
            later.status or self.status,
            later.ended or self.ended,
        )


def trial_key(study: str, number: int) -> str:
    """Key of a trial's run: `text-1a2b3c4d#3`."""
    return f"{study}#{number}"


def opening(
    study: str,
    architecture: str,
    number: int,
    config: str,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    started: datetime | None = None,
) -> RunRecord:
    """Run record of a trial's start. started: None for now, as in `curve` and `ending`."""
    key = trial_key(study, number)
    tags = {
        **facts, "kind": "trial", "architecture": architecture, "config": config, "trial": number, "study": study, "key": key,
    }  # fmt: skip
    text = json.dumps(settings, indent=2, sort_keys=True)
    return RunRecord(
        key,
        f"{architecture} #{number}",
        _milliseconds(started),
        _texts(tags),
        _params(settings),
        texts={"config.json": text},
    )


def curve(key: str, epoch: int, metrics: Mapping[str, float], time: datetime | None = None) -> RunRecord:
    """Run record of a trial's epoch."""
    return RunRecord(key, "", 0, points=_points(metrics, _milliseconds(time), epoch))


def ending(
    key: str,
    state: str,
    epochs: int = 0,
    outcome: JobOutcome | None = None,
    error: str = "",
    ended: datetime | None = None,
) -> RunRecord:
    """Run record of a trial's end. state: Optuna's. epochs: step of the outcome's points."""
    time = _milliseconds(ended)
    run_record = RunRecord(key, "", 0, {"state": state}, status=STATUS[state], ended=time)
    if outcome is not None:
        best = {f"best_{name}": value for name, value in outcome.metrics.items()}
        best |= {"best_epoch": outcome.best_epoch, "seconds": outcome.seconds}
        run_record.points = _points(best, time, epochs)
    if error:
        run_record.tags["error"] = headline(error)[:PARAMETER_LENGTH]
        run_record.texts["error.txt"] = error
    return run_record


def record_of_trial(
    study: str, trial: FrozenTrial, architecture: str, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> RunRecord:
    """Whole run record of an ended trial: the events that the study keeps of it, one after the other."""
    known, ended = trial.user_attrs, trial.datetime_complete
    config = known.get("config", "")
    whole = opening(study, architecture, trial.number, config, settings, facts, trial.datetime_start)
    for epoch, value in trial.intermediate_values.items():
        whole = whole.then(curve(whole.key, epoch, {"smape": value}, ended))
    outcome = None
    if trial.state == TrialState.COMPLETE and all(name in known for name in METRICS):
        outcome = JobOutcome({name: known[name] for name in METRICS}, known["best_epoch"], known["seconds"])
    if "answered_from" in known:
        whole.tags["answered_from"] = str(known["answered_from"])
    epochs = max(trial.intermediate_values, default=0)
    error = str(known.get("error", ""))
    return whole.then(ending(whole.key, trial.state.name, epochs, outcome, error, ended))


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


def records_of_study(
    study: str,
    architecture: str,
    trials: list[FrozenTrial],
    settings: Callable[[Mapping[str, Any]], dict[str, Any]],
    facts: Mapping[str, Any],
) -> dict[str, Callable[[], RunRecord]]:
    """Functions, by key, that make the run record of each ended trial, for a run log without it.

    settings: from the searched ones.
    """

    def make(trial: FrozenTrial) -> Callable[[], RunRecord]:
        return lambda: record_of_trial(study, trial, architecture, settings(trial.params), facts)

    return {trial_key(study, trial.number): make(trial) for trial in trials if trial.state.name in STATUS}


def _points(metrics: Mapping[str, float], time: int, step: int) -> list[Point]:
    return [Point(name, float(value), time, step) for name, value in metrics.items()]


def _params(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:PARAMETER_LENGTH] for name, value in sorted(settings.items())}


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}


def _milliseconds(moment: datetime | None) -> int:
    return int((time.time() if moment is None else moment.timestamp()) * 1000)
