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
from experiments.common.jobs import Job, JobOutcome

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
        """Both run records in one."""
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


def now() -> int:
    return int(time.time() * 1000)


def trial_key(study: str, number: int) -> str:
    return f"{study}#{number}"


def opening(study: str, job: Job, facts: Mapping[str, Any]) -> RunRecord:
    """The run record of a trial that starts."""
    return _trial_page(study, job.architecture, job.number, job.name, job.settings, facts, now())


def curve(key: str, epoch: int, metrics: Mapping[str, float]) -> RunRecord:
    return RunRecord(key, "", 0, points=_points(metrics, now(), epoch))


def ending(key: str, state: str, epochs: int = 0, outcome: JobOutcome | None = None, error: str = "") -> RunRecord:
    """The run record of a trial that ends. state: Optuna's."""
    run_record = RunRecord(key, "", 0, {"state": state}, status=STATUS[state], ended=now())
    if outcome is not None:
        run_record.points = _points(_best(outcome.metrics, outcome.best_epoch, outcome.seconds), now(), epochs)
    if error:
        run_record.tags["error"] = headline(error)[:PARAMETER_LENGTH]
        run_record.texts["error.txt"] = error
    return run_record


def page_of_trial(
    study: str, trial: FrozenTrial, architecture: str, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> RunRecord:
    """The whole run record of an ended trial, from what the study knows of it."""
    known, ended = trial.user_attrs, _milliseconds(trial.datetime_complete)
    config = known.get("config", "")
    run_record = _trial_page(
        study, architecture, trial.number, config, settings, facts, _milliseconds(trial.datetime_start)
    )
    for epoch, value in trial.intermediate_values.items():
        run_record.points += _points({"smape": value}, ended, epoch)
    if trial.state == TrialState.COMPLETE and all(name in known for name in METRICS):
        best = _best({name: known[name] for name in METRICS}, known["best_epoch"], known["seconds"])
        run_record.points += _points(best, ended, max(trial.intermediate_values, default=0))
    if "answered_from" in known:
        run_record.tags["answered_from"] = str(known["answered_from"])
    return run_record.then(_ended(ending(run_record.key, trial.state.name, error=str(known.get("error", ""))), ended))


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
        return lambda: page_of_trial(study, trial, architecture, settings(trial.params), facts)

    return {trial_key(study, trial.number): make(trial) for trial in trials if trial.state.name in STATUS}


def _trial_page(
    study: str,
    architecture: str,
    number: int,
    config: str,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    started: int,
) -> RunRecord:
    key = trial_key(study, number)
    tags = {
        **facts, "kind": "trial", "architecture": architecture, "config": config, "trial": number, "study": study, "key": key,
    }  # fmt: skip
    text = json.dumps(settings, indent=2, sort_keys=True)
    return RunRecord(
        key, f"{architecture} #{number}", started, _texts(tags), _params(settings), texts={"config.json": text}
    )


def _best(metrics: Mapping[str, float], epoch: int, seconds: float) -> dict[str, float]:
    return {**{f"best_{name}": value for name, value in metrics.items()}, "best_epoch": epoch, "seconds": seconds}


def _ended(run_record: RunRecord, time: int) -> RunRecord:
    run_record.ended = time
    return run_record


def _points(metrics: Mapping[str, float], time: int, step: int) -> list[Point]:
    return [Point(name, float(value), time, step) for name, value in metrics.items()]


def _params(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:PARAMETER_LENGTH] for name, value in sorted(settings.items())}


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}


def _milliseconds(moment: datetime | None) -> int:
    return now() if moment is None else int(moment.timestamp() * 1000)
