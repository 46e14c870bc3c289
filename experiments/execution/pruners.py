"""Pruners: Ray Tune schedulers that stop hopeless trials, per architecture, and the reason of every stop.

To add a pruner: a function from the longest trial's epochs to a scheduler, and a line in PRUNERS. A scheduler with a method
`rivals(trial, epoch)` has the reasons of its stops recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from core.errors import UserError, suggestion
from experiments.common.jobs import JobKind, StopReason

GRACE_EPOCHS = 2
"""No trial is stopped before its second epoch: the first is mostly warm-up."""
REDUCTION = 4
"""Of the trials that reach a rung, the best quarter goes on (the ASHA paper's figure; Li et al. 2020, arXiv 1810.05934)."""


@runtime_checkable
class Explains(Protocol):
    """Scheduler that can say what a trial is compared with."""

    def rivals(self, trial: Any, epoch: int) -> tuple[int, float, list[float]] | None:
        """Rung, highest SMAPE that goes on, and SMAPE of the other trials there; None where nothing is decided at `epoch`."""


class _Asha(AsyncHyperBandScheduler):
    """Asynchronous successive halving over rungs of epochs."""

    def rivals(self, trial: Any, epoch: int) -> tuple[int, float, list[float]] | None:
        bracket = self._trial_info[trial.trial_id]
        for rung, recorded in bracket._rungs:
            if epoch >= rung and trial.trial_id not in recorded:
                cutoff, others = bracket.cutoff(recorded), [-float(each) for each in recorded.values()]
                return None if cutoff is None else (int(rung), -float(cutoff), others)
        return None


class _Median(MedianStoppingRule):
    """Median stopping rule: a trial's best SMAPE against the median of the others' running means."""

    def rivals(self, trial: Any, epoch: int) -> tuple[int, float, list[float]] | None:
        others = [other for other in self._trials_beyond_time(epoch) if other is not trial]
        means = [float(mean) for mean in (self._running_mean(other, epoch) for other in others) if np.isfinite(mean)]
        return (epoch, float(np.median(means)), means) if means else None


def _asynchronous(epochs: int, brackets: int) -> TrialScheduler:
    # Above the longest trial, or the scheduler would end it at its last epoch and call that a stop.
    longest = max(epochs, GRACE_EPOCHS) * REDUCTION + 1
    return _Asha(
        time_attr="epoch",
        metric="smape",
        mode="min",
        max_t=longest,
        grace_period=GRACE_EPOCHS,
        reduction_factor=REDUCTION,
        brackets=brackets,
    )


PRUNERS: dict[str, Callable[[int], TrialScheduler]] = {
    "asha": lambda epochs: _asynchronous(epochs, brackets=1),
    # Ray's own HyperBandScheduler pauses trials, which costs a checkpoint each; brackets do the same without waiting.
    "hyperband": lambda epochs: _asynchronous(epochs, brackets=3),
    "median": lambda epochs: _Median(
        time_attr="epoch", metric="smape", mode="min", grace_period=GRACE_EPOCHS, min_samples_required=3
    ),
    "none": lambda epochs: FIFOScheduler(),
}


def check_pruner(name: str) -> None:
    """Raises UserError for an unknown pruner."""
    if name not in PRUNERS:
        raise UserError(f"unknown pruner '{name}'", code="pruner-unknown", hint=suggestion(name, PRUNERS))


class PerArchitecture(TrialScheduler):
    """One pruner for the trials of each architecture, whose epochs alone are comparable; members' fits are never stopped.

    Pruners compare the best epochs so far, not the latest ones: a training keeps its best epoch, and one bad epoch at the wrong
    moment would cost the search a good config for ever. A trial that has run all its epochs is complete, also where its last
    epoch is a rung.
    """

    def __init__(self, pruner: str) -> None:
        super().__init__()
        self._pruner = pruner
        self._schedulers: dict[str, TrialScheduler] = {}
        self._best: dict[str, float] = {}  # by trial id
        self.reasons: dict[str, StopReason] = {}
        """Of the trials that were stopped, by Ray's id of the trial; none where their pruner does not explain itself."""
        self._metric, self._mode = "smape", "min"

    def _of(self, trial: Any) -> TrialScheduler:
        job = trial.config["job"]
        prunable = job["kind"] == JobKind.TRIAL and job["epochs"] > 1
        key = job["architecture"] if prunable else ""
        if key not in self._schedulers:
            self._schedulers[key] = PRUNERS[self._pruner](job["longest"]) if prunable else FIFOScheduler()
        return self._schedulers[key]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "smape" not in result or "outcome" in result:  # it has ended by itself: there is nothing left to stop
            return TrialScheduler.CONTINUE
        scheduler, epoch = self._of(trial), int(result["epoch"])
        best = min(float(result["smape"]), self._best.get(trial.trial_id, math.inf))
        self._best[trial.trial_id] = best
        compared = scheduler.rivals(trial, epoch) if isinstance(scheduler, Explains) else None
        action = scheduler.on_trial_result(tune_controller, trial, {**result, "smape": best})
        if action == TrialScheduler.STOP and epoch >= trial.config["job"]["epochs"]:
            return TrialScheduler.CONTINUE
        if action == TrialScheduler.STOP and compared is not None:
            rung, threshold, rivals = compared
            rank = 1 + sum(each < best for each in rivals)
            self.reasons[trial.trial_id] = StopReason(rung, best, threshold, rank, len(rivals) + 1)
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        for scheduler in self._schedulers.values():
            chosen = scheduler.choose_trial_to_run(tune_controller)
            if chosen is not None:
                return chosen
        return None

    def debug_string(self) -> str:
        return f"{self._pruner} per architecture"
