"""Comparison of two trials, members, studies or workspaces, found by the name that a person types."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from core.atomic_files import read_json
from core.errors import UserError, suggestion
from core.formatting import headline
from core.metrics import METRICS, group_standard_error, smape_terms
from core.store.workspace import Workspace
from experiments.common.jobs import stop_sentence
from experiments.search.trial_store import find_study, short_name
from experiments.tracking.sweep_record import read_record, study_names

Kind = Literal["trial", "member", "study", "workspace"]


@dataclass(frozen=True)
class Comparand:
    """One of two things that are compared. facts: settings and what else may differ. figures: metrics, counts, seconds.

    curve: SMAPE by epoch. member: whose out-of-fold prices stand for it, with the workspace that has them.
    """

    kind: Kind
    label: str
    facts: dict[str, Any]
    figures: dict[str, float]
    curve: dict[int, float] = field(default_factory=dict)
    member: tuple[Workspace, str] | None = None


@dataclass(frozen=True)
class Paired:
    """Second minus first, over the same training rows: SMAPE points, and their standard error over product groups."""

    difference: float
    error: float

    @property
    def is_noise(self) -> bool:
        return abs(self.difference) <= 2 * self.error


class Finder:
    """Lookup of trials, configs, members and studies of a workspace by name."""

    def __init__(self, workspace: Workspace, storage: BaseStorage) -> None:
        self._workspace, self._storage = workspace, storage
        self._latest = study_names(storage, read_record(workspace.folder))
        self._studies = optuna.get_all_study_names(storage)

    def find(self, name: str) -> Comparand:
        """Raises UserError, with the nearest names, for what is not there."""
        if self._workspace.store.has_member(name):
            return member_side(self._workspace, name)
        if (study := find_study(name, self._studies)) is not None:
            return self._study_side(study)
        study, _, number = name.rpartition("#") if "#" in name else ("", "", name)
        if number.isdigit():
            return self._trial_side(self._study_of(study, name), int(number))
        return self._config_side(name)

    def _study_of(self, given: str, name: str) -> str:
        if not given and len(self._latest) == 1:
            return next(iter(self._latest.values()))
        study = find_study(self._latest.get(given, given), self._studies)
        if study is None:
            hint = (
                suggestion(given, [*self._latest, *map(short_name, self._studies)])
                if given
                else f"write {next(iter(self._latest), 'text')}#{name}"
            )
            raise UserError(
                f"'{name}': {f'no study {given}' if given else 'of which study?'}", code="compare-no-study", hint=hint
            )
        return study

    def _trial_side(self, study: str, number: int) -> Comparand:
        trials = self._trials(study)
        if (found := next((trial for trial in trials if trial.number == number), None)) is not None:
            return self._side(study, found)
        last = f"0 to {len(trials) - 1}" if trials else "none"
        raise UserError(
            f"{short_name(study)} has no trial {number}", code="compare-no-trial", hint=f"it has trials {last}"
        )

    def _config_side(self, config: str) -> Comparand:
        """The first finished trial of that config, in the latest studies before the others."""
        known: set[str] = set()
        for study in dict.fromkeys([*self._latest.values(), *self._studies]):
            trials = self._trials(study)
            known |= {str(trial.user_attrs["config"]) for trial in trials if "config" in trial.user_attrs}
            hits = [trial for trial in trials if trial.user_attrs.get("config") == config]
            if hits:
                hits.sort(key=lambda trial: (trial.state != TrialState.COMPLETE, trial.number))
                return self._side(study, hits[0])
        examples = [f"{architecture}#0" for architecture in self._latest]
        near = get_close_matches(config, known, n=10, cutoff=0.5)
        names = {*self._workspace.store.complete(), *self._studies, *examples, *near}
        raise UserError(
            f"nothing is called '{config}' in {self._workspace.folder}",
            code="compare-unknown-name",
            hint=suggestion(config, names),
        )

    def _side(self, study: str, trial: FrozenTrial) -> Comparand:
        known = trial.user_attrs
        names = (*METRICS, "standard_error", "best_epoch")
        figures: dict[str, float] = {name: known[name] for name in names if known.get(name) is not None}
        if trial.duration is not None:
            figures["seconds"] = float(known.get("seconds", trial.duration.total_seconds()))
        facts = {"state": trial.state.name, **self._fixed(study), **trial.params}
        if "error" in known:
            facts["error"] = headline(str(known["error"]))
        if (why := stop_sentence(known)) is not None:
            facts["stopped"] = why
        label = f"{short_name(study)}#{trial.number}"
        return Comparand("trial", label, facts, figures, dict(trial.intermediate_values))

    def _fixed(self, study: str) -> dict[str, Any]:
        """Every setting of a finished trial of the study: beside what is searched, all its trials have the same."""
        for trial in self._trials(study):
            path = self._workspace.path("trials", str(trial.user_attrs.get("config")), "trial.json")
            if path.exists():
                settings: dict[str, Any] = read_json(path)["settings"]
                return settings
        return {}

    def _study_side(self, name: str) -> Comparand:
        study, trials = optuna.load_study(study_name=name, storage=self._storage), self._trials(name)
        counts = Counter(trial.state.name.lower() for trial in trials)
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        best = min(done, key=lambda trial: (trial.value, trial.number), default=None)
        figures: dict[str, float] = {"trials": len(trials), **dict(sorted(counts.items()))}
        figures["seconds"] = sum(trial.duration.total_seconds() for trial in trials if trial.duration is not None)
        curve: dict[int, float] = {}
        for trial in sorted(done, key=lambda trial: trial.number):
            assert trial.value is not None, "it is complete"
            curve[trial.number] = min(trial.value, min(curve.values(), default=trial.value))
        facts = {name: value for name, value in study.user_attrs.items() if name in ("workspace", "notes")}
        if best is not None and best.value is not None:
            figures["smape"] = best.value
            facts |= {f"best {name}": value for name, value in best.params.items()}
        return Comparand("study", name, facts, figures, curve)

    def _trials(self, study: str) -> list[FrozenTrial]:
        trials = optuna.load_study(study_name=study, storage=self._storage).get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]


def member_side(workspace: Workspace, name: str) -> Comparand:
    record = read_json(workspace.store.folder / name / "member.json")
    figures = {**record["metrics"], **{key: record.get(key) for key in ("standard_error", "seconds")}}
    folds = {f"fold {fold} smape": value for fold, value in enumerate(record["fold_smape"])}
    known = {key: value for key, value in (figures | folds).items() if value is not None}  # imported: without seconds
    facts = {**({"seed": record["seed"]} if "seed" in record else {}), **record["settings"]}
    return Comparand("member", name, facts, known, member=(workspace, name))


def workspace_side(folder: Path) -> Comparand:
    """Raises UserError for a folder that is no workspace."""
    workspace = Workspace(folder)
    facts = workspace.facts
    shown = {name: getattr(facts, name) for name in ("train", "test", "images", "catalog", "folds", "k", "fold_mode")}
    members = {name: read_json(workspace.store.folder / name / "member.json") for name in workspace.store.complete()}
    figures: dict[str, float] = {"members": len(members)}
    best = min(members, key=lambda name: members[name]["metrics"]["smape"], default=None)
    if best is not None:
        figures |= {f"best member's {name}": value for name, value in members[best]["metrics"].items()}
        shown["best member"] = best
    record = workspace.path("stack.json")
    if record.exists():
        figures["stack's smape (nested)"] = float(read_json(record)["nested"]["smape"])
    sweep = read_record(folder)
    if sweep is not None:
        shown |= {"command": sweep.command, "studies": " ".join(sweep.studies.values())}
        if sweep.ended is not None:
            figures["seconds of the last sweep"] = sweep.ended - sweep.start
    return Comparand("workspace", str(folder), shown, figures, member=None if best is None else (workspace, best))


def paired(first: Comparand, second: Comparand) -> Paired | None:
    """Of two members on the same rows and folds, or of two workspaces' best members; None where nothing can be paired."""
    if first.member is None or second.member is None or first.kind != second.kind:
        return None
    (one, _), (other, _) = first.member, second.member
    if (one.facts.catalog, one.facts.folds) != (other.facts.catalog, other.facts.folds):
        return None
    terms = [_terms(*each.member) for each in (first, second) if each.member is not None]
    difference = terms[1] - terms[0]
    covered = np.isfinite(difference)
    error = group_standard_error(difference[covered], one.train.product_groups[covered])
    return Paired(float(difference[covered].mean()), error)


def _terms(workspace: Workspace, member: str) -> NDArray[np.float64]:
    """(n_train,) each row's share of the SMAPE, NaN where no fold covered it."""
    oof, prices = workspace.store.read(member).oof, workspace.train.known_prices
    terms, covered = np.full(len(oof), np.nan), np.isfinite(oof)
    terms[covered] = smape_terms(prices[covered], oof[covered])
    return terms
