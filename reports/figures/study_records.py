"""Trial records by study: from `history.json`, else from the finished trials on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from core.atomic_files import read_json
from core.errors import FailureCode, UserError, failure_code
from core.store.workspace import Workspace

Record = dict[str, Any]


class TrialEnd(StrEnum):
    """State of an ended trial, as `history.json` has it."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


PRESET, PRESET_CHANGES = "preset", "preset_changes"
"""Of a study: the preset of its sweep, and the settings that the user changed of it."""

HISTORY = "history.json"
HISTORY_FORMAT = 1


def read_studies(workspace: Workspace, finished: Sequence[Record], notes: list[str]) -> tuple[Record, ...]:
    """Studies with their trials (format: `experiments.tracking.history`). Each trial also has a unique `label`, `repeat` (trained
    nothing), and where it has a record its `settings`, all `metrics`, and its `epochs` with losses and times where recorded.

    finished: records of trials with `config` and `ended`; those that no study knows, because the sweep's driver was killed,
    stand in a study of their own. notes: what is left out is added. Raises UserError for a damaged file.
    """
    known = {record["config"]: record for record in finished}
    studies = []
    for study in _history(workspace, notes):
        trials = [{**trial, **_facts(known.get(trial["config"]))} for trial in study["trials"]]
        studies.append({**study, "trials": trials})
    listed = {trial["config"] for study in studies for trial in study["trials"]}
    rest = [record for record in finished if record["config"] not in listed]
    for architecture in dict.fromkeys(record["architecture"] for record in rest):
        own = [record for record in rest if record["architecture"] == architecture]
        studies.append(_study(architecture, own))
    return labelled(studies)


def labelled(studies: Sequence[Record]) -> tuple[Record, ...]:
    """The studies, whose trials also have a `label`, which no other has, and are a `repeat` or not."""
    found, counts = [], Counter(study["architecture"] for study in studies)
    for study in studies:
        name = study["architecture"] if counts[study["architecture"]] == 1 else study["name"]
        trials = [
            {**trial, "label": f"{name} #{trial['number']}", "repeat": _is_repeat(trial)} for trial in study["trials"]
        ]
        found.append({**study, "trials": trials})
    return tuple(found)


def _is_repeat(trial: Record) -> bool:
    return trial["answered_from"] is not None or failure_code(trial) == FailureCode.FAILED_BEFORE


def _history(workspace: Workspace, notes: list[str]) -> list[Record]:
    path = workspace.path(HISTORY)
    if not path.exists():
        return []
    try:
        found = read_json(path)
    except ValueError as error:  # JSON's and UTF-8's
        raise UserError(
            f"{path} is damaged: {error}",
            code="history-damaged",
            hint="move it away; the next sweep writes it again from its studies",
        ) from None
    if found["format"] != HISTORY_FORMAT:
        notes.append(f"{HISTORY} is not shown: another version wrote it; the next sweep writes it again")
        return []
    studies: list[Record] = found["studies"]
    return studies


def _facts(record: Record | None) -> Record:
    defaults: Record = {"settings": None, "metrics": None, "epochs": [], "cut": False}
    return {key: (record or {}).get(key, value) for key, value in defaults.items()}


def _study(architecture: str, records: Sequence[Record]) -> Record:
    """A study of finished trials alone, numbered in the order in which they ended."""
    trials = [
        {
            "number": number,
            "state": TrialEnd.COMPLETE,
            "config": record["config"],
            "params": {key: value for key, value in record["settings"].items() if not isinstance(value, (dict, list))},
            "origin": None,
            "smape": record["metrics"]["smape"],
            "standard_error": record.get("standard_error"),
            "curve": [[each["epoch"], each["smape"]] for each in record.get("epochs", [])],
            "best_epoch": record.get("best_epoch"),
            "start": record["ended"] - record["seconds"],
            "end": record["ended"],
            "seconds": record["seconds"],
            "answered_from": None,
            "error": None,
            **_facts(record),
        }
        for number, record in enumerate(records)
    ]
    return {
        "name": f"{architecture}, finished trials",
        "architecture": architecture,
        "documented": {},
        "space": {},
        "importances": None,
        "trials": trials,
    }
