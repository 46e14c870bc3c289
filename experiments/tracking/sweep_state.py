"""State of a sweep, running or dead, read from its workspace and studies."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from core.atomic_files import read_json
from core.formatting import headline
from core.store.workspace import Workspace
from experiments.common.jobs import SweepStatus, stop_sentence
from experiments.search.lease import Driver, driver_of
from experiments.tracking.sweep_record import Record, read_record, study_names

SILENCE = 60.0
"""Seconds without a sign of life after which a driver on another machine counts as dead. Its clock may differ by some of them."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that the study counts as running. age: seconds since it started."""

    trial: int
    config: str
    searched: dict[str, Any]
    epoch: int | None
    smape: float | None
    age: float


@dataclass(frozen=True)
class Search:
    """One architecture's study. counts: trials by state, in lower case. wanted: configs to try, None: as the time allows.

    best: of the completed trials. errors: headlines with counts, the most frequent first. seconds: median of a training.
    stopped: trials that the pruner stopped, and why, the latest first.
    """

    architecture: str
    study: str
    counts: dict[str, int]
    wanted: int | None
    best: dict[str, Any] | None
    running: list[RunningTrial]
    errors: list[tuple[str, int]]
    seconds: float | None
    stopped: list[tuple[int, str]]


@dataclass(frozen=True)
class MemberState:
    """A member, complete or in the making. folds_done: of `folds`."""

    member: str
    folds_done: int
    folds: int
    smape: float | None


@dataclass(frozen=True)
class SweepState:
    """State of the workspace's last sweep.

    age: seconds since the start. left: seconds of the time budget, None without one or when nothing runs.
    """

    workspace: Path
    driver: SweepStatus
    record: Record | None
    age: float | None
    left: float | None
    searches: list[Search]
    members: list[MemberState] = field(default_factory=list)
    sign: Driver | None = None


def read_state(workspace: Workspace, storage: BaseStorage) -> SweepState:
    record, now = read_record(workspace.folder), time.time()
    names = study_names(storage, record)
    loaded = {name: optuna.load_study(study_name=study, storage=storage) for name, study in names.items()}
    searches = [
        _search(name, study, None if record is None else record.trials.get(name)) for name, study in loaded.items()
    ]
    signs = [sign for study in loaded.values() if (sign := driver_of(study.user_attrs)) is not None]
    sign = max(signs, key=lambda each: each.time, default=None)
    driver = _driver(workspace, record, sign, now)
    runs = driver.is_live
    age = None if record is None else (now if runs or record.ended is None else record.ended) - record.start
    left = max(0.0, record.end - now) if record is not None and record.end is not None and runs else None
    return SweepState(workspace.folder, driver, record, age, left, searches, _members(workspace, runs), sign)


def _driver(workspace: Workspace, record: Record | None, sign: Driver | None, now: float) -> SweepStatus:
    if workspace.locked:
        return SweepStatus.RUNNING
    if sign is not None and (not sign.is_dead if sign.is_here else now - sign.time < SILENCE):
        return SweepStatus.ELSEWHERE  # a driver of this workspace would hold its lock
    if record is None:
        return SweepStatus.UNKNOWN
    return SweepStatus.DIED if record.state == SweepStatus.RUNNING else SweepStatus(record.state)


def _search(architecture: str, study: optuna.Study, wanted: int | None) -> Search:
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state for trial in trials)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = min(done, key=lambda trial: (trial.value, trial.number), default=None)
    errors = Counter(headline(str(trial.user_attrs["error"])) for trial in trials if "error" in trial.user_attrs)
    seconds = sorted(float(trial.user_attrs["seconds"]) for trial in done if "seconds" in trial.user_attrs)
    return Search(
        architecture,
        study.study_name,
        {state.name.lower(): counts[state] for state in TrialState if counts[state]},
        wanted,
        {"trial": best.number, "smape": best.value, "config": best.user_attrs.get("config"), "searched": best.params}
        if best is not None
        else None,
        [_running(trial) for trial in trials if trial.state == TrialState.RUNNING],
        errors.most_common(),
        seconds[len(seconds) // 2] if seconds else None,
        [(trial.number, why) for trial in reversed(trials) if (why := stop_sentence(trial.user_attrs))],
    )


def _running(trial: FrozenTrial) -> RunningTrial:
    epoch = trial.last_step
    smape = None if epoch is None else trial.intermediate_values[epoch]
    started = trial.datetime_start or datetime.now()
    age = (datetime.now() - started).total_seconds()
    return RunningTrial(trial.number, trial.user_attrs.get("config", ""), trial.params, epoch, smape, age)


def _members(workspace: Workspace, runs: bool) -> list[MemberState]:
    """Complete members, and those in the making; a trial's own fold 0 alone is none yet."""
    store = workspace.store
    folds = workspace.facts.k if workspace.exists else 0
    found = []
    for folder in sorted(store.folder.glob("*")):
        done = [fold for fold in range(folds) if store.has_fit(folder.name, fold)]
        if store.has_member(folder.name):
            smape = read_json(folder / "member.json")["metrics"]["smape"]
            found.append(MemberState(folder.name, folds, folds, float(smape)))
        elif len(done) > 1 or (done and done != [0]):
            found.append(MemberState(folder.name, len(done), folds, None))
    return found
