"""Study of one architecture: Optuna proposes the next config, repeated configs are deduplicated.

The only module that sets up Optuna's samplers. One study holds the trials of one architecture on one catalog, one set of
folds, one seed, one space and one set of settings that the user fixed: only such trials are comparable.
"""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from heapq import nsmallest
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from core.atomic_files import digest_json
from core.errors import FailureCode, UserError, failure_code, suggestion
from experiments.common.jobs import STOPPED, JobOutcome, StopReason
from experiments.search.sampler_adapter import SamplerAdapter
from experiments.search.trial_selection import Finished
from experiments.search.trial_store import SEPARATOR, TrialResult, TrialStore, differences, short_name
from search_spaces import Choices, Range, Space

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
_INTERRUPTED = {"error": INTERRUPTED, "error_code": FailureCode.INTERRUPTED.value}
_FAILED_BEFORE = {"error": "this config has failed before in this sweep", "error_code": FailureCode.FAILED_BEFORE.value}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
CARRIED = {"best_epoch", "seconds", "steady_smape", "standard_error", STOPPED}
"""Facts of a trial that a repeat of it takes over."""


@dataclass(frozen=True)
class Proposal:
    """A config to train: the trial's number, the searched settings, the name that equal configs share.

    differs: the settings in which it differs from the best known point, in words.
    """

    number: int
    searched: dict[str, Any]
    name: str
    differs: str


def check_sampler(name: str) -> None:
    """Raises UserError for an unknown sampler."""
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler '{name}'", code="sampler-unknown", hint=suggestion(name, SAMPLERS))


@dataclass
class _Open:
    """A trial that runs: its id and number in the storage, itself in the sampler's memory, and the epochs that it reported."""

    id: int
    number: int
    advice: optuna.Trial
    epochs: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Queued:
    """A point that is proposed before the sampler is asked. waiting: the trial of the storage that holds it, if one does."""

    params: dict[str, Any]
    origin: str
    waiting: FrozenTrial | None = None


def distribution(choices: Choices) -> BaseDistribution:
    """Optuna's distribution of a setting's choices or range."""
    if not isinstance(choices, Range):
        return CategoricalDistribution(choices)
    if choices.whole:
        return IntDistribution(int(choices.low), int(choices.high), choices.log, int(choices.step or 1))
    return FloatDistribution(choices.low, choices.high, choices.log, choices.step)


@dataclass(frozen=True)
class StudySettings:
    """Settings of a study that do not depend on its architecture.

    attributes: facts for the study's user attributes. guard: called before anything is written; raises where the study is
    another driver's.
    """

    sampler: str = "tpe"
    seed: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    guard: Callable[[], None] = lambda: None


class Study:
    """The trials of one search. Used from one thread, and by one driver at a time (`lease`).

    Every trial that runs is in the storage with its settings from the first moment, and what is to be tried again is read
    from the trials themselves: a driver may be killed between any two of its writes.

    identify: gives the name of the config with these searched settings. effect: a key that all configs which train the same
    share (`Architecture.effective`), the name itself where not given: the first that is tried stands for them all. known: the
    outcome of a finished trial of that name in any earlier study, or None.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        storage: BaseStorage,
        *,
        identify: Callable[[Mapping[str, Any]], str],
        known: Callable[[str], JobOutcome | None],
        effect: Callable[[Mapping[str, Any]], str] | None = None,
        settings: StudySettings = StudySettings(),
    ) -> None:
        self.space, self.name, self._own_name, self._known = space, name, identify, known
        self._effect = effect or identify
        self._distributions = {key: distribution(choices) for key, choices in space.values.items()}
        self._trial_store = TrialStore(storage, name, self._distributions, settings.guard)
        self._trial_store.describe(settings.attributes)
        self._random, self._exhaustive = random.Random(settings.seed), settings.sampler == "grid"
        self._running: dict[str, list[_Open]] = {}
        self._failed: set[str] = set()  # in this run: the next sweep may try them again
        before = self._trial_store.trials()
        self._results: dict[str, FrozenTrial] = {
            trial.user_attrs["config"]: trial
            for trial in before
            if trial.state in FINISHED
            and "config" in trial.user_attrs
            and not isinstance(trial.user_attrs.get("answered_from"), int)
        }
        self._by_effect: dict[str, str] = {}  # the config that stands for those with that effect
        for name, trial in self._results.items():
            if self._is_point(trial.params) and name == self._own_name(trial.params):
                self._by_effect.setdefault(self._effect(trial.params), name)
        self._settle(before)
        trials = self._trial_store.trials()
        sampler, history = SAMPLERS[settings.sampler](space, settings.seed), (t for t in trials if t.state in FINISHED)
        self._sampler_adapter = SamplerAdapter(sampler, self._distributions, history)
        self._queue = deque(self._due(trials))

    @property
    def distinct(self) -> int:
        """Number of different configs with a result."""
        return len(self._results)

    @property
    def exhausted(self) -> bool:
        """True once every different config of the space has a result or is running.

        Points that differ only in settings without effect are one config, so the space is walked and not multiplied out,
        unless it is so large that nobody will see its end.
        """
        if self.space.points > WALKED:
            return False
        return all(map(self._is_taken, self._points))

    def ask(self, wanted: int | None = None) -> Proposal | None:
        """The next config to train, or None if there is none left or `wanted` different ones have a result or run.

        Configs whose result is known are answered on the way.
        """
        repeats = 0
        while not self.exhausted and (wanted is None or self._begun < wanted):
            queued = self._queue.popleft() if self._queue else None
            if queued is None and (self._exhaustive or repeats >= REPEATS):
                untried = self._untried()
                if untried is None:
                    return None
                queued = _Queued(untried, "untried point")
            advice = self._sampler_adapter.propose() if queued is None else self._sampler_adapter.place(queued.params)
            name = self._stand_for(advice.params)
            differs = self.differences(advice.params)
            attributes = {"differs": differs, "config": name}
            if queued is not None:
                attributes["origin"] = queued.origin
            waiting = None if queued is None else queued.waiting
            answer = None if name in self._running else self._answer(name)
            if answer is not None:
                self._enter(advice, name, replace(answer, attributes={**attributes, **answer.attributes}), waiting)
            else:
                trial = self._trial_store.open(advice.params, attributes, waiting)
                opened = _Open(trial, self._trial_store.number(trial), advice)
                self._running.setdefault(name, []).append(opened)
                if opened is self._running[name][0]:
                    return Proposal(opened.number, dict(advice.params), name, differs)
            repeats += 1
        return None

    def report(self, name: str, epoch: int, smape: float) -> None:
        """An intermediate value of a running trial, shown by the dashboard as the learning curve.

        A training that goes on from its last state reports its earlier epochs again; they are known.
        """
        trial = self._running[name][0]
        if epoch not in trial.epochs:
            self._trial_store.report(trial.id, epoch, smape)
            trial.advice.report(smape, epoch)
            trial.epochs.add(epoch)

    def complete(self, name: str, outcome: JobOutcome) -> None:
        """The trial of that config has finished: it, and every repeat that waited for it, is COMPLETE."""
        self._end(name, TrialState.COMPLETE, outcome.metrics["smape"], _attributes(outcome))

    def prune(self, name: str, smape: float, reason: StopReason | None = None) -> None:
        """Ends a trial that the pruner stopped: PRUNED, with the last value it reached and the reason."""
        why = {} if reason is None else {STOPPED: asdict(reason)}
        self._end(name, TrialState.PRUNED, None, {"smape": smape, **why})

    def fail(self, name: str, error: str, code: str | None = None) -> None:
        """It crashed: FAIL, with the error's text and code; the next sweep may try the config again, this one will not."""
        self._end(name, TrialState.FAIL, None, {"error": error} | ({} if code is None else {"error_code": str(code)}))
        self._failed.add(name)

    def interrupt(self, name: str) -> None:
        """The sweep ends while it runs: FAIL now, and the first to be proposed when the sweep goes on."""
        trial = self._running[name][0]
        self._end(name, TrialState.FAIL, None, _INTERRUPTED)
        self._queue.appendleft(_Queued(dict(trial.advice.params), f"retry of #{trial.number}"))

    def close(self) -> None:
        """The sweep is over: what still runs is interrupted, and no trial is left RUNNING in the storage."""
        for name in list(self._running):
            self.interrupt(name)
        self._settle(self._trial_store.trials())

    def differences(self, params: Mapping[str, Any]) -> str:
        """The settings in which a point differs from the best known one, in words."""
        return differences(params, self.space.best)

    def ranking(self) -> list[Finished]:
        """Completed trials of different configs, best steady SMAPE first; equal ones in the order of their numbers."""
        found = []
        for name, trial in self._results.items():
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                facts = trial.user_attrs
                judged = int(facts["best_epoch"]), float(facts["steady_smape"]), facts["standard_error"]
                found.append(Finished(trial.number, dict(trial.params), name, trial.value, *judged))
        return sorted(found, key=lambda each: (each.steady, each.number))

    def threshold(self, place: int) -> float | None:
        """The SMAPE that a trial must beat to be among the best `place`; None while there are fewer."""
        values = nsmallest(place, (trial.value for trial in self._results.values() if trial.value is not None))
        return values[-1] if len(values) == place > 0 else None

    def seconds(self) -> list[float]:
        """Seconds of the completed trainings of this study, for the plan of a sweep that goes on."""
        return [float(trial.user_attrs["seconds"]) for trial in self._results.values() if "seconds" in trial.user_attrs]

    def counts(self) -> dict[str, int]:
        """Number of trials of the study in each state, repeats included."""
        found = Counter(trial.state for trial in self._trial_store.trials())
        return {state.name: found[state] for state in TrialState if state in found}

    def _enter(self, advice: optuna.Trial, name: str, answer: TrialResult, waiting: FrozenTrial | None) -> None:
        """A repeat, ended at once, in the storage and for the sampler."""
        for epoch, smape in answer.curve.items():
            advice.report(smape, epoch)
        value = answer.value if answer.state == TrialState.COMPLETE else None
        told = self._sampler_adapter.tell(advice, answer.state, value)
        trial = self._trial_store.enter(advice.params, answer, waiting)
        if answer.state in FINISHED and not self._has_result(name):
            told.number, told.user_attrs = self._trial_store.number(trial), answer.attributes
            self._results[name] = told

    def _has_result(self, name: str) -> bool:
        """A whole one: a training that was cut by the deadline may be made again."""
        return name in self._results and "cut" not in self._results[name].user_attrs

    def _answer(self, name: str) -> TrialResult | None:
        """Known result of this config, from this study or an earlier one; None where it is to be trained."""
        if name in self._failed:
            return TrialResult(TrialState.FAIL, None, dict(_FAILED_BEFORE))
        if self._has_result(name):
            first = self._results[name]
            kept: dict[str, Any] = {"answered_from": first.number}
            kept |= {key: first.user_attrs[key] for key in CARRIED & first.user_attrs.keys()}
            return TrialResult(first.state, first.value, kept, dict(first.intermediate_values))
        outcome = self._known(name)
        if outcome is None:
            return None
        attributes = {"answered_from": "an earlier study", **_attributes(outcome)}
        return TrialResult(TrialState.COMPLETE, outcome.metrics["smape"], attributes)

    def _end(self, name: str, state: TrialState, value: float | None, attributes: Mapping[str, Any]) -> None:
        first, *repeats = self._running.pop(name)
        for trial in (first, *repeats):
            told = self._sampler_adapter.tell(trial.advice, state, value)
            facts = dict(attributes) if trial is first else {**attributes, "answered_from": first.number}
            self._trial_store.end(trial.id, TrialResult(state, told.value, facts))
            if state in FINISHED and trial is first:
                told.number, told.user_attrs = trial.number, facts
                self._results[name] = told

    def _identify(self, params: Mapping[str, Any]) -> str:
        """Name of the config with these settings, or of the one that stands for all with its effect."""
        own = self._own_name(params)
        standing = self._by_effect.get(self._effect(params), own)
        return standing if standing in self._running or standing in self._failed or self._has_result(standing) else own

    def _stand_for(self, params: Mapping[str, Any]) -> str:
        """The same, remembered: from now on that config stands for all with its effect."""
        name = self._identify(params)
        self._by_effect[self._effect(params)] = name
        return name

    @property
    def _begun(self) -> int:
        """Number of different configs that have a result or run."""
        return len(self._results) + sum(name not in self._results for name in self._running)

    def _is_taken(self, effect: str) -> bool:
        name = self._by_effect.get(effect)
        return name in self._results or name in self._running or name in self._failed

    def _untried(self) -> dict[str, Any] | None:
        """A point without a result, the first one in an exhaustive search, else a random one; None if none was found."""
        if self._exhaustive:
            points = self.space.grid()
        elif self.space.points <= WALKED:
            points = iter(self._random.sample(list(self._points.values()), len(self._points)))
        else:
            points = (self.space.sample(self._random) for _ in range(WALKED))
        return next((point for point in points if not self._is_taken(self._effect(point))), None)

    @cached_property
    def _points(self) -> dict[str, dict[str, Any]]:
        """Every different config of the space by its effect."""
        return {self._effect(point): point for point in self.space.grid()}

    def _settle(self, trials: Iterable[FrozenTrial]) -> None:
        """Ends what an earlier driver, or a write whose answer was lost, left RUNNING.

        Where a result is known by now it is the trial's; else the trial is FAIL, and its config is proposed first.
        """
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue
            name = self._stand_for(trial.params) if self._is_point(trial.params) else ""
            answer = self._answer(name) if name else None
            if answer is None:
                self._trial_store.end(trial._trial_id, TrialResult(TrialState.FAIL, None, dict(_INTERRUPTED)))
                continue
            self._trial_store.end(trial._trial_id, replace(answer, attributes={**answer.attributes, "config": name}))
            if not self._has_result(name):
                self._results[name] = self._trial_store.get(trial._trial_id)

    def _due(self, trials: Sequence[FrozenTrial]) -> Iterator[_Queued]:
        """Points that come before the sampler's proposals: interrupted configs, queued points, documented points.

        It follows from the trials alone, so that two drivers killed in a row leave no config twice in the queue.
        """
        last: dict[str, FrozenTrial] = {}
        for trial in trials:
            if trial.state not in (TrialState.RUNNING, TrialState.WAITING) and self._is_point(trial.params):
                last[self._identify(trial.params)] = trial
        for name, trial in last.items():
            if failure_code(trial.user_attrs) == FailureCode.INTERRUPTED and name not in self._results:
                yield _Queued(dict(trial.params), f"retry of #{trial.number}")
        for trial in trials:
            if trial.state == TrialState.WAITING:  # queued by a person, or by an earlier version
                params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                if self._is_point(params):
                    yield _Queued(params, trial.user_attrs.get("origin", "queued"), trial)
        tried = {trial.user_attrs.get("config") for trial in trials}
        documented = [(self.space.best, "documented best"), *((point, "documented") for point in self.space.then)]
        for point, origin in documented:
            if point and self._identify(point) not in tried:
                yield _Queued(dict(point), origin)

    def _is_point(self, params: Mapping[str, Any]) -> bool:
        """False for half a point, and for one of another space."""
        values = self.space.values
        return params.keys() == values.keys() and all(value in values[key] for key, value in params.items())


def _attributes(outcome: JobOutcome) -> dict[str, Any]:
    facts: dict[str, Any] = {
        **outcome.metrics,
        "best_epoch": outcome.best_epoch,
        "seconds": round(outcome.seconds, 2),
        "steady_smape": outcome.metrics["smape"] if outcome.steady is None else outcome.steady,
        "standard_error": outcome.standard_error,
    }
    return {**facts, "cut": "the deadline ended this training"} if outcome.cut else facts


def study_name(
    architecture: str, about: Sequence[str], identity: Mapping[str, Any], storage: BaseStorage, fresh: bool
) -> str:
    """`text | neobert | train.csv, 75,000 rows | 1a2b3c4d`, or the name that the study has in the storage.

    about: what people should know of it. identity: all that makes trials comparable; its hash stands last. `fresh` adds a run
    number that no study has yet.
    """
    mark = digest_json(identity)[:8]
    short = f"{architecture}-{mark}"
    runs = {}
    for name in optuna.get_all_study_names(storage):
        base, _, run = short_name(name).partition("-run")
        if base == short:
            runs[int(run or 1)] = name
    if runs and not fresh:
        return runs[max(runs)]
    plain = (re.sub(r"[^\w.,+ -]", "_", part) for part in about)
    return SEPARATOR.join([architecture, *plain, mark]) + (f"-run{len(runs) + 1}" if runs else "")
