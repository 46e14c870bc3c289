"""Trial writes into a study, ordered so that a driver may be killed between any two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from core.errors import some


@dataclass(frozen=True)
class TrialResult:
    """End of a trial. value: its SMAPE, if it has one. curve: SMAPE by epoch, as far as the storage does not have it."""

    state: TrialState
    value: float | None
    attributes: dict[str, Any]
    curve: dict[int, float] = field(default_factory=dict)


class TrialStore:
    """The trials of one study in its storage, which is made if it is not there. Used from one thread.

    guard: called before every write; raises where the study is another driver's. Raises `StorageError`, and OSError for a
    journal on a full disk.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: str,
        distributions: Mapping[str, BaseDistribution],
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        guard()
        self._storage = optuna.storages.get_storage(storage)
        self._study = optuna.create_study(study_name=study, storage=self._storage, load_if_exists=True)
        self._distributions, self._guard = dict(distributions), guard

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Facts about the study, for people."""
        for key, value in attributes.items():
            self._study.set_user_attr(key, value)

    def trials(self) -> list[FrozenTrial]:
        """All, by number. They are the storage's own: to be read only."""
        return self._storage.get_all_trials(self._study._study_id, deepcopy=False)

    def get(self, trial: int) -> FrozenTrial:
        """The trial with this id."""
        return self._storage.get_trial(trial)

    def open(self, params: Mapping[str, Any], attributes: dict[str, Any], waiting: FrozenTrial | None) -> int:
        """A trial that runs, with everything that is known of it, at once; its id. waiting: the one to use, if there is one."""
        if waiting is None:
            return self._create(params, TrialResult(TrialState.RUNNING, None, attributes))
        self._guard()
        for key, distribution in self._distributions.items():
            inner = distribution.to_internal_repr(params[key])
            self._storage.set_trial_param(waiting._trial_id, key, inner, distribution)
        for key, attribute in attributes.items():
            self._storage.set_trial_user_attr(waiting._trial_id, key, attribute)
        self._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
        return waiting._trial_id

    def enter(self, params: Mapping[str, Any], answer: TrialResult, waiting: FrozenTrial | None) -> int:
        """A trial that has ended before it began; its id."""
        if waiting is None:
            return self._create(params, answer)
        self.end(self.open(params, {}, waiting), answer)
        return waiting._trial_id

    def _create(self, params: Mapping[str, Any], answer: TrialResult) -> int:
        self._guard()
        trial = optuna.trial.create_trial(
            state=answer.state,
            value=answer.value,
            params=dict(params),
            distributions=self._distributions,
            user_attrs=answer.attributes,
            intermediate_values=answer.curve,
        )
        return self._storage.create_new_trial(self._study._study_id, trial)

    def number(self, trial: int) -> int:
        """The number in its study of the trial with this id."""
        return self._storage.get_trial_number_from_id(trial)

    def report(self, trial: int, epoch: int, smape: float) -> None:
        self._guard()
        self._storage.set_trial_intermediate_value(trial, epoch, float(smape))

    def end(self, trial: int, answer: TrialResult) -> None:
        """Ends a running trial, its state last: until then it runs, and a later driver decides what becomes of it."""
        for key, attribute in answer.attributes.items():
            self._guard()
            self._storage.set_trial_user_attr(trial, key, attribute)
        for epoch, smape in answer.curve.items():
            self.report(trial, epoch, smape)
        self._guard()
        values = None if answer.value is None else [float(answer.value)]
        self._storage.set_trial_state_values(trial, answer.state, values)


SEPARATOR = " | "
PHRASE_LENGTH = 80
"""With `multimodal #12345` before it, the name of a run has at most 100 characters."""


def differences(params: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """`learning_rate 5e-5, dropout 0.2 and 4 more`: settings unlike the best known point's; `best known` for itself."""
    order = [key for key in best or params if key in params and params[key] != best.get(key, ...)]
    found = [f"{key} {_value(params[key])}"[: PHRASE_LENGTH - 20] for key in order]
    phrases = (some(found, shown) for shown in range(len(found), 0, -1))
    return next((phrase for phrase in phrases if len(phrase) <= PHRASE_LENGTH), "best known")


def _value(value: Any) -> str:
    """A setting in a few characters: `5e-5`, `3.284e-5`, and of a path or hub name the last part."""
    if isinstance(value, float):
        return re.sub(r"e([+-])0+", r"e\1", f"{value:.4g}")
    return str(value).rpartition("/")[2]


def short_name(study: str) -> str:
    """`text-1a2b3c4d`: the name by which a study is typed; studies of older versions have no other."""
    parts = study.split(SEPARATOR)
    return study if len(parts) == 1 else f"{parts[0]}-{parts[-1]}"


def find_study(typed: str, known: Iterable[str]) -> str | None:
    """The study of that full or short name; None where there is none."""
    return next((name for name in known if typed in (name, short_name(name))), None)
