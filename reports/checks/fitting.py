"""Checks of overfitting and underfitting by learning curves and by the stack's optimism."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from core.architectures import ARCHITECTURES
from core.formatting import count
from reports.checks.finding import Finding, Grade, by_architecture, command, graded, nothing, search, settle
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import Record

OVER, UNDER, OPTIMISM = "overfitting", "underfitting", "stack-optimism"
FEWEST_EPOCHS = 4
"""Shorter curves have no shape: their best epoch is the first or the last by chance."""
RISE = 0.02
"""SMAPE at a training's end over its best, from which it rose: 0.6 at a SMAPE of 30, the standard error of some 1,000 rows."""
EARLY = 1 / 3
"""Share of the epochs within which the best one is early: the learning rate was high, and what followed was memorising."""
FALLING = 0.005
"""Share of its SMAPE that the last epoch still gained. The learning rate ends at zero, so a finished training gains less."""
MOST = 0.5
"""Share of an architecture's trials that make it the architecture's trait, and not that of one config."""
UNSURE, FAR = 1.0, 3.0
"""Optimism in standard errors of the nested SMAPE: from one on it is more than chance, three change what is chosen."""
_DROPOUT, _DROPOUT_STEP, _DECAY, _DECAY_TIMES = 0.6, 0.2, 0.3, 3


def overfitting(inputs: ReportInputs) -> list[Finding]:
    """Curves that rise after their best epoch while the training loss goes on falling. Models keep their best epoch: what is
    lost is time, and what a calmer training would have found."""
    known = [trial for trial in _curves(inputs) if all("loss" in each for each in trial["epochs"])]
    if not known:
        return nothing(OVER, f"no finished trial has {FEWEST_EPOCHS} epochs with a training loss")
    return [_over(inputs, name, trials) for name, trials in by_architecture(known).items()]


def _over(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> Finding:
    risen = [trial for trial in trials if _rises(trial)]
    early = [trial for trial in risen if _best(trial) <= EARLY * len(trial["epochs"])]
    points = median(_smapes(trial)[-1] - min(_smapes(trial)) for trial in trials)
    best, run = median(map(_best, trials)), median(len(trial["epochs"]) for trial in trials)
    saw = (
        f"{len(risen)} of {count(len(trials), 'training')} end at least {RISE:.0%} above their best SMAPE while their training "
        f"loss still falls: {points:.2f} points in the middle, best in epoch {best:g} of {run:g}."
    )
    share, soon = len(risen) / len(trials), len(early) / len(trials)
    state = Grade.PROBLEM if soon >= MOST else graded(share, MOST, 2.0)
    figures = {"rising": len(risen), "early": len(early), "of": len(trials), "points": points, "best_epoch": best}
    advice = "more dropout and weight_decay, and fewer epochs, whose learning rate falls sooner; or freeze_text or frozen_layers"
    if ARCHITECTURES[architecture].reads_images:
        advice += ", and use_mixup"
    return settle(OVER, state, saw, figures, advice, _calmer(inputs, architecture, trials), architecture)


def _calmer(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> str:
    winner = min(trials, key=lambda trial: min(_smapes(trial)))
    settings: dict[str, Any] = winner["settings"]
    mixup = {"use_mixup": True} if ARCHITECTURES[architecture].reads_images else {}
    return search(
        inputs,
        architecture,
        trials,
        dropout=max(settings["dropout"], min(_DROPOUT, settings["dropout"] + _DROPOUT_STEP)),
        weight_decay=max(settings["weight_decay"], min(_DECAY, settings["weight_decay"] * _DECAY_TIMES)),
        epochs=max(FEWEST_EPOCHS, min(settings["epochs"], 2 * _best(winner))),
        **mixup,
    )


def underfitting(inputs: ReportInputs) -> list[Finding]:
    """Curves that still fall when the schedule ends."""
    known = [trial for trial in _curves(inputs) if "epochs" in trial["settings"]]
    if not known:
        return nothing(UNDER, f"no finished trial has {FEWEST_EPOCHS} epochs")
    return [_under(inputs, name, trials) for name, trials in by_architecture(known).items()]


def _under(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> Finding:
    falling = [trial for trial in trials if _falls(trial)]
    gain = median(1 - _smapes(trial)[-1] / _smapes(trial)[-2] for trial in trials)
    epochs = max(trial["settings"]["epochs"] for trial in trials)
    saw = (
        f"{len(falling)} of {count(len(trials), 'training')} have their best epoch last and still gained {FALLING:.1%} of their "
        f"SMAPE in it; the last epoch of the middle one gained {gain:.1%}."
    )
    state = graded(len(falling) / len(trials), MOST, 2.0)
    figures = {"falling": len(falling), "of": len(trials), "last_gain": gain, "epochs": epochs}
    again = search(inputs, architecture, trials, epochs=2 * epochs)
    advice = f"more epochs than {epochs}, or a higher learning_rate"
    return settle(UNDER, state, saw, figures, advice, again, architecture)


def stack_optimism(inputs: ReportInputs) -> list[Finding]:
    """Optimism of the stack: in-sample against nested-CV SMAPE."""
    stack = inputs.stack
    if stack is None:
        return nothing(OPTIMISM, "there is no stack")
    nested, optimism = stack["nested"], stack["optimism"]
    errors = optimism / nested["standard_error"] if nested["standard_error"] else 0.0
    saw = (
        f"The stack has SMAPE {stack['in_sample']['smape']:.2f} on the rows it was fitted on and {nested['smape']:.2f} nested: "
        f"{optimism:.2f} points of optimism, {errors:.1f} standard errors."
    )
    advice = "trust the nested figure alone, and try ways to combine that average more"
    again = command(inputs, "ensemble.stack", "--methods geometric,simplex-log,single")
    figures = {"optimism": optimism, "standard_errors": errors}
    return [settle(OPTIMISM, graded(errors, UNSURE, FAR), saw, figures, advice, again)]


def _curves(inputs: ReportInputs) -> list[Record]:
    return [trial for trial in inputs.trials if len(trial.get("epochs", ())) >= FEWEST_EPOCHS]


def _smapes(trial: Record) -> list[float]:
    return [each["smape"] for each in trial["epochs"]]


def _best(trial: Record) -> int:
    """Its best epoch, from 1."""
    smapes = _smapes(trial)
    return smapes.index(min(smapes)) + 1


def _rises(trial: Record) -> bool:
    last, best = trial["epochs"][-1], trial["epochs"][_best(trial) - 1]
    return bool(last["smape"] >= (1 + RISE) * best["smape"] and last["loss"] < best["loss"])


def _falls(trial: Record) -> bool:
    """A training that patience ended has its best epoch earlier, so it is none of these."""
    smapes = _smapes(trial)
    return _best(trial) == len(smapes) and smapes[-1] <= (1 - FALLING) * smapes[-2]
