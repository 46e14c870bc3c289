"""Checks of non-finite numbers: skipped steps and trainings that ended for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.data.folds import HOLDOUT
from core.errors import FailureCode, failure_code
from core.formatting import count, headline
from reports.checks.finding import (
    TRAINED,
    Finding,
    Grade,
    by_architecture,
    common,
    graded,
    nothing,
    search,
    settle,
    tried,
    values_text,
)
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import Record, TrialEnd

STEPS, TRIALS = "nan-steps", "nan-trials"
ANY_STEP = 1e-12
"""Share of a training's steps left out from which it deserves a look: any. A few in fp16 are the scaler finding its factor."""
MANY_STEPS = 0.01
"""Share from which it is a problem: one step in a hundred without effect is no longer the scaler's search."""
_ALWAYS_NAMED = ("learning_rate", "loss", "precision")
"""Settings that decide it most often, named whether or not other trials have them too."""
_ADVICE = (
    "lower learning_rate; precision=fp32, or bf16 where the GPU has it, in place of fp16; a smaller gradient_norm; "
    "then look at the rows"
)


def left_out_steps(inputs: ReportInputs) -> list[Finding]:
    """Steps without a finite loss or gradient, of finished trials: they change nothing, but many of them leave little learnt."""
    known = [trial for trial in inputs.trials if any("skipped_steps" in each for each in trial.get("epochs", ()))]
    if not known:
        return nothing(STEPS, "no finished trial counted its steps")
    rows = len(inputs.folds.split(HOLDOUT)[0])
    return [_steps(inputs, name, trials, rows) for name, trials in by_architecture(known).items()]


def _steps(inputs: ReportInputs, architecture: str, trials: Sequence[Record], rows: int) -> Finding:
    shares = {trial["config"]: _skipped(trial) / _taken(trial, rows) for trial in trials}
    bad = [trial for trial in trials if _skipped(trial)]
    steps, worst = sum(map(_skipped, bad)), max(shares.values())
    saw = f"No step of {count(len(trials), 'training')} was left out for a loss or gradient that is not a number."
    if bad:
        fine = [trial["settings"] for trial in trials if not _skipped(trial)]
        saw = (
            f"{count(steps, 'step')} of {len(bad)} in {count(len(trials), 'training')} "
            f"had a loss or gradient that is not a number, {worst:.1%} of the steps of the worst one"
            f"{_alike([trial['settings'] for trial in bad], fine)}."
        )
    figures = {"steps": steps, "trials": len(bad), "of": len(trials), "worst_share": worst}
    again = _calmer(inputs, architecture, [trial["settings"] for trial in bad], bad) if bad else ""
    return settle(STEPS, graded(worst, ANY_STEP, MANY_STEPS), saw, figures, _ADVICE, again, architecture)


def failed_trials(inputs: ReportInputs) -> list[Finding]:
    """Trials that failed for non-finite losses, gradients or prices."""
    done = tried(inputs, *TRAINED)
    if not done:
        return nothing(TRIALS, "no trial has ended")
    failed = [trial for trial in done if is_not_finite(trial)]
    if not failed:
        saw = f"None of {count(len(done), 'trial')} failed for non-finite numbers."
        return [Finding(TRIALS, Grade.OK, saw, {"failed": 0, "of": len(done)})]
    return [_failed(inputs, name, trials, done) for name, trials in by_architecture(failed).items()]


def _failed(inputs: ReportInputs, architecture: str, failed: Sequence[Record], done: Sequence[Record]) -> Finding:
    own = [trial for trial in done if trial["architecture"] == architecture]
    fine = [trial["params"] for trial in own if trial["state"] == TrialEnd.COMPLETE]
    params = [trial["params"] for trial in failed]
    saw = (
        f"{len(failed)} of {count(len(own), 'trial')} failed because loss, gradient or prices were not numbers"
        f"{_alike(params, fine)}: {headline(failed[-1]['error'])}."
    )
    figures = {"failed": len(failed), "of": len(own), "shared": dict(_shared(params, fine))}
    like = [trial for trial in inputs.trials if trial["architecture"] == architecture]
    return Finding(
        TRIALS, Grade.PROBLEM, saw, figures, _ADVICE, _calmer(inputs, architecture, params, like), architecture
    )


def is_not_finite(trial: Mapping[str, Any]) -> bool:
    """True for a trial that failed for non-finite numbers."""
    return trial["state"] == TrialEnd.FAILED and failure_code(trial) == FailureCode.NOT_FINITE


def _skipped(trial: Record) -> int:
    """Counted up over the epochs of a training."""
    return int(max(each.get("skipped_steps", 0) for each in trial["epochs"]))


def _taken(trial: Record, rows: int) -> int:
    return len(trial["epochs"]) * -(-rows // trial["settings"]["batch_size"])


def _shared(bad: Sequence[Mapping[str, Any]], fine: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings that all of `bad` share and none of `fine` has, or that are always named."""
    alike = common(bad)
    return {
        key: value
        for key, value in alike.items()
        if key in _ALWAYS_NAMED or (fine and all(each.get(key) != value for each in fine))
    }


def _alike(bad: Sequence[Mapping[str, Any]], fine: Sequence[Mapping[str, Any]]) -> str:
    """`, all with loss=huber` and the range of learning rates where they differ."""
    words = [f"{key}={value}" for key, value in _shared(bad, fine).items()]
    rates = _rates(bad)
    if len(set(rates)) > 1:
        words.append(f"learning_rate {values_text(rates)}")
    return f", all with {', '.join(words)}" if words else ""


def _rates(settings: Sequence[Mapping[str, Any]]) -> list[float]:
    return [each["learning_rate"] for each in settings if "learning_rate" in each]


def _calmer(inputs: ReportInputs, architecture: str, bad: Sequence[Mapping[str, Any]], like: Sequence[Record]) -> str:
    """Half the lowest learning rate that went wrong, shorter gradients, and the format with the widest range."""
    rates, norms = _rates(bad), [each["gradient_norm"] for each in bad if "gradient_norm" in each]
    return search(
        inputs,
        architecture,
        like,
        learning_rate=min(rates) / 2 if rates else None,
        gradient_norm=min(norms, default=1.0) / 2,
        precision="fp32",
    )
