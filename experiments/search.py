"""Which config of one architecture is tried next: Optuna proposes and remembers, repeats are answered and never trained.

The only module that knows Optuna. One study holds the trials of one architecture on one catalog, one set of folds, one seed,
one space and one set of settings that the user fixed: only such trials are comparable.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from core.errors import UserError, suggestion
from core.files import digest_json
from experiments.jobs import Outcome
from experiments.promotion import Finished
from search_spaces import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)

REPEATS = 20
"""So many repeated proposals in a row are answered; then an untried point is drawn, because the sampler has converged."""

WALKED = 5_000
"""Spaces with more points are not looked through for the last untried ones."""

SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "tpe": lambda space, seed: TPESampler(seed=seed, n_startup_trials=8, multivariate=True, constant_liar=True),
    "random": lambda space, seed: RandomSampler(seed=seed),
    "grid": lambda space, seed: RandomSampler(seed=seed),  # never draws: every point is queued, in order
    "gp": lambda space, seed: GPSampler(seed=seed, n_startup_trials=8),
}

INTERRUPTED = "the sweep was interrupted"
StudyError = optuna.exceptions.StorageInternalError
"""What is raised when a trial cannot be written."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
CARRIED = {"best_epoch", "seconds", "steady_smape", "standard_error"}
"""Facts of a trial that a repeat of it takes over."""


@dataclass(frozen=True)
class Proposal:
    """A config to train: the trial's number, the searched settings, and the name that equal configs share."""

    number: int
    searched: dict[str, Any]
    name: str


def check_sampler(name: str) -> None:
    """Raises UserError for an unknown sampler."""
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler '{name}'", cure=suggestion(name, SAMPLERS))


def without_password(url: str) -> str:
    """A storage URL that may be printed."""
    return re.sub(r"(?<=://)([^/:@]+):[^@/]*@", r"\1:***@", url)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Optuna's storage behind a SQLAlchemy URL. SQLite waits for its lock instead of failing, and readers do not block it."""
    try:
        if not url.startswith("sqlite"):
            return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        return storage
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
        raise UserError(
            f"the study's storage {without_password(url)} cannot be opened: {str(error).splitlines()[0]}",
            cure="check --storage; the default is an SQLite file in the workspace",
        ) from None


class Study:
    """The trials of one search. Used from one thread.

    identify: gives the name of the config with these searched settings. known: the outcome of a finished trial of that name
    in any earlier study, or None.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        storage: optuna.storages.BaseStorage,
        *,
        identify: Callable[[Mapping[str, Any]], str],
        known: Callable[[str], Outcome | None],
        sampler: str = "tpe",
        seed: int = 0,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.space, self._identify, self._known = space, identify, known
        self._distributions: dict[str, BaseDistribution] = {
            key: CategoricalDistribution(choices) for key, choices in space.values.items()
        }
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="minimize",
            load_if_exists=True,
            sampler=SAMPLERS[sampler](space, seed),
            pruner=optuna.pruners.NopPruner(),  # Ray's scheduler decides; Optuna is told
        )
        for key, value in (attributes or {}).items():
            self._study.set_user_attr(key, value)
        self._random, self._exhaustive = random.Random(seed), sampler == "grid"
        self._running: dict[str, list[optuna.Trial]] = {}
        self._reported: dict[str, set[int]] = {}  # epochs of what runs
        self._failed: set[str] = set()  # in this run: the next sweep may try them again
        self._results: dict[str, FrozenTrial] = {
            trial.user_attrs["config"]: trial for trial in self._trials(*FINISHED) if "config" in trial.user_attrs
        }
        self._restart_stale()
        if space.best and not self._study.trials:
            self._study.enqueue_trial(space.best, user_attrs={"origin": "documented best"})

    @property
    def name(self) -> str:
        return self._study.study_name

    @property
    def distinct(self) -> int:
        """How many different configs have a result."""
        return len(self._results)

    @property
    def exhausted(self) -> bool:
        """True once every different config of the space has a result or is running.

        Points that differ only in settings without effect are one config, so the space is walked and not multiplied out,
        unless it is so large that nobody will see its end.
        """
        if self.space.points > WALKED:
            return False
        return self._points.keys() <= self._taken

    def ask(self, wanted: int | None = None) -> Proposal | None:
        """The next config to train, or None if there is none left or `wanted` different ones have a result or run.

        Configs whose result is known are answered on the way.
        """
        repeats = 0
        while not self.exhausted and (wanted is None or len(self._results.keys() | self._running.keys()) < wanted):
            if (self._exhaustive or repeats >= REPEATS) and not self._trials(TrialState.WAITING):
                untried = self._untried()
                if untried is None:
                    return None
                self._study.enqueue_trial(untried, user_attrs={"origin": "untried point"})
            trial = self._study.ask(self._distributions)
            name = self._identify(trial.params)
            trial.set_user_attr("config", name)
            if name in self._failed:
                trial.set_user_attr("error", "this config has failed before in this sweep")
                self._study.tell(trial, state=TrialState.FAIL)
            elif name in self._running:
                self._running[name].append(trial)
            elif not self._answer(trial, name):
                self._running[name] = [trial]
                return Proposal(trial.number, dict(trial.params), name)
            repeats += 1
        return None

    def report(self, name: str, epoch: int, smape: float) -> None:
        """An intermediate value of a running trial, shown by the dashboard as the learning curve.

        A training that goes on from its last state reports its earlier epochs again; they are known.
        """
        known = self._reported.setdefault(name, set())
        if epoch not in known:
            known.add(epoch)
            self._running[name][0].report(smape, epoch)

    def note(self, name: str, key: str, value: Any) -> None:
        """Attaches a fact to a running trial, for people who look at the dashboard."""
        self._running[name][0].set_user_attr(key, value)

    def complete(self, name: str, outcome: Outcome) -> None:
        """The trial of that config has finished: it, and every repeat that waited for it, is COMPLETE."""
        attributes: dict[str, Any] = {
            **outcome.metrics,
            "best_epoch": outcome.best_epoch,
            "seconds": round(outcome.seconds, 2),
            "steady_smape": outcome.metrics["smape"] if outcome.steady is None else outcome.steady,
            "standard_error": outcome.standard_error,
        }
        if outcome.cut:
            attributes["cut"] = "the deadline ended this training"
        self._end(name, TrialState.COMPLETE, outcome.metrics["smape"], attributes)

    def prune(self, name: str, smape: float) -> None:
        """The scheduler stopped it: PRUNED, with the last value it reached."""
        self._end(name, TrialState.PRUNED, None, {"smape": smape})

    def fail(self, name: str, error: str) -> None:
        """It crashed: FAIL, with the error's text; the next sweep may try the config again, this one will not."""
        self._end(name, TrialState.FAIL, None, {"error": error})
        self._failed.add(name)

    def interrupt(self, name: str) -> None:
        """The sweep ends while it runs: FAIL now, and the first to be proposed when the sweep goes on."""
        params = self._running[name][0].params
        self._end(name, TrialState.FAIL, None, {"error": INTERRUPTED})
        self._study.enqueue_trial(params, user_attrs={"origin": "interrupted before"})

    def ranking(self) -> list[Finished]:
        """Completed trials of different configs, best steady SMAPE first; equal ones in the order of their numbers."""
        found = []
        for name, trial in self._results.items():
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                facts = trial.user_attrs
                steady, error = float(facts["steady_smape"]), facts["standard_error"]
                epoch = int(facts["best_epoch"])
                found.append(Finished(trial.number, dict(trial.params), name, trial.value, epoch, steady, error))
        return sorted(found, key=lambda each: (each.steady, each.number))

    def threshold(self, place: int) -> float | None:
        """The SMAPE that a trial must beat to be among the best `place`; None while there are fewer."""
        values = nsmallest(place, (trial.value for trial in self._results.values() if trial.value is not None))
        return values[-1] if len(values) == place > 0 else None

    def seconds(self) -> list[float]:
        """What the completed trainings of this study took, for the plan of a sweep that goes on."""
        return [float(trial.user_attrs["seconds"]) for trial in self._results.values() if "seconds" in trial.user_attrs]

    def counts(self) -> dict[str, int]:
        """How many trials of the study are in each state, repeats included."""
        found = Counter(trial.state for trial in self._trials(*TrialState))
        return {state.name: found[state] for state in TrialState if state in found}

    def _answer(self, trial: optuna.Trial, name: str) -> bool:
        """Tells the sampler what is known of this config; False if nothing is."""
        if name in self._results and "cut" not in self._results[name].user_attrs:
            first = self._results[name]
            trial.set_user_attr("answered_from", first.number)
            for key in CARRIED & first.user_attrs.keys():
                trial.set_user_attr(key, first.user_attrs[key])
            for epoch, value in first.intermediate_values.items():
                trial.report(value, epoch)
            self._study.tell(trial, first.value if first.state == TrialState.COMPLETE else None, state=first.state)
            return True
        outcome = self._known(name)
        if outcome is None:
            return False
        trial.set_user_attr("answered_from", "an earlier study")
        self._running[name] = [trial]
        self.complete(name, outcome)
        return True

    def _end(self, name: str, state: TrialState, value: float | None, attributes: Mapping[str, Any]) -> None:
        first, *repeats = self._running.pop(name)
        self._reported.pop(name, None)
        for trial in (first, *repeats):
            for key, attribute in attributes.items():
                trial.set_user_attr(key, attribute)
            if trial is not first:
                trial.set_user_attr("answered_from", first.number)
            told = self._study.tell(trial, value, state=state)
            if state in FINISHED and trial is first:
                self._results[name] = told

    @property
    def _taken(self) -> set[str]:
        return self._results.keys() | self._running.keys() | self._failed

    def _untried(self) -> dict[str, Any] | None:
        """A point without a result, the first one in an exhaustive search, else a random one; None if none was found."""
        taken = self._taken
        if self._exhaustive:
            points = self.space.grid()
        elif self.space.points <= WALKED:
            points = iter(self._random.sample(list(self._points.values()), len(self._points)))
        else:
            points = (
                {name: self._random.choice(values) for name, values in self.space.values.items()} for _ in range(WALKED)
            )
        return next((point for point in points if self._identify(point) not in taken), None)

    @cached_property
    def _points(self) -> dict[str, dict[str, Any]]:
        """Every different config of the space by its name."""
        return {self._identify(point): point for point in self.space.grid()}

    def _restart_stale(self) -> None:
        """Trials left RUNNING by a driver that died are FAIL; their configs are proposed first."""
        for trial in self._trials(TrialState.RUNNING):
            optuna.Trial(self._study, trial._trial_id).set_user_attr("error", INTERRUPTED)
            self._study.tell(trial.number, state=TrialState.FAIL)
            if set(trial.params) == set(self._distributions):
                self._study.enqueue_trial(trial.params, user_attrs={"origin": f"retry of #{trial.number}"})

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)


def study_name(
    architecture: str, identity: Mapping[str, Any], storage: optuna.storages.BaseStorage, fresh: bool
) -> str:
    """`text-1a2b3c4d` from all that makes trials comparable; `fresh` adds a run number that no study has yet."""
    base = f"{architecture}-{digest_json(identity)[:8]}"
    runs = [name for name in optuna.get_all_study_names(storage) if name == base or name.startswith(f"{base}-run")]
    if fresh and runs:
        return f"{base}-run{len(runs) + 1}"
    return max(runs, key=lambda name: int(name.rpartition("-run")[2]) if "-run" in name else 1, default=base)
