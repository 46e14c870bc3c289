"""Registry of the checks of `reports.diagnose` (docs/troubleshooting.md)."""

from __future__ import annotations

from reports.checks import fitting, fold_checks, non_finite, searching, times, trust
from reports.checks.finding import Check, Finding, Grade
from reports.figures.report_inputs import ReportInputs

CHECKS: tuple[Check, ...] = (
    non_finite.failed_trials,
    non_finite.left_out_steps,
    fitting.overfitting,
    fitting.underfitting,
    fitting.stack_optimism,
    times.slow_training,
    times.stages,
    times.lost_time,
    fold_checks.fold_spread,
    fold_checks.holdout,
    fold_checks.fold_overlap,
    trust.floor,
    trust.leaks,
    trust.too_good,
    trust.labels,
    searching.failures,
    searching.stopped_trials,
    searching.few_trials,
)
"""A new one is a function and a line here."""


def diagnose(inputs: ReportInputs) -> list[Finding]:
    """Findings of all checks, problems first; in the order of the checks where equal."""
    found = [finding for check in CHECKS for finding in check(inputs)]
    return sorted(found, key=lambda finding: list(Grade).index(finding.state))
