"""Checks of run time: inside trainings, between stages, and in failed trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.encoders.presets import TINY
from core.formatting import count, duration
from reports.checks.finding import (
    Finding,
    Grade,
    by_architecture,
    command,
    common,
    graded,
    nothing,
    search,
    settle,
    tried,
)
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import Record, TrialEnd
from reports.figures.sweep_figures import Purpose, time_spent

Shares = dict[str, float]
SLOW, STAGES, LOST = "slow-training", "stages", "lost-time"
WORTH_SECONDS = 30.0
"""Trainings that take less in the mean are not slow, wherever their time goes."""
WAITING, MOSTLY_WAITING = 0.2, 0.5
"""Share of a training's seconds in which the next batch was not there yet: a fifth is worth a setting, half wastes the device."""
EVALUATING = 0.3
"""Judging reads one fold forwards where training reads k - 1 folds forwards and backwards: a tenth is usual."""
BESIDE = 0.5
"""Share of preparation, loading and saving from which a training does something else than learn."""
LONG_TEXTS = 0.5
"""Share of the texts that fill max_length: each of them costs what the longest costs."""
CHARACTERS_PER_TOKEN = 4
"""As the plan of a sweep reckons (`core.architectures.neural_architecture`)."""
STACK = 0.5
"""Share of a run from which combining costs more than all that it combines."""
FAILED, MOSTLY_FAILED = 0.1, 0.3
"""Share of the search's seconds in trainings that failed: a tenth of an hour is worth six minutes of looking."""
_STAGES = {Purpose.CROSS_VALIDATION: "cross-validation", Purpose.STACKING: "stack"}
_LIGHT = "its parts are not timed"


_PARTS = {"steps": "training steps", "waiting": "waiting for data", "judging": "evaluation", "beside": "the rest"}
"""Parts of a training's time: keys of a finding's figures, and their names."""


def slow_training(inputs: ReportInputs) -> list[Finding]:
    """Share of the time of finished trials by stage."""
    if not inputs.trials:
        return nothing(SLOW, "no trial has finished")
    return [_training(inputs, name, trials) for name, trials in by_architecture(inputs.trials).items()]


def _training(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> Finding:
    seconds = sum(trial["seconds"] for trial in trials)
    mean, timed = seconds / len(trials), [trial for trial in trials if _is_timed(trial)]
    took = f"{count(len(trials), 'training')} took {duration(seconds, 1)}, {mean:.1f} s each"
    figures: dict[str, Any] = {"seconds": seconds, "mean_seconds": mean, "trials": len(trials)}
    if not timed:
        return Finding(SLOW, Grade.OK, f"{took}; {_LIGHT}.", figures, about=architecture)
    shares = _shares(timed)
    state, advice, again = _advice(inputs, architecture, timed, shares)
    if mean < WORTH_SECONDS:
        state = Grade.OK
    parts = ", ".join(f"{shares[part]:.0%} {name}" for part, name in _PARTS.items())
    return settle(SLOW, state, f"{took}: {parts}.", {**figures, **shares}, advice, again, architecture)


def _is_timed(trial: Record) -> bool:
    epochs = trial.get("epochs", ())
    return bool(epochs) and all({"seconds", "waiting_seconds", "judging_seconds"} <= each.keys() for each in epochs)


def _shares(trials: Sequence[Record]) -> Shares:
    """Share of each part. A resumed training reports its earlier epochs too, and so more seconds than it took."""

    def total(name: str) -> float:
        return float(sum(each[name] for trial in trials for each in trial["epochs"]))

    learning, waiting, judging = (total(name) for name in ("seconds", "waiting_seconds", "judging_seconds"))
    beside = max(0.0, sum(trial["seconds"] for trial in trials) - learning - judging)
    seconds = (learning - waiting, waiting, judging, beside)
    whole = sum(seconds)
    return {part: each / whole if whole else 0.0 for part, each in zip(_PARTS, seconds, strict=True)}


def _advice(
    inputs: ReportInputs, architecture: str, trials: Sequence[Record], shares: Shares
) -> tuple[Grade, str, str]:
    """By the part that takes more than its due, the cheapest to mend first; else by what makes steps slow."""
    if shares["waiting"] >= WAITING:
        state = graded(shares["waiting"], WAITING, MOSTLY_WAITING)
        advice = "let more processes make the batches (loader_workers), and see that the cache was not too small (--cache-limit)"
        return state, advice, search(inputs, architecture, trials, loader_workers=_more_workers(trials))
    if shares["beside"] >= BESIDE:
        advice = (
            "the first training fills the cache and later ones read it: see whether entries had to leave, and raise "
            "--cache-limit; otherwise this is loading and pricing, which larger sweeps do not shorten"
        )
        return Grade.LOOK, advice, command(inputs, "core.cache")
    if shares["judging"] >= EVALUATING:
        epochs = max(1, max(trial["settings"]["epochs"] for trial in trials) // 2)
        advice = "every epoch is evaluated on the holdout fold: fewer epochs, or fewer and larger folds to learn from"
        return Grade.LOOK, advice, search(inputs, architecture, trials, epochs=epochs)
    return _slow_steps(inputs, architecture, trials)


def _more_workers(trials: Sequence[Record]) -> int:
    """Twice as many as were named; by themselves a processor has none and a GPU up to four."""
    named = common([trial["settings"] for trial in trials]).get("loader_workers")
    if named:
        return 2 * int(named)
    return 8 if _on_gpu(trials) else 2


def _slow_steps(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> tuple[Grade, str, str]:
    settings = common([trial["settings"] for trial in trials])
    tiny = settings.get("text_encoder") == TINY
    if not (_on_gpu(trials) or tiny or settings.get("freeze_text")):
        advice = (
            "a whole encoder learns on a processor: freeze it (it is read once), take --text-encoder tiny, or use a GPU"
        )
        return Grade.LOOK, advice, search(inputs, architecture, trials, freeze_text=True)
    length = settings.get("max_length")
    if length and not settings.get("freeze_text") and _filled(inputs, length) >= LONG_TEXTS:
        advice = (
            f"{_filled(inputs, length):.0%} of the texts fill max_length={length}: half of it takes about half the time"
        )
        return Grade.LOOK, advice, search(inputs, architecture, trials, max_length=max(8, length // 2))
    return Grade.OK, "", ""


def _on_gpu(trials: Sequence[Record]) -> bool:
    return any(str(trial.get("device", "cpu")) != "cpu" for trial in trials)


def _filled(inputs: ReportInputs, max_length: int) -> float:
    lengths = np.array([len(text) for text in inputs.train.texts])
    return float(np.mean(lengths >= max_length * CHARACTERS_PER_TOKEN))


def stages(inputs: ReportInputs) -> list[Finding]:
    """The search, the folds of the members, and the stack."""
    spent = {"search": 0.0, "cross-validation": 0.0, "stack": 0.0}
    for each in time_spent(tried(inputs, *TrialEnd), inputs.members, inputs.timings):
        spent[_STAGES.get(each["purpose"], "search")] += each["seconds"]
    total = sum(spent.values())
    if not total:
        return nothing(STAGES, "nothing was trained or stacked")
    parts = ", ".join(f"{name} {duration(seconds, 1)} ({seconds / total:.0%})" for name, seconds in spent.items())
    state = graded(spent["stack"] / total, STACK, 2.0) if spent["stack"] >= WORTH_SECONDS else Grade.OK
    saw = f"Trainings and stack took {duration(total, 1)} in all, added up: {parts}."
    again = command(inputs, "ensemble.stack", "--methods geometric,simplex-log,affine,single")
    return [settle(STAGES, state, saw, spent, "try fewer ways to combine, those without boosters", again)]


def lost_time(inputs: ReportInputs) -> list[Finding]:
    """Share of the search time spent on trials without a result."""
    trials = tried(inputs, *TrialEnd)
    total = sum(trial["seconds"] or 0.0 for trial in trials)
    if not total:
        return nothing(LOST, "no trial has ended, or none has its duration")
    shares: dict[str, float] = {
        state: sum(trial["seconds"] or 0.0 for trial in trials if trial["state"] == state) / total for state in TrialEnd
    }
    repeats = sum(trial["repeat"] for study in inputs.studies for trial in study["trials"])
    finished, stopped, failed, interrupted = (f"{share:.0%}" for share in shares.values())
    saw = (
        f"Of {duration(total, 1)} of search {finished} went into trials that finished, {stopped} into stopped, {failed} into "
        f"failed and {interrupted} into interrupted ones; {count(repeats, 'repeat')} cost nothing."
    )
    figures: dict[str, Any] = {**shares, "seconds": total, "repeats": repeats}
    state = graded(shares[TrialEnd.FAILED], FAILED, MOSTLY_FAILED)
    advice = "see what the failed trials have in common, and fix or leave out that setting"
    return [settle(LOST, state, saw, figures, advice, command(inputs, "experiments.status"))]
