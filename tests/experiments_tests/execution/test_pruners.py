"""Pruners: which trials are stopped, and the reasons that are kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from experiments.common.jobs import STOPPED, StopReason, stop_sentence
from experiments.execution.pruners import PRUNERS, PerArchitecture, check_pruner
from tests.errors import refused

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


@dataclass(eq=False)
class Tried:
    """What a scheduler reads of a trial."""

    trial_id: str
    config: dict[str, Any]


def decisions(pruner: PerArchitecture, curves: list[list[float]], epochs: int = 10) -> list[list[str]]:
    """What the pruner answers to each epoch of each curve, one trial after the other, none of which waits."""
    controller, found = SimpleNamespace(get_live_trials=list), []
    for number, curve in enumerate(curves):
        job = {"kind": "trial", "architecture": "text", "epochs": epochs, "longest": epochs}
        trial = Tried(str(number), {"job": job})
        pruner.on_trial_add(controller, trial)
        found.append(
            [
                pruner.on_trial_result(controller, trial, {"epoch": epoch, "smape": value})
                for epoch, value in enumerate(curve, 1)
            ]
        )
    return found


def test_one_bad_epoch_at_the_wrong_moment_stops_no_good_trial() -> None:
    found = decisions(PerArchitecture("asha"), [*[[55.0, 54.0]] * 8, [50.0, 60.0], [58.0, 58.0]])
    assert found[8] == [CONTINUE, CONTINUE]
    assert found[9] == [CONTINUE, STOP]


def test_a_stop_is_explained_by_rung_threshold_and_rank() -> None:
    pruner = PerArchitecture("asha")
    curves = [[60.0 + number, 50.0 + number] for number in range(8)]
    found = decisions(pruner, [*curves, [70.0, 54.5]])
    assert found[8] == [CONTINUE, STOP]
    assert pruner.reasons.get("8") == StopReason(2, 54.5, pytest.approx(51.75), 6, 9)


def test_brackets_compare_a_trial_with_its_own_bracket_alone() -> None:
    pruner = PerArchitecture("hyperband")
    found = decisions(pruner, [[60.0 + number, 50.0 + number] for number in range(24)])
    stopped = [pruner.reasons.get(str(number)) for number, actions in enumerate(found) if STOP in actions]
    assert stopped and all(reason is not None and 1 < reason.rank <= reason.compared < 24 for reason in stopped)


def test_the_median_rule_explains_itself() -> None:
    pruner = PerArchitecture("median")
    found = decisions(pruner, [[50.0, 50.0], [52.0, 52.0], [54.0, 54.0], [60.0, 59.0]])
    assert found[3] == [CONTINUE, STOP]
    assert pruner.reasons.get("3") == StopReason(2, 59.0, 52.0, 4, 4)


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "none"])
def test_a_trial_that_has_run_all_its_epochs_is_never_stopped(name: str) -> None:
    pruner = PerArchitecture(name)
    found = decisions(pruner, [*[[50.0, 50.0]] * 8, [90.0, 90.0]], epochs=2)
    assert found[8] == [CONTINUE, CONTINUE]
    assert pruner.reasons.get("8") is None


def test_the_reason_is_read_back_from_a_trials_attributes() -> None:
    reason = StopReason(4, 93.03, 90.11, 3, 3)
    assert stop_sentence({STOPPED: asdict(reason)}) == reason.sentence
    assert stop_sentence({"smape": 1.0}) is None


def test_an_unknown_pruner_is_refused_with_the_nearest() -> None:
    with refused("pruner-unknown") as caught:
        check_pruner("medain")
    assert "median" in caught.value.hint
    for name in PRUNERS:
        check_pruner(name)
