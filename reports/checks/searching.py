"""Checks of the search: failed trials and their causes, share of stopped trials, number of trials."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.folds import FEW_ROWS
from core.formatting import count, headline
from reports.checks.finding import (
    TRAINED,
    Finding,
    Grade,
    by_architecture,
    command,
    graded,
    nothing,
    search,
    settle,
    tried,
)
from reports.checks.non_finite import is_not_finite
from reports.figures import sweep_figures
from reports.figures.report_inputs import ReportInputs
from reports.figures.study_records import Record, TrialEnd

FAILURES, STOPPED, FEW = "failures", "stopped-trials", "few-trials"
ANY, OFTEN = 1e-12, 0.25
"""Share of failed trials: any deserves a look, a quarter is a setting or a machine that does not work."""
MOSTLY_STOPPED = 0.8
"""Share of trials that were stopped. The default pruner goes on with one of four at each step; fewer are a narrow choice."""
FEWEST_TRIALS = 8
"""Fewer configs leave it to chance; a sweep's default. Of eight random ones the best is among the best third in 96%."""


def failures(inputs: ReportInputs) -> list[Finding]:
    """Failed trials by what happened. Non-finite numbers have a check of their own."""
    done = tried(inputs, *TRAINED)
    if not done:
        return nothing(FAILURES, "no trial has ended")
    others = [trial for trial in done if not is_not_finite(trial)]
    causes = sweep_figures.failures(others)
    if not causes:
        saw = f"None of {count(len(done), 'trial')} failed for another reason than non-finite numbers."
        return [Finding(FAILURES, Grade.OK, saw, {"failed": 0, "of": len(done)})]
    state = graded(sum(cause["count"] for cause in causes) / len(done), ANY, OFTEN)
    return [_failure(inputs, cause, _hint(cause, others), len(done), state) for cause in causes]


def _failure(inputs: ReportInputs, cause: Record, hint: str, done: int, state: Grade) -> Finding:
    shared = ", ".join(f"{key}={value}" for key, value in cause["shared"].items())
    alike = f", all with {shared}, which no finished trial has" if shared else ""
    saw = f"{cause['count']} of {count(done, 'trial')} failed{alike}: {cause['error']}."
    figures = {"failed": cause["count"], "of": done, "trials": cause["trials"], "shared": cause["shared"]}
    advice = hint or "read the whole error, and fix or leave out the setting that these trials share"
    again = command(inputs, "experiments.status")
    return settle(FAILURES, state, saw, figures, advice, again, ", ".join(cause["architectures"]))


def _hint(cause: Record, trials: Sequence[Record]) -> str:
    """Hint of the first of these errors, or empty."""
    first = next(trial for trial in trials if trial["label"] == cause["trials"][0])
    hint = str(first["error"] or "").partition("what to do: ")[2]
    return headline(hint) if hint else ""


def stopped_trials(inputs: ReportInputs) -> list[Finding]:
    """Share of trials that the pruner stopped."""
    done = tried(inputs, TrialEnd.COMPLETE, TrialEnd.PRUNED)
    if not done:
        return nothing(STOPPED, "no trial has ended")
    return [_stopped(inputs, name, trials) for name, trials in by_architecture(done).items()]


def _stopped(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> Finding:
    stopped = sum(trial["state"] == TrialEnd.PRUNED for trial in trials)
    share = stopped / len(trials)
    saw = f"{stopped} of {count(len(trials), 'trial')} ({share:.0%}) were stopped early."
    figures = {"stopped": stopped, "of": len(trials), "share": share}
    advice = "where slow starters win, let trials run on: a gentler pruner, or none"
    again = f"{search(inputs, architecture, _finished(inputs, architecture))} --pruner median --fresh"
    return settle(STOPPED, graded(share, MOSTLY_STOPPED, 2.0), saw, figures, advice, again, architecture)


def few_trials(inputs: ReportInputs) -> list[Finding]:
    """Number of configs with a result, by architecture."""
    ended = tried(inputs, *TRAINED)
    if not ended:
        return nothing(FEW, "no trial has ended")
    if len(inputs.train) < FEW_ROWS:
        return nothing(FEW, f"under {FEW_ROWS} training rows a search would choose by chance, and none is made")
    return [_few(inputs, name, trials) for name, trials in by_architecture(ended).items()]


def _few(inputs: ReportInputs, architecture: str, trials: Sequence[Record]) -> Finding:
    ended_well = sum(trial["state"] != TrialEnd.FAILED for trial in trials)
    saw = f"{count(ended_well, 'config')} came to a result."
    advice = (
        f"{FEWEST_TRIALS} at least; with the flags of the first sweep what is there counts, and repeats cost nothing"
    )
    again = f"{search(inputs, architecture, _finished(inputs, architecture))} --trials {max(FEWEST_TRIALS, 2 * len(trials))}"
    state = Grade.LOOK if ended_well < FEWEST_TRIALS else Grade.OK
    return settle(FEW, state, saw, {"configs": ended_well}, advice, again, architecture)


def _finished(inputs: ReportInputs, architecture: str) -> list[Record]:
    """Finished trials of the architecture; the next search keeps their encoders."""
    return [trial for trial in inputs.trials if trial["architecture"] == architecture]
