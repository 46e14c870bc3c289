"""`history.json`: every trial of every study, for readers that do not know Optuna (`reports`).

{"format": 1, "studies": [{
    "name", "architecture",
    "documented": the documented best point, "space": the values of each searched setting,
    "preset": of a sweep with one, and "preset_changes": {setting: [the preset's value, the user's]}; else neither,
    "importances": {setting: share of what the SMAPE's variance owes to it (fANOVA)}, or null where too little was tried,
    "trials": [{
        "number", "state": complete | pruned | failed | interrupted, "config", "params", "origin": who queued it, or null,
        "smape": or null, "standard_error": or null, "curve": [[epoch, smape], ...], "best_epoch": or null,
        "start", "end": seconds since 1970, "seconds": of training, null for a repeat that was answered,
        "answered_from": the trial or study that a repeat was answered from, or null, "error": text, or null,
        "error_code": a `FailureCode` or the code of the UserError that ended it, or null,
        "stopped": why the pruner stopped it ({"rung", "smape", "threshold", "rank", "compared"}), or null}]}]}

A sweep replaces the studies that it has driven and keeps the others, so that studies older than the last sweep stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from core.atomic_files import read_json, write_json
from core.console import warn
from core.errors import FailureCode, failure_code
from core.store.workspace import Workspace
from experiments.common.jobs import STOPPED
from experiments.search.study import Study
from reports.figures.study_records import HISTORY, HISTORY_FORMAT, PRESET, PRESET_CHANGES, TrialEnd

FEWEST = 6
"""Finished trials that importances need at least."""
_TREES = 32
_ENDS = {TrialState.COMPLETE: TrialEnd.COMPLETE, TrialState.PRUNED: TrialEnd.PRUNED, TrialState.FAIL: TrialEnd.FAILED}


def write_history(workspace: Workspace, storage: BaseStorage, studies: Mapping[str, Study]) -> None:
    """Brings the workspace's history up to these studies (by architecture), whole or not at all."""
    driven = {study.name: _study(storage, architecture, study) for architecture, study in studies.items()}
    path = workspace.path(HISTORY)
    others = [study for study in _before(path) if study["name"] not in driven]
    write_json(path, {"format": HISTORY_FORMAT, "studies": [*others, *driven.values()]})


def _before(path: Path) -> list[dict[str, Any]]:
    """Studies in the history file; none where the file is damaged, or of another version."""
    if not path.exists():
        return []
    try:
        found = read_json(path)
    except ValueError as error:
        warn(f"{path} is damaged ({error}): the report loses its records of earlier studies, their storage has them")
        return []
    kept: list[dict[str, Any]] = found["studies"] if found["format"] == HISTORY_FORMAT else []
    return kept


def _study(storage: BaseStorage, architecture: str, searched: Study) -> dict[str, Any]:
    study, space = optuna.load_study(study_name=searched.name, storage=storage), searched.space
    return {
        "name": searched.name,
        "architecture": architecture,
        "documented": dict(space.best),
        "space": space.record(),
        **{key: study.user_attrs[key] for key in (PRESET, PRESET_CHANGES) if key in study.user_attrs},
        "importances": _importances(study),
        "trials": list(_trials(study.get_trials(deepcopy=False))),
    }


def _trials(trials: Sequence[FrozenTrial]) -> Iterator[dict[str, Any]]:
    for trial in trials:
        if trial.state not in _ENDS:
            continue
        known, code = trial.user_attrs, failure_code(trial.user_attrs)
        curve = [[epoch, value] for epoch, value in sorted(trial.intermediate_values.items())]
        yield {
            "number": trial.number,
            "state": TrialEnd.INTERRUPTED if code == FailureCode.INTERRUPTED else _ENDS[trial.state],
            "config": known.get("config"),
            "params": dict(trial.params),
            "origin": known.get("origin"),
            "smape": trial.value if trial.value is not None else (curve[-1][1] if curve else None),
            "standard_error": known.get("standard_error"),
            "curve": curve,
            "best_epoch": known.get("best_epoch"),
            "start": trial.datetime_start.timestamp() if trial.datetime_start else None,
            "end": trial.datetime_complete.timestamp() if trial.datetime_complete else None,
            "seconds": None if "answered_from" in known else _seconds(trial, known),
            "answered_from": known.get("answered_from"),
            "error": known.get("error"),
            "error_code": code,
            "stopped": known.get(STOPPED),
        }


def _seconds(trial: FrozenTrial, known: Mapping[str, Any]) -> float | None:
    """Of its training; of one that was stopped, from its start to its end."""
    if "seconds" in known:
        return float(known["seconds"])
    return None if trial.duration is None else trial.duration.total_seconds()


def _importances(study: optuna.Study) -> dict[str, float] | None:
    """By functional ANOVA on a random forest (Hutter, Hoos and Leyton-Brown 2014)."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = {trial.value for trial in done if "answered_from" not in trial.user_attrs}
    if len(values) < FEWEST:
        return None
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # it takes a second to import

    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=_TREES, seed=0))
    return {name: float(share) for name, share in found.items()}
