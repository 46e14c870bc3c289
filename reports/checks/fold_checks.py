"""Checks of the folds: balance, use of the holdout, shared products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Floats
from core.data.folds import HOLDOUT
from core.metrics import group_standard_error, smape_terms
from core.store.oof_store import Member
from reports.checks.finding import Finding, anew, command, graded, nothing, settle
from reports.figures.member_figures import by_fold, short_labels
from reports.figures.report_inputs import ReportInputs

SPREAD, HELD_OUT, OVERLAP = "fold-spread", "holdout", "fold-overlap"
UNEVEN, BROKEN = 2.0, 4.0
"""Standard deviation between folds over what their standard errors explain. In a member of five folds twice as much is chance 3
times in 1,000 (of three folds 20 times, by simulation); four times is a fold that was learnt or made differently."""
USED_UP, FAR = 2.0, 4.0
"""Standard errors by which the holdout may be better than the other folds: two are chance in one run of 30, four are not."""
ANOTHER, OTHER_WORLD = 0.05, 0.2
"""Difference between the shares of rows with a same-product row on the other side. Known products are priced from memory: on
`ikea`, whose test has none, random folds promise a SMAPE of 21.4 where the test has 29.7."""


def fold_spread(inputs: ReportInputs) -> list[Finding]:
    """The member whose folds differ most for their size."""
    ratios = {member.id: ratio for member in inputs.members if (ratio := _unevenness(inputs, member)) is not None}
    if not ratios:
        return nothing(SPREAD, "no member has prices in two folds or more")
    name, ratio = max(ratios.items(), key=lambda each: (each[1], each[0]))
    member = next(each for each in inputs.members if each.id == name)
    scores = _fold_smapes(inputs, member)
    known = {fold: score for fold, score in enumerate(scores) if score is not None}
    worst = max(known, key=lambda fold: known[fold])
    label = short_labels([each.id for each in inputs.members])[name]
    saw = (
        f"The folds of {label} have SMAPE {min(known.values()):.2f} to {known[worst]:.2f}, the worst in fold {worst}: "
        f"{ratio:.1f} times the spread that their standard errors explain."
    )
    figures = {"ratio": ratio, "fold_smape": scores, "worst_fold": worst}
    advice = f"look at the worst rows of fold {worst} in the report, and whether that fold's training went wrong"
    state = graded(ratio, UNEVEN, BROKEN)
    return [settle(SPREAD, state, saw, figures, advice, command(inputs, "reports.build"), label)]


def holdout(inputs: ReportInputs) -> list[Finding]:
    """Trials are chosen on one fold: the more are tried, the better it looks by chance. Members of the search, all together."""
    searched = [member for member in inputs.members if "architecture" in member.record]
    leads = [lead for member in searched if (lead := _lead(inputs, member)) is not None]
    if not leads:
        return nothing(HELD_OUT, "no member of the search has prices in all folds")
    points, error = (float(np.mean(column)) for column in zip(*leads, strict=True))
    ratio = points / error if error else 0.0
    saw = (
        f"The holdout fold is {abs(points):.2f} points {'better' if points > 0 else 'worse'} than the other folds "
        f"(mean of {len(leads)} members), {abs(ratio):.1f} standard errors."
    )
    figures = {"points": points, "standard_error": error, "members": len(leads)}
    advice = (
        "trust the figures over all folds and not a trial's; cross-validate more configs, or search with other folds "
        "(another seed) to see whether the holdout is only easier"
    )
    again = anew(inputs, "seed1", "--seed 1")
    return [settle(HELD_OUT, graded(ratio, USED_UP, FAR), saw, figures, advice, again)]


def fold_overlap(inputs: ReportInputs) -> list[Finding]:
    """Overlap of products between folds, against the overlap of the test file with the training file."""
    facts = inputs.facts
    test, folds, random = (facts.overlap[name] for name in ("test", "folds", "random"))
    saw = (
        f"{test:.1%} of the test rows have a same-product row in train, and {folds:.1%} of a fold's rows in the other folds "
        f"({facts.fold_mode} folds, --fold-groups {facts.fold_groups}; random ones have {random:.1%})."
    )
    advice, again = _other_folds(inputs, too_close=folds > test)
    state = graded(abs(folds - test), ANOTHER, OTHER_WORLD)
    figures = {"test": test, "folds": folds, "difference": folds - test}
    return [settle(OVERLAP, state, saw, figures, advice, again)]


def _other_folds(inputs: ReportInputs, too_close: bool) -> tuple[str, str]:
    facts, draw = inputs.facts, command(inputs, "reports.build")
    if too_close:
        advice = "scores are too good: the test has fewer known products than the folds"
        if facts.fold_groups != "on":
            return f"{advice}; keep products in one fold", anew(inputs, "groups", "--fold-groups on")
        return f"{advice}, and groups are as strict as they get: expect less of the test", draw
    advice = "scores are too careful: the test has more known products than the folds"
    test, folds, random = (facts.overlap[name] for name in ("test", "folds", "random"))
    if abs(random - test) < abs(folds - test):
        return f"{advice}; make random folds", anew(inputs, "random", "--fold-groups off")
    return f"{advice}, and random ones would be no nearer: expect a little more of the test", draw


def _fold_smapes(inputs: ReportInputs, member: Member) -> list[float | None]:
    return by_fold(inputs.train.known_prices, member.oof, inputs.folds)


def _fold_errors(inputs: ReportInputs, member: Member) -> list[float]:
    """The standard error of each fold's SMAPE, infinite where it has one product."""
    return [_error(inputs, member.oof, inputs.folds.assignment == fold) for fold in range(inputs.folds.k)]


def _error(inputs: ReportInputs, oof: Floats, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    rows = inside & np.isfinite(oof)
    if not rows.any():
        return float("inf")
    return group_standard_error(smape_terms(inputs.train.known_prices[rows], oof[rows]), inputs.folds.groups[rows])


def _known(inputs: ReportInputs, member: Member) -> Sequence[tuple[int, float, float]]:
    """(fold, SMAPE, standard error) where all three are numbers."""
    found = zip(range(inputs.folds.k), _fold_smapes(inputs, member), _fold_errors(inputs, member), strict=True)
    return [(fold, score, error) for fold, score, error in found if score is not None and np.isfinite(error)]


def _unevenness(inputs: ReportInputs, member: Member) -> float | None:
    known = _known(inputs, member)
    explained = float(np.sqrt(np.mean([error**2 for _, _, error in known]))) if len(known) > 1 else 0.0
    return float(np.std([score for _, score, _ in known], ddof=1)) / explained if explained else None


def _lead(inputs: ReportInputs, member: Member) -> tuple[float, float] | None:
    """(points by which the holdout is better, their standard error)."""
    known = {fold: (score, error) for fold, score, error in _known(inputs, member)}
    if len(known) < inputs.folds.k or inputs.folds.k < 2:
        return None
    score, error = known.pop(HOLDOUT)
    scores, errors = np.array(list(known.values())).T
    return float(scores.mean() - score), float(np.hypot(error, np.sqrt(np.square(errors).sum()) / len(errors)))
