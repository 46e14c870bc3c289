"""Sweep figures: trials, best so far, setting importances, failures and time."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from core.architectures import ARCHITECTURES
from core.formatting import headline
from core.store.oof_store import Member
from reports.figures.member_figures import IMPORTED
from reports.figures.study_records import PRESET, PRESET_CHANGES, Record, TrialEnd


class Purpose(StrEnum):
    """Purpose of training time."""

    FINISHED = "finished trials"
    STOPPED = "stopped trials"
    FAILED = "failed trials"
    INTERRUPTED = "interrupted trials"
    CROSS_VALIDATION = "cross-validation"
    STACKING = "choosing and fitting"


_PURPOSES = {
    TrialEnd.COMPLETE: Purpose.FINISHED,
    TrialEnd.PRUNED: Purpose.STOPPED,
    TrialEnd.FAILED: Purpose.FAILED,
    TrialEnd.INTERRUPTED: Purpose.INTERRUPTED,
}
_CAUSE = 200
_NUMBERS = re.compile(r"\d[\d.,]*")


def sweep_figures(studies: Sequence[Record], members: Sequence[Member], timings: Mapping[str, Any]) -> Record | None:
    """All trials in the order in which they ended, each architecture's best and what its documented best got, importances,
    failures by cause, and seconds by purpose. None without trials.
    """
    trials = _in_order(studies)
    if not trials:
        return None
    names = known_first({trial["architecture"] for trial in trials})
    own = {name: [trial for trial in trials if trial["architecture"] == name] for name in names}
    return {
        "trials": trials,
        "counts": {state: sum(trial["state"] == state for trial in trials) for state in TrialEnd},
        "architectures": [_architecture(name, own[name], studies) for name in names],
        "importances": [
            {"study": study["name"], "architecture": study["architecture"], "setting": setting, "share": share}
            for study in latest(studies)
            for setting, share in sorted((study["importances"] or {}).items(), key=lambda each: -each[1])
        ],
        "failures": failures(trials),
        "time": time_spent(trials, members, timings),
        "seconds": round(sum(trial["seconds"] or 0.0 for trial in trials), 2),
    }


def _in_order(studies: Sequence[Record]) -> list[Record]:
    """Ended trials of all studies. minutes: of training that all trials have taken so far; epochs: of its architecture's."""
    found = [(trial["end"] or 0.0, study, trial) for study in studies for trial in study["trials"]]
    found.sort(key=lambda each: (each[0], each[1]["name"], each[2]["number"]))
    seconds, epochs, best = 0.0, defaultdict[str, int](int), dict[str, float]()
    shown = []
    for order, (_, study, trial) in enumerate(found, start=1):
        name = study["architecture"]
        seconds += trial["seconds"] or 0.0
        if not trial["repeat"]:
            epochs[name] += len(trial["curve"]) or (trial["state"] == TrialEnd.COMPLETE)
        if trial["state"] == TrialEnd.COMPLETE and trial["smape"] is not None:
            best[name] = min(trial["smape"], best.get(name, math.inf))
        shown.append(
            {
                "order": order,
                "study": study["name"],
                "architecture": name,
                **{key: trial[key] for key in _SHOWN},
                "stopped": trial.get("stopped"),  # absent in histories of older versions
                "minutes": round(seconds / 60, 4),
                "epochs": epochs[name],
                "best_so_far": best.get(name),
                "documented": bool(study["documented"]) and trial["params"] == study["documented"],
            }
        )
    return shown


_SHOWN = (
    *("label", "number", "state", "config", "params", "origin", "smape", "curve", "best_epoch", "seconds", "repeat"),
    *("answered_from", "error", "settings", "metrics"),
)


def _architecture(name: str, trials: Sequence[Record], studies: Sequence[Record]) -> Record:
    """best: the trial of the lowest SMAPE, None where none has finished. documented: what the documented best got. study: the
    latest one; varied: the settings that it has tried more than one value of, with the best trial's. presets: see `_presets`."""
    finished = [trial for trial in trials if trial["state"] == TrialEnd.COMPLETE and trial["smape"] is not None]
    own = latest([study for study in studies if study["architecture"] == name])[0]["name"]
    winner = min(finished, key=lambda trial: (trial["smape"], trial["order"]), default=None)
    of_presets = {study["name"] for study in studies if study.get(PRESET)}
    ours = [trial for trial in finished if trial["study"] not in of_presets]
    documented = _first_point(ours or finished)
    varied = varied_settings([trial["params"] for trial in finished if trial["study"] == own])
    return {
        "name": name,
        "studies": [study["name"] for study in studies if study["architecture"] == name],
        "study": own,
        "counts": {state: sum(trial["state"] == state for trial in trials) for state in TrialEnd},
        "seconds": round(sum(trial["seconds"] or 0.0 for trial in trials), 2),
        "best": winner,
        "documented": documented,
        "varied": {key: winner["params"].get(key) for key in varied} if winner else {},
        "presets": list(_presets([study for study in studies if study["architecture"] == name], finished, ours)),
    }


def _first_point(finished: Sequence[Record]) -> float | None:
    """SMAPE of the documented best among these trials; None where it has not finished."""
    return next((trial["smape"] for trial in finished if trial["documented"]), None)


def _presets(studies: Sequence[Record], finished: Sequence[Record], ours: Sequence[Record]) -> Iterator[Record]:
    """Results of the sweeps with a preset, beside those without. smape: of the preset's first point; changes: what the user had
    otherwise, {setting: [the preset's value, the user's]}. default, best: SMAPE of our first point and of our best trial.
    """
    for study in studies:
        smape = _first_point([trial for trial in finished if trial["study"] == study["name"]])
        if study.get(PRESET) and smape is not None:
            yield {
                "name": study[PRESET],
                "study": study["name"],
                "smape": smape,
                "changes": study.get(PRESET_CHANGES, {}),
                "default": _first_point(ours),
                "best": min((trial["smape"] for trial in ours), default=None),
            }


def latest(studies: Sequence[Record]) -> list[Record]:
    """Of each architecture the study whose last trial ended last: settings of others were searched under other conditions."""
    found: dict[str, Record] = {}
    for study in studies:
        other = found.get(study["architecture"])
        if other is None or _end(study) >= _end(other):
            found[study["architecture"]] = study
    return list(found.values())


def _end(study: Record) -> float:
    return max((trial["end"] or 0.0 for trial in study["trials"]), default=0.0)


def varied_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names, sorted, of settings that are not the same in all of them."""
    names = sorted({name for each in settings for name in each})
    return [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]


def known_first(names: set[str]) -> list[str]:
    """Architectures in the order of the registry, then any other name by alphabet."""
    order = list(ARCHITECTURES)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def failures(trials: Sequence[Record]) -> list[Record]:
    """Failed trials by cause, the most frequent first: errors that differ in numbers alone have one cause.

    shared: settings that all of them have and no finished trial of their architectures has.
    """
    grouped = defaultdict[str, list[Record]](list)
    for trial in trials:
        if trial["state"] == TrialEnd.FAILED and not trial["repeat"]:
            grouped[_NUMBERS.sub("#", headline(trial["error"]))].append(trial)
    return sorted(
        (_cause(own, trials) for own in grouped.values()), key=lambda cause: (-cause["count"], cause["error"])
    )


def _cause(failed: Sequence[Record], trials: Sequence[Record]) -> Record:
    architectures = known_first({trial["architecture"] for trial in failed})
    fine = [
        each["params"]
        for each in trials
        if each["state"] == TrialEnd.COMPLETE and each["architecture"] in architectures
    ]
    first = failed[0]["params"]
    shared = {
        name: value
        for name, value in first.items()
        if fine
        and all(each["params"].get(name) == value for each in failed)
        and all(each.get(name) != value for each in fine)
    }
    return {
        "error": headline(failed[0]["error"])[:_CAUSE],
        "count": len(failed),
        "architectures": architectures,
        "trials": [each["label"] for each in failed],
        "shared": shared if len(failed) > 1 else {},
    }


def time_spent(trials: Sequence[Record], members: Sequence[Member], timings: Mapping[str, Any]) -> list[Record]:
    """Seconds of training by architecture and purpose, and of the stack.

    A trial that became a fold of a member is counted as that: it was not trained twice.
    """
    spent = defaultdict[tuple[str, Purpose], float](float)
    used = {_origin(member) for member in members if "seed_of" not in member.record.get("origin", {})}
    for trial in trials:
        if (trial["architecture"], trial["number"], trial["smape"]) not in used:
            spent[trial["architecture"], _PURPOSES[trial["state"]]] += trial["seconds"] or 0.0
    for member in members:
        seconds = member.record.get("seconds")
        if seconds is not None:
            spent[member.record.get("architecture", IMPORTED), Purpose.CROSS_VALIDATION] += seconds
    if timings:
        spent["stack", Purpose.STACKING] = timings["seconds"]["total"]
    return [
        {"architecture": name, "purpose": purpose, "seconds": round(seconds, 2)}
        for (name, purpose), seconds in spent.items()
        if seconds > 0
    ]


def _origin(member: Member) -> tuple[Any, ...]:
    origin = member.record.get("origin", {})
    return member.record.get("architecture"), origin.get("trial"), origin.get("trial_smape")
