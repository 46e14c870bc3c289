"""Figures of the sweep from studies as `history.json` holds them, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.store.oof_store import Member
from core.store.workspace import Workspace
from reports.figures.report_inputs import read_report_inputs
from reports.figures.study_records import HISTORY_FORMAT, labelled
from reports.figures.sweep_figures import sweep_figures, varied_settings
from tests.reports_tests.toys import add_trials, study, trial, write_history


def figures(*studies: dict[str, Any]) -> dict[str, Any]:
    found = sweep_figures(labelled(studies), (), {})
    assert found is not None
    return found


def test_best_so_far_is_kept_per_architecture_in_the_order_in_which_trials_ended() -> None:
    boosted = study("boosted", trial(0, 50, end=10, rate=1), trial(1, 55, end=30, rate=2))
    text = study("text", trial(0, 60, end=20, rate=1), trial(1, 40, end=40, rate=2))
    found = figures(boosted, text)
    assert [each["best_so_far"] for each in found["trials"]] == [50, 60, 50, 40]
    assert [each["minutes"] for each in found["trials"]] == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=1e-3)
    assert [(each["name"], each["best"]["order"]) for each in found["architectures"]] == [("text", 4), ("boosted", 1)]
    assert found["architectures"][0]["varied"] == {"rate": 2}
    assert found["seconds"] == 120.0


def test_the_documented_best_is_found_among_the_trials() -> None:
    found = figures(study("text", trial(0, 60, rate=1), trial(1, 40, rate=2), documented={"rate": 1}))
    assert found["architectures"][0]["documented"] == 60
    assert [each["documented"] for each in found["trials"]] == [True, False]


def test_a_presets_first_point_stands_beside_ours() -> None:
    ours = study("text", trial(0, 60, rate=1), trial(1, 40, rate=2), documented={"rate": 1})
    changes = {"epochs": [20, 1]}
    literal = study(
        "text", trial(0, 70, rate=2, end=-1.0), trial(1, 30, rate=3), documented={"rate": 2}, name="text | preset",
        preset="documented", preset_changes=changes,
    )  # fmt: skip
    [shown] = figures(ours, literal)["architectures"]
    assert shown["presets"] == [
        {
            "name": "documented", "study": "text | preset", "smape": 70, "changes": changes, "default": 60, "best": 40,
        }
    ]  # fmt: skip
    assert shown["documented"] == 60 and shown["best"]["smape"] == 30
    [alone] = figures(literal)["architectures"]
    assert alone["documented"] == 70 and alone["presets"][0]["default"] is alone["presets"][0]["best"] is None


def test_a_repeat_that_was_answered_costs_nothing() -> None:
    repeat = trial(1, 50, end=20, seconds=None, answered_from=0, rate=1)
    found = figures(study("text", trial(0, 50, end=10, rate=1), repeat))
    assert found["seconds"] == 30 and found["trials"][1]["epochs"] == found["trials"][0]["epochs"]


def test_failures_are_grouped_by_cause_with_what_they_share() -> None:
    failed = [
        trial(number, None, end=number, state="failed", error=f"MemoryError: {number} GiB\nmore", size=128)
        for number in (1, 2)
    ]
    other = trial(3, None, end=3, state="failed", error="ValueError: no", size=32)
    [memory, value] = figures(study("text", trial(0, 40, size=32), *failed, other))["failures"]
    assert (memory["count"], memory["error"], memory["shared"]) == (2, "MemoryError: 1 GiB", {"size": 128})
    assert (value["count"], value["shared"]) == (1, {})


def test_time_is_counted_once_where_a_trial_became_a_fold() -> None:
    record = {"architecture": "text", "seconds": 100.0, "origin": {"trial": 0, "trial_smape": 40}}
    member = Member("text-1", np.ones(1), np.ones(1), record)
    studies = labelled([study("text", trial(0, 40), trial(1, 45), trial(2, 60, state="pruned"))])
    found = sweep_figures(studies, [member], {"seconds": {"total": 7.0}})
    assert found is not None
    spent = {(each["architecture"], each["purpose"]): each["seconds"] for each in found["time"]}
    assert spent == {
        ("text", "finished trials"): 30,
        ("text", "stopped trials"): 30,
        ("text", "cross-validation"): 100,
        ("stack", "choosing and fitting"): 7,
    }


def test_trials_of_two_studies_are_not_taken_for_each_other() -> None:
    old = study("text", trial(0, 50, end=10, rate=1), trial(1, 52, end=20, rate=2), name="text-old")
    new = study("text", trial(0, 45, end=30, rate=1), name="text-new", importances={"rate": 1.0})
    found = figures({**old, "importances": {"rate": 0.5}}, new)
    assert [each["label"] for each in found["trials"]] == ["text-old #0", "text-old #1", "text-new #0"]
    assert [(each["study"], each["share"]) for each in found["importances"]] == [("text-new", 1.0)]
    assert found["architectures"][0]["study"] == "text-new" and found["architectures"][0]["varied"] == {}


@pytest.mark.parametrize(
    "before",
    [
        {"error": "this config has failed before in this sweep"},
        {"error": "reworded", "error_code": "trial-failed-before"},
    ],
    ids=["sentence of f17e332", "code"],
)
def test_a_search_without_a_result_shares_nothing(before: dict[str, str]) -> None:
    failed = [trial(number, None, end=number, state="failed", error="no", size=1) for number in range(2)]
    repeat = {**trial(2, None, end=2, state="failed", size=1), **before}
    found = figures(study("text", *failed, repeat))
    assert [(each["count"], each["shared"]) for each in found["failures"]] == [(2, {})]
    assert found["architectures"][0]["best"] is None


def test_no_trials_have_no_figures() -> None:
    assert sweep_figures([], (), {}) is None


def test_a_setting_that_only_some_trials_have_varies() -> None:
    assert varied_settings([{"a": 1, "b": 2}, {"a": 1}]) == ["b"]


def test_the_history_is_completed_with_records_of_finished_trials(toy_workspace: Workspace) -> None:
    add_trials(toy_workspace, [("text", 40.0), ("lexical", 35.0)])
    known = trial(7, 40.0, config=f"text-{0:012x}", dropout=0.4)
    write_history(toy_workspace, study("text", known))
    first, second = read_report_inputs(toy_workspace).studies
    [reported] = first["trials"]
    assert reported["number"] == 7 and reported["settings"]["epochs"] == 20 and reported["metrics"]["smape"] == 40.0
    assert (second["architecture"], len(second["trials"])) == ("lexical", 1)


def test_a_history_of_another_version_is_not_shown(toy_workspace: Workspace) -> None:
    write_history(toy_workspace, study("text", trial(0, 40)), version=HISTORY_FORMAT + 1)
    inputs = read_report_inputs(toy_workspace)
    assert inputs.studies == () and any("history.json is not shown" in note for note in inputs.notes)
