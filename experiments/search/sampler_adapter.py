"""Adapter of Optuna's samplers: asks and tells in memory, without reading the study's storage."""

from __future__ import annotations

import bisect
from collections.abc import Container, Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

LATEST, BEST = 1_000, 100
"""Trials that a sampler sees of a study that has more: what it costs to ask grows with them."""


class SamplerAdapter:
    """Optuna's sampler with a memory of its own. Used from one thread.

    history: finished trials, oldest first, which are told to the sampler.
    """

    def __init__(
        self, sampler: BaseSampler, distributions: Mapping[str, BaseDistribution], history: Iterable[FrozenTrial]
    ) -> None:
        self._distributions = dict(distributions)
        self._window = _Window()
        self._study = optuna.create_study(
            storage=self._window, sampler=sampler, direction="minimize", pruner=optuna.pruners.NopPruner()
        )
        for trial in history:
            self._study.add_trial(trial)

    def propose(self) -> optuna.Trial:
        """A new trial with the settings that the sampler chose."""
        return self._study.ask(self._distributions)

    def place(self, params: Mapping[str, Any]) -> optuna.Trial:
        """A new trial with these settings."""
        running = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=dict(params), distributions=self._distributions
        )
        return optuna.Trial(self._study, self._window.create_new_trial(self._study._study_id, running))

    def tell(self, trial: optuna.Trial, state: TrialState, value: float | None) -> FrozenTrial:
        """The trial has ended. A pruned one without a value gets its last intermediate one, as Optuna does it."""
        return self._study.tell(trial, value, state=state)


class _Window(InMemoryStorage):
    """Shows the best and the latest trials, and what runs.

    What TPE takes for good, the 25 best trials at most, is always among them: it chooses as it would from all, but for
    what it takes for bad, an estimate from 1,000 trials and not from 10,000.
    """

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[int, None] = {}  # trial numbers, as are those in _best
        self._best: list[tuple[tuple[float, ...], int]] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._file(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        self._file(self.get_trial(trial_id))
        return changed

    def _file(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.RUNNING:
            self._running[trial.number] = None
            return
        self._running.pop(trial.number, None)
        rank = _rank(trial)
        if rank is not None:
            bisect.insort(self._best, (rank, trial.number))
            del self._best[BEST:]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._studies[study_id].trials
        if deepcopy or len(trials) <= LATEST + BEST:
            return super().get_all_trials(study_id, deepcopy, states)
        first = len(trials) - LATEST
        older = sorted({number for _, number in self._best if number < first} | {n for n in self._running if n < first})
        seen = [trials[number] for number in older] + trials[first:]
        return seen if states is None else [trial for trial in seen if trial.state in states]


def _rank(trial: FrozenTrial) -> tuple[float, ...] | None:
    """TPE's order of trials: finished ones by value, then stopped ones, the longest first. None for what it does not look at."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return (0.0, 0.0, trial.value)
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        step = max(trial.intermediate_values)
        return (1.0, -step, trial.intermediate_values[step])
    return None
