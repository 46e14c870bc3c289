"""The command: blocks in order of urgency, JSON, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.store.workspace import Workspace
from reports.checks import CHECKS, diagnose
from reports.figures.report_inputs import read_report_inputs
from tests.commands import run_module
from tests.paths import ROOT
from tests.reports_tests.test_checks import epochs, finish, trial, write_study
from tests.reports_tests.toys import add_member, add_plausible_members

GUIDE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.fixture
def troubled(larger_workspace: Workspace) -> Workspace:
    """A run with an overfitted trial, too few of them, and a member no better than a constant."""
    finish(larger_workspace, "text-1", epochs([50.0, 40.0, *[45.0] * 6]))
    write_study(larger_workspace, [trial(0, config="text-1"), trial(1, "failed", error="broken")])
    add_member(larger_workspace, "text-2", np.full(len(larger_workspace.train), 12.0), architecture="text")
    return larger_workspace


def test_problems_come_first(troubled: Workspace) -> None:
    states = [finding.state for finding in diagnose(read_report_inputs(troubled))]
    order = ["problem", "look", "ok", "skipped"]
    assert states == sorted(states, key=order.index) and set(states) == set(order)


def test_each_check_has_a_finding_and_stands_in_the_guide(troubled: Workspace) -> None:
    inputs = read_report_inputs(troubled)
    for check in CHECKS:
        found = check(inputs)
        assert len({finding.check for finding in found}) == 1, check
        assert f"`{found[0].check}`" in GUIDE


def test_the_guide_has_the_thresholds_that_are_used() -> None:
    from reports.checks import fitting, fold_checks, searching, times, trust

    waits = (times.WAITING, times.MOSTLY_WAITING, times.FAILED)
    for share in (fitting.RISE, *waits, trust.SOME_ROWS, searching.OFTEN, fold_checks.ANOTHER):
        assert f"{100 * share:g}%" in GUIDE


def test_the_same_run_gets_the_same_answer(troubled: Workspace) -> None:
    first = diagnose(read_report_inputs(troubled))
    assert diagnose(read_report_inputs(Workspace(troubled.folder))) == first


def test_checks_need_no_torch() -> None:
    code = "import sys, reports.checks; print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout == "[]\n", ran.stderr


@pytest.mark.e2e
def test_the_command_prints_problems_and_ends_with_1(troubled: Workspace) -> None:
    ran = run_module("reports.diagnose", "--workspace", troubled.folder)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 1 and lines[0].startswith("problem  overfitting, text") and "Traceback" not in ran.stderr
    assert lines[2].startswith("         try: ")
    assert lines[3].startswith(f"         python -m experiments.sweep text --workspace {troubled.folder} --set ")
    assert re.fullmatch(r"\d+ problem, \d+ look, \d+ ok, \d+ skipped", lines[-1])


@pytest.mark.e2e
def test_the_command_ends_with_0_where_there_is_no_problem(toy_workspace: Workspace) -> None:
    add_plausible_members(toy_workspace, 2)
    assert run_module("reports.diagnose", "--workspace", toy_workspace.folder).returncode == 0


@pytest.mark.e2e
def test_json_is_a_list_of_findings_and_notes_go_elsewhere(troubled: Workspace) -> None:
    add_member(troubled, "strange-1", np.ones(120), catalog="another")
    ran = run_module("reports.diagnose", "--workspace", troubled.folder, "--json")
    found = json.loads(ran.stdout)
    assert ran.returncode == 1 and "strange-1 is not shown" in ran.stderr
    assert all(set(each) == {"check", "about", "state", "saw", "figures", "advice", "command"} for each in found)
    assert found[0]["check"] == "overfitting" and found[0]["figures"]["rising"] == 1


@pytest.mark.e2e
def test_the_command_refuses_other_folders_and_shows_examples(tmp_path: Path) -> None:
    ran = run_module("reports.diagnose", "--workspace", tmp_path)
    assert ran.returncode == 2 and "is not a workspace" in ran.stderr and "Traceback" not in ran.stderr
    shown = run_module("reports.diagnose", "--help").stdout
    assert "python -m reports.diagnose --workspace runs/demo" in shown and "1 with one" in shown
