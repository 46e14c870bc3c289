"""The checks of folds and of figures that may not be believed: each where it fires and where it does not."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from core.atomic_files import write_json
from core.quality.label_noise import LabelNoise, SuspectLabel, write_findings
from core.quality.leaks import Leak, LeakKind, write_leak_notes
from core.store.workspace import Workspace
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from reports.checks import fold_checks, trust
from reports.figures.report_inputs import read_report_inputs
from tests.reports_tests.test_checks import the
from tests.reports_tests.toys import add_member, add_plausible_members


def missed(workspace: Workspace, factor: float | np.ndarray = 1.0) -> np.ndarray:
    """(n,) out-of-fold prices up to 20% too high, times `factor` in log: 10% in each fold, so that chance plays no part."""
    assignment = workspace.folds.assignment
    logs = np.zeros(len(assignment))
    for fold in range(workspace.folds.k):
        inside = assignment == fold
        logs[inside] = np.linspace(0.0, 0.2, int(inside.sum()))
    return workspace.train.known_prices * np.exp(logs * factor)


def in_fold(workspace: Workspace, fold: int, inside: float) -> np.ndarray:
    """(n,) 1 outside of the fold."""
    return np.where(workspace.folds.assignment == fold, inside, 1.0)


@pytest.mark.parametrize(("times", "state"), [(1.0, "ok"), (1.5, "look"), (20.0, "problem")])
def test_a_fold_that_differs_more_than_its_size_explains(toy_workspace: Workspace, times: float, state: str) -> None:
    add_member(toy_workspace, "text-even", missed(toy_workspace), architecture="text")
    odd = missed(toy_workspace, in_fold(toy_workspace, 2, times))
    add_member(toy_workspace, "text-odd", odd, architecture="text")
    finding = the(fold_checks.fold_spread, toy_workspace)
    assert finding.state == state
    if state != "ok":
        assert finding.about == "text-odd" and finding.figures["worst_fold"] == 2


def test_members_of_a_single_fold_say_nothing_of_folds(toy_workspace: Workspace) -> None:
    inside = toy_workspace.folds.assignment == 0
    add_member(toy_workspace, "text-1", np.where(inside, missed(toy_workspace), np.nan), architecture="text")
    assert the(fold_checks.fold_spread, toy_workspace).state == "skipped"
    assert the(fold_checks.holdout, toy_workspace).state == "skipped"


@pytest.mark.parametrize(
    ("times", "state", "word"),
    [(0.05, "problem", "better"), (0.7, "look", "better"), (1.0, "ok", ""), (3.0, "ok", "worse")],
)
def test_a_holdout_better_than_the_other_folds(toy_workspace: Workspace, times: float, state: str, word: str) -> None:
    oof = missed(toy_workspace, in_fold(toy_workspace, 0, times))
    add_member(toy_workspace, "text-1", oof, architecture="text")
    add_member(toy_workspace, "outside", missed(toy_workspace))  # was never searched on the holdout
    finding = the(fold_checks.holdout, toy_workspace)
    assert (finding.state, finding.figures["members"]) == (state, 1) and word in finding.saw
    if finding.command:
        assert finding.command.endswith(f"--workspace {toy_workspace.folder}-seed1 --seed 1")


@pytest.mark.parametrize(
    ("test", "made", "random", "mode", "asked", "state", "flag"),
    [
        (0.5, 0.52, 0.52, "random", "auto", "ok", ""),
        (0.0, 0.1, 0.1, "random", "off", "look", "--fold-groups on"),
        (0.0, 0.6, 0.6, "random", "auto", "problem", "--fold-groups on"),
        (0.0, 0.1, 0.7, "groups", "on", "look", "reports.build"),
        (0.6, 0.1, 0.7, "groups", "on", "problem", "--fold-groups off"),
        (0.06, 0.0, 0.4, "groups", "auto", "look", "reports.build"),
        (0.6, 0.5, 0.5, "random", "auto", "look", "reports.build"),
    ],
)
def test_folds_unlike_the_test_file(
    toy_workspace: Workspace, test: float, made: float, random: float, mode: str, asked: str, state: str, flag: str
) -> None:
    overlap = {"test": test, "random": random, "folds": made}
    facts = replace(toy_workspace.facts, overlap=overlap, fold_mode=mode, fold_groups=asked)
    write_json(toy_workspace.path("workspace.json"), asdict(facts))
    finding = the(fold_checks.fold_overlap, toy_workspace)
    assert finding.state == state and flag in finding.command
    assert f"{test:.1%} of the test rows" in finding.saw and f"{made:.1%} of a fold's rows" in finding.saw


def test_members_no_better_than_a_constant(toy_workspace: Workspace) -> None:
    prices = toy_workspace.train.known_prices
    add_member(toy_workspace, "text-1", np.full(len(prices), float(np.median(prices))), architecture="text")
    finding = the(trust.floor, toy_workspace)
    assert finding.state == "problem" and finding.saw.startswith("The best member, text-1, has SMAPE ")
    assert finding.command == f"python -m experiments.sweep --workspace {toy_workspace.folder} lexical boosted"


def test_one_price_for_all_rows_is_no_problem_of_the_members(toy_workspace: Workspace) -> None:
    add_plausible_members(toy_workspace, 5)
    inputs = read_report_inputs(toy_workspace)
    equal = replace(inputs, train=replace(inputs.train, prices=np.full(len(inputs.train), 9.99)))
    for check in (trust.floor, trust.too_good):
        assert [finding.state for finding in check(inputs)] == ["ok"]
        assert [finding.state for finding in check(equal)] == ["skipped"]


def test_members_and_stacks_better_than_a_constant(toy_workspace: Workspace) -> None:
    assert the(trust.floor, toy_workspace).state == "skipped"
    add_plausible_members(toy_workspace, 2)
    assert the(trust.floor, toy_workspace).state == "ok"
    stack_workspace(toy_workspace, StackConfig(methods=("mean",)))
    finding = the(trust.floor, toy_workspace)
    assert finding.state == "ok" and finding.saw.startswith("The stack, nested, has SMAPE ")


def test_notes_of_leaks_are_findings_with_a_hint(toy_workspace: Workspace) -> None:
    assert the(trust.leaks, toy_workspace).state == "skipped"  # nobody has looked
    write_leak_notes(toy_workspace, [])
    assert the(trust.leaks, toy_workspace).state == "ok"
    write_leak_notes(
        toy_workspace, [Leak(LeakKind.CODE, "rows that share 'x; y' cost the same", "take such codes out")]
    )
    finding = the(trust.leaks, toy_workspace)
    assert (finding.state, finding.advice) == ("look", "take such codes out")
    assert finding.saw == "possible leak: rows that share 'x; y' cost the same."
    assert finding.command.endswith(f"--workspace {toy_workspace.folder}-clean")


@pytest.mark.parametrize(("factor", "state"), [(0.3, "problem"), (0.9, "ok")])
def test_a_member_much_better_than_its_kind(toy_workspace: Workspace, factor: float, state: str) -> None:
    for number in range(3):
        add_member(toy_workspace, f"text-{number}", missed(toy_workspace, 1 + number / 10), architecture="text")
    add_member(toy_workspace, "text-9", missed(toy_workspace, factor), architecture="text")
    finding = the(trust.too_good, toy_workspace)
    assert finding.state == state
    if state == "problem":
        assert finding.about == "text-9" and finding.command.endswith("--drop text-9")


def test_a_better_kind_of_model_only_deserves_a_look(toy_workspace: Workspace) -> None:
    for number in range(3):
        add_member(toy_workspace, f"text-{number}", missed(toy_workspace, 1 + number / 10), architecture="text")
    add_member(toy_workspace, "boosted-9", missed(toy_workspace, 0.3), architecture="boosted")
    assert the(trust.too_good, toy_workspace).state == "look"


def test_two_members_cannot_be_compared(toy_workspace: Workspace) -> None:
    add_plausible_members(toy_workspace, 2)
    assert the(trust.too_good, toy_workspace).state == "skipped"


@pytest.mark.parametrize(("rows", "state"), [(0, "ok"), (2, "look"), (10, "problem")])
def test_prices_that_look_wrong(toy_workspace: Workspace, rows: int, state: str) -> None:
    kinds = [LabelNoise.CONFLICT if row == 0 else LabelNoise.OUTLIER for row in range(rows)]
    found = [SuspectLabel(str(row), kind, 100.0, 5.0, 10.0, "similar rows") for row, kind in enumerate(kinds)]
    write_findings(toy_workspace.path("labels.csv"), [*found, *found[1:2]])  # one row may be named twice
    finding = the(trust.labels, toy_workspace)
    assert finding.state == state
    assert finding.figures == {"rows": rows, "conflicts": min(rows, 1), "share": rows / 120}
    assert read_report_inputs(toy_workspace).labels[: len(found)] == tuple(found)
