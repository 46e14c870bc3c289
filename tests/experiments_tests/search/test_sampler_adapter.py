"""The sampler's memory: it proposes as Optuna does with the study itself, and sees a bounded part of a long one."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.search.sampler_adapter import BEST, LATEST, SamplerAdapter

SPACE = {
    "depth": CategoricalDistribution(tuple(range(10))),
    "rate": CategoricalDistribution(tuple(range(10))),
}


def sampler() -> TPESampler:
    return TPESampler(seed=3, n_startup_trials=8, multivariate=True, constant_liar=True)


def history(count: int, seed: int = 0) -> list[FrozenTrial]:
    """Finished trials, a third of them stopped early."""
    dice, trials = random.Random(seed), []
    for number in range(count):
        params: dict[str, Any] = {"depth": dice.randrange(10), "rate": dice.randrange(10)}
        curve = {1: dice.uniform(40, 90), 2: dice.uniform(40, 90)}
        state = TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE
        trials.append(
            create_trial(state=state, value=curve[2], params=params, distributions=SPACE, intermediate_values=curve)
        )
    return trials


def test_proposals_are_those_of_optuna_on_the_study_itself() -> None:
    plain = optuna.create_study(sampler=sampler())
    plain.add_trials(history(30))
    sampler_adapter = SamplerAdapter(sampler(), SPACE, history(30))
    for number in range(12):
        ours, theirs = sampler_adapter.propose(), plain.ask(SPACE)
        assert ours.params == theirs.params
        if number % 2:  # the others go on running
            ours.report(50.0, 1)
            theirs.report(50.0, 1)
            state = TrialState.PRUNED if number % 4 == 1 else TrialState.COMPLETE
            value = 50.0 - number if state == TrialState.COMPLETE else None
            told = sampler_adapter.tell(ours, state, value)
            assert told.value == plain.tell(theirs, value, state=state).value


@pytest.mark.parametrize("complete", [True, False])
def test_of_a_long_study_the_sampler_sees_what_is_good_what_is_late_and_what_runs(complete: bool) -> None:
    trials = history(2 * (LATEST + BEST))
    if not complete:
        trials = [trial for trial in trials if trial.state == TrialState.PRUNED] * 3
    sampler_adapter = SamplerAdapter(sampler(), SPACE, trials[:50])
    running = sampler_adapter.place({"depth": 1, "rate": 1})
    for trial in trials[50:]:
        sampler_adapter._study.add_trial(trial)
    seen = sampler_adapter._study.get_trials(deepcopy=False)
    everything = sampler_adapter._window._studies[sampler_adapter._study._study_id].trials
    assert len(everything) > len(seen) <= LATEST + BEST + 1
    assert seen[-LATEST:] == everything[-LATEST:]
    assert [trial.number for trial in seen if trial.state == TrialState.RUNNING] == [running.number]
    assert [trial.number for trial in seen] == sorted(trial.number for trial in seen)

    def good(of: list[FrozenTrial]) -> list[int]:
        ended = [trial for trial in of if trial.state.is_finished()]
        return [trial.number for trial in _split_trials(sampler_adapter._study, ended, 25)[0]]

    assert good(seen) == good(everything)
    sampler_adapter.tell(running, TrialState.FAIL, None)
    assert not sampler_adapter._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))


def test_a_placed_trial_has_its_settings_and_asks_no_sampler() -> None:
    sampler_adapter, plain = SamplerAdapter(sampler(), SPACE, []), optuna.create_study(sampler=sampler())
    placed = sampler_adapter.place({"depth": 4, "rate": 2})
    assert placed.params == {"depth": 4, "rate": 2}
    assert sampler_adapter.propose().params == plain.ask(SPACE).params
