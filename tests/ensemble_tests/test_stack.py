from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import UserError
from core.metrics import all_metrics
from core.store.workspace import Workspace
from ensemble.pipeline.submission import verify_submission
from ensemble.stack import stack_files, stack_workspace
from ensemble.stack_options import StackConfig
from tests.commands import run_module
from tests.ensemble_tests.toys import add_member, frames, save


def stack(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_module("ensemble.stack", *arguments, cwd=cwd)


@pytest.mark.e2e
def test_command_stacks_the_workspace_named_runs(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "text-a", 1)
    add_member(toy_workspace, "text-b", 2)
    done = stack(cwd=toy_workspace.folder.parent)
    assert done.returncode == 0, done.stderr
    verify_submission(toy_workspace.path("submission.csv"), toy_workspace.test.ids)
    record = json.loads(toy_workspace.path("stack.json").read_text())
    for shown in (
        "text-a",
        "text-b",
        "constant floor",
        f"nested SMAPE {record['nested']['smape']:.2f}",
        "95% interval {:.2f} to {:.2f}".format(*record["nested"]["interval"]),
        f"chosen: {record['choice']['name']}",
        "not tried, for want of members, rows or groups: median",
        "submission.csv",
    ):
        assert shown in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.e2e
def test_command_stacks_tables_and_quiet_prints_the_path_alone(tmp_path: Path) -> None:
    left, right = frames(200, 20)
    left.loc[3, "b"] = np.nan
    oof, test = save(tmp_path, left, right)
    done = stack("--oof", oof, "--test", test, "--out", "deep/sub.csv", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "deep/sub.csv\n"
    assert "note: member b is completed from the other members: 1 of 200" in done.stderr
    verify_submission(tmp_path / "deep" / "sub.csv", right["sample_id"].to_numpy(object))
    assert sorted(each.name for each in (tmp_path / "deep").iterdir()) == [
        "sub.csv", "sub.stack.json", "sub.stack_oof.parquet", "sub.timings.json",
    ]  # fmt: skip


@pytest.mark.e2e
def test_errors_end_with_code_2_a_hint_and_no_traceback(tmp_path: Path) -> None:
    done = stack(cwd=tmp_path)
    assert done.returncode == 2
    assert "runs is not a workspace" in done.stderr
    assert "what to do: run `python -m experiments.sweep`" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_unwritable_output_is_noticed_before_the_work(tmp_path: Path) -> None:
    oof, test = save(tmp_path, *frames())
    for out in (oof / "sub.csv", tmp_path):
        with pytest.raises(UserError) as caught:
            stack_files(oof, test, out=out)
        assert caught.value.code.startswith("submission-"), caught.value.code


def test_same_inputs_same_bytes_and_the_record_is_complete(tmp_path: Path) -> None:
    oof, test = save(tmp_path, *frames(300, 20))
    first = stack_files(oof, test, StackConfig(seed=3), out=tmp_path / "one" / "sub.csv")
    second = stack_files(oof, test, StackConfig(seed=3), out=tmp_path / "two" / "other.csv")
    for one, two in zip(
        (first.paths.record, first.paths.submission), (second.paths.record, second.paths.submission), strict=True
    ):
        assert one.read_bytes() == two.read_bytes()
    record = json.loads(first.paths.record.read_text())
    oof_prices = pd.read_parquet(first.paths.oof)
    expected = all_metrics(oof_prices["price"], oof_prices["stack"])
    assert {name: record["nested"][name] for name in expected} == pytest.approx(expected)
    assert record["optimism"] == pytest.approx(record["nested"]["smape"] - record["in_sample"]["smape"])
    assert [each["name"] for each in record["members"]] == ["a", "b"]
    assert record["choice"]["name"] in [each["name"] for each in record["candidates"]]
    assert [each["weight"] for each in record["members"]] == pytest.approx(first.validation.final.weights)
    low, high = record["nested"]["interval"]
    assert low < record["nested"]["smape"] < high
    assert record["seed"] == 3
    assert record["features"]["names"] == []
    assert "seconds" not in first.paths.record.read_text()
    assert json.loads(first.paths.timings.read_text())["seconds"]["total"] > 0


def test_workspace_function_returns_what_it_wrote(toy_workspace: Workspace, tmp_path: Path) -> None:
    add_member(toy_workspace, "text-a", 1)
    add_member(toy_workspace, "text-b", 2)
    result = stack_workspace(toy_workspace, out=tmp_path / "mine.csv")
    assert pd.read_csv(tmp_path / "mine.csv")["price"].to_numpy() == pytest.approx(result.test)
    assert not toy_workspace.path("submission.csv").exists()
    assert json.loads(toy_workspace.path("stack.json").read_text()) == result.record
    timings = json.loads(toy_workspace.path("timings.json").read_text())
    assert timings["members"] == {"text-a": 1.5, "text-b": 1.5}
    assert result.nested_smape == result.record["nested"]["smape"]
    assert result.standard_error > 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--oof", "x.csv"), "--oof and --test belong together"),
        (("--oof", "x.csv", "--test", "y.csv", "--workspace", "w"), "exclude each other"),
        (("--folds", "3"), "are for --oof"),
        (("--features", "brand"), "are for --oof"),
        (("--oof", "x.csv", "--test", "y.csv", "--out", "y.csv"), "is one of the inputs"),
        (("--oof", "x.csv", "--test", "y.csv"), "x.csv is not a file"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], code: str) -> None:
    from typer.testing import CliRunner

    from ensemble.stack import app

    result = CliRunner().invoke(app, arguments)
    assert code in str(result.exception)
