"""The commands a user types, as processes of their own: from CSV files to a submission, interrupted, repeated. And misused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from core.demo import make_demo
from core.store.workspace import Workspace
from experiments.search.lease import driver_of
from experiments.search.storage import open_storage
from experiments.tracking.mlflow_log import tracking_uri
from tests.paths import ROOT

pytestmark = pytest.mark.e2e


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(module: str, *arguments: object, code: int = 0, **environment: str) -> str:
    """Standard output and error of the command, which must end with this exit code."""
    done = subprocess.run(
        command(module, *arguments), cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    return text


def trials(workspace: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{workspace}/optuna.db"
    return [
        trial
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
        if trial.state != TrialState.WAITING
    ]


def assert_valid_submission(path: Path, test: Path) -> None:
    submission = pd.read_csv(path, dtype={"sample_id": str})
    assert list(submission.columns) == ["sample_id", "price"]
    assert list(submission["sample_id"]) == list(pd.read_csv(test, dtype={"sample_id": str})["sample_id"])
    assert (submission["price"] > 0).all() and submission["price"].notna().all()


def test_from_csv_to_submission_and_a_second_run_trains_nothing(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]], here: Callable[..., str]
) -> None:
    train, test = toy_files(150, 40)
    workspace = tmp_path / "runs"
    sweep = ["lexical", "boosted", "--train", train, "--test", test, "--workspace", workspace]
    sweep += ["--trials", 2, "--members", 1, "--folds", 3]
    plan = here(*sweep, "--dry-run")
    assert "dry run: nothing was trained" in plan and "150 training rows" in plan and not trials_exist(workspace)
    assert f"cache: {workspace}/cache, at most" in plan and "half of the free disk" in plan

    first = run("experiments.sweep", *sweep)
    assert first.count("complete  SMAPE") == 2
    assert {trial.state for trial in trials(workspace)} == {TrialState.COMPLETE}
    stacked = run("ensemble.stack", "--workspace", workspace)
    assert "nested" in stacked and "floor" in stacked
    assert_valid_submission(workspace / "submission.csv", test)
    submission = (workspace / "submission.csv").read_bytes()

    listed = run("core.cache", "--workspace", workspace)
    assert "boosted" in listed and "lexical" in listed and "min ago" in listed
    assert "removed" in run("core.cache", "--workspace", workspace, "--limit", "1KB")
    assert "is empty" in run("core.cache", "--workspace", workspace)

    second = run("experiments.sweep", *sweep)
    assert "started" not in second and len(trials(workspace)) == 4
    run("ensemble.stack", "--workspace", workspace)
    assert (workspace / "submission.csv").read_bytes() == submission

    runs = MlflowClient(tracking_uri(Workspace(workspace))).search_runs(["1"])
    assert sorted(each.data.tags["kind"] for each in runs) == ["member"] * 2 + ["trial"] * 4
    assert all(each.info.status == "FINISHED" for each in runs)
    assert (workspace / "report.html").stat().st_size < 5_000_000

    train.write_text(train.read_text().replace("Acme", "Zenith"))
    assert "holds another catalog" in here(*sweep, code=2)


def trials_exist(workspace: Path) -> bool:
    return (workspace / "optuna.db").exists()


def test_both_neural_architectures_on_the_demo(tmp_path: Path) -> None:
    demo = make_demo(tmp_path / "demo", rows=260, seed=1)
    workspace = tmp_path / "runs"
    text = run(
        "experiments.sweep", "multimodal", "text", "--train", demo.train, "--test", demo.test, "--images", demo.images,
        "--workspace", workspace, "--trials", 1, "--members", 1, "--folds", 2, "--set", "epochs=2",
        "--text-encoder", "tiny",
    )  # fmt: skip
    assert "; images" in text and "epoch 2/2" in text
    run("ensemble.stack", "--workspace", workspace)
    assert_valid_submission(workspace / "submission.csv", demo.test)

    told = run("serving.export", "--workspace", workspace)
    assert "prices within 0.0" in told and "nested SMAPE" in told
    (bundle,) = (workspace / "bundles").glob("runs-1-*")
    moved = bundle.rename(tmp_path / "bundle")
    shutil.rmtree(workspace / "members")
    prices = tmp_path / "prices.csv"
    told = run("serving.predict", "--bundle", moved, "--in", demo.test, "--images", demo.images, "--out", prices)
    assert "rows priced by runs 1-" in told and "not by the whole stack" not in told
    assert_valid_submission(prices, demo.test)
    expected, found = (pd.read_csv(path)["price"].to_numpy() for path in (workspace / "submission.csv", prices))
    assert found == pytest.approx(expected, rel=1e-4)


def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    train, test = toy_files(150, 40)
    workspace = tmp_path / "runs"
    sweep = ["boosted", "--train", train, "--test", test, "--workspace", workspace, "--trials", 3, "--members", 1]
    sweep += ["--folds", 2, "--max-concurrent", 1]
    process = subprocess.Popen(
        command("experiments.sweep", *sweep), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "boosted #1 started" in line:
            process.send_signal(signal.SIGINT)
            break
    seen += process.stdout.read()
    assert process.wait(timeout=120) == 130, seen
    assert "run the same command to go on" in seen
    states = [trial.state for trial in trials(workspace)]
    assert TrialState.RUNNING not in states and TrialState.COMPLETE in states

    finished = run("experiments.sweep", *sweep)
    assert "member boosted" in finished
    ended = trials(workspace)
    assert len({trial.user_attrs["config"] for trial in ended if trial.state == TrialState.COMPLETE}) == 3
    assert TrialState.RUNNING not in [trial.state for trial in ended]


def test_a_second_driver_on_one_study_is_refused_and_ctrl_c_lets_it_go(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]], here: Callable[..., str]
) -> None:
    """Two workspaces, as on two machines, with one journal in a shared folder."""
    train, test = toy_files(150, 40)
    journal = tmp_path / "shared" / "studies.log"
    sweep = ["boosted", "--train", train, "--test", test, "--trials", 3, "--members", 1, "--folds", 2]
    sweep += ["--max-concurrent", 1, "--storage", journal]
    first = subprocess.Popen(
        command("experiments.sweep", *sweep, "--workspace", tmp_path / "a"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    seen = ""
    for line in first.stdout:
        seen += line
        if "boosted #0 started" in line:
            break
    refused = here(*sweep, "--workspace", tmp_path / "b", code=2)
    assert f"is being driven by process {first.pid} on " in refused and "what to do" in refused
    assert "started" not in refused
    first.send_signal(signal.SIGINT)
    seen += first.stdout.read()
    assert first.wait(timeout=120) == 130, seen

    study = optuna.load_study(study_name=None, storage=open_storage(str(journal)))
    assert driver_of(study.user_attrs) is None
    assert TrialState.RUNNING not in [trial.state for trial in study.trials]
    assert "member boosted" in run("experiments.sweep", *sweep, "--workspace", tmp_path / "b")
    assert len({trial.user_attrs["config"] for trial in study.trials if trial.state == TrialState.COMPLETE}) == 3


def test_a_time_budget_is_kept_members_included(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> None:
    train, test = toy_files(150, 40)
    start = time.monotonic()
    sweep = ["lexical", "--train", train, "--test", test, "--workspace", tmp_path / "runs", "--folds", 2]
    text = run("experiments.sweep", *sweep, "--minutes", 1)
    assert time.monotonic() - start < 66.0
    assert "complete  SMAPE" in text


def test_points_that_differ_only_beyond_an_encoders_positions_are_trained_once(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]], here: Callable[..., str]
) -> None:
    train, test = toy_files(120, 30)
    space = tmp_path / "space.yaml"
    space.write_text(
        "values: {max_length: [1024, 2048], batch_size: [16, 32]}\n"
        "initial_points: [{max_length: 1024, batch_size: 16}, {max_length: 2048}]"
    )
    sweep = ["text", "--text-encoder", "tiny", "--train", train, "--test", test, "--workspace", tmp_path / "runs"]
    sweep += ["--space", space, "--grid", "--set", "epochs=1", "--folds", 2, "--members", 1, "--max-concurrent", 1]
    plan = "max_length: 2048 means 1024, the most that tiny reads; trained once"
    assert plan in here(*sweep, "--dry-run")
    text = run("experiments.sweep", *sweep)
    assert plan in text and text.count(" started  max_length") == 2
    first, repeat, other = trials(tmp_path / "runs")
    assert repeat.user_attrs["answered_from"] == first.number and repeat.params == {
        "max_length": 2048,
        "batch_size": 16,
    }
    assert (repeat.value, repeat.state) == (first.value, TrialState.COMPLETE) and other.params["batch_size"] == 32
    assert len(list(tmp_path.glob("runs/trials/*/trial.json"))) == 2
    assert "started" not in run("experiments.sweep", *sweep)  # nor when it goes on


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["multimodel"], "did you mean 'multimodal'"),
        (["text", "--sampler", "tpee"], "did you mean 'tpe'"),
        (["text", "--pruner", "ahsa"], "did you mean 'asha'"),
        (["text", "--minutes", "0"], "leaves no time"),
        (["text", "--cache-limit", "20"], "--cache-limit 20 is no size"),
        (["text", "--set", "droput=0.3"], "did you mean 'dropout'"),
        (["text", "--set", "dropout=lots"], "bad value for dropout"),
        (["text", "--text-encoder", "neobret"], "neobert"),
        (["text", "--text-encoder", "neobert"], "neobert"),
        (["text", "--space", "missing.yaml"], "no search space"),
        (["text", "--folds", "4000"], "folds"),
        (["text", "--train", "missing.csv", "--test", "missing.csv"], "missing.csv"),
        (["text", "--gpus-per-trial", "64"], "GPUs"),
        (["lexical", "--address", "127.0.0.1:1"], "no Ray cluster answers"),
    ],
)
def test_misuse_is_answered_with_a_cure(
    tmp_path: Path,
    toy_files: Callable[..., tuple[Path, Path]],
    here: Callable[..., str],
    arguments: list[str],
    message: str,
) -> None:
    train, test = toy_files(60, 10)
    given = [] if "--train" in arguments else ["--train", train, "--test", test]
    text = here(*arguments, *given, "--workspace", tmp_path / "runs", code=2)
    assert message in text and "what to do:" in text


def test_misuse_ends_with_exit_code_2_and_without_a_traceback(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    train, test = toy_files(60, 10)
    given = ["text", "--folds", 4000, "--train", train, "--test", test, "--workspace", tmp_path / "runs"]
    text = run("experiments.sweep", *given, code=2)
    assert "what to do:" in text and "Traceback" not in text


def test_a_workspace_that_cannot_be_written_is_refused(
    toy_files: Callable[..., tuple[Path, Path]], here: Callable[..., str]
) -> None:
    train, test = toy_files(60, 10)
    for folder in ("/proc/pricestack", train / "below-a-file"):
        text = here("text", "--train", train, "--test", test, "--workspace", folder, code=2)
        assert "cannot be written" in text and "--workspace" in text


def test_the_stack_without_a_sweep_says_what_to_run_first(tmp_path: Path) -> None:
    assert "experiments.sweep" in run("ensemble.stack", "--workspace", tmp_path / "nothing", code=2)
