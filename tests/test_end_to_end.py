"""The commands a user types, as processes of their own: from CSV files to a submission, interrupted, repeated. And misused."""

from __future__ import annotations

import shutil
import signal
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
from tests.commands import Start, run, trials

pytestmark = pytest.mark.e2e


def assert_valid_submission(path: Path, test: Path) -> None:
    submission = pd.read_csv(path, dtype={"sample_id": str})
    assert list(submission.columns) == ["sample_id", "price"]
    assert list(submission["sample_id"]) == list(pd.read_csv(test, dtype={"sample_id": str})["sample_id"])
    assert (submission["price"] > 0).all() and submission["price"].notna().all()


def test_from_csv_to_submission_and_a_second_run_trains_nothing(
    tmp_path: Path, toy_sweep: list[object], here: Callable[..., str]
) -> None:
    workspace, train = tmp_path / "runs", tmp_path / "train.csv"
    sweep = ["lexical", "boosted", *toy_sweep, "--trials", 2, "--folds", 3]
    plan = here(*sweep, "--dry-run")
    assert "dry run: nothing was trained" in plan and "150 training rows" in plan
    assert not (workspace / "optuna.db").exists()
    assert f"cache: {workspace}/cache, at most" in plan and "half of the free disk" in plan

    first = run("experiments.sweep", *sweep)
    assert first.count("complete  SMAPE") == 2
    assert {trial.state for trial in trials(workspace)} == {TrialState.COMPLETE}
    stacked = run("ensemble.stack", "--workspace", workspace)
    assert "nested" in stacked and "floor" in stacked
    assert_valid_submission(workspace / "submission.csv", tmp_path / "test.csv")
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

    exported = run("serving.export", "--workspace", workspace)
    assert "prices within 0.0" in exported and "nested SMAPE" in exported
    (bundle,) = (workspace / "bundles").glob("runs-1-*")
    moved = bundle.rename(tmp_path / "bundle")
    shutil.rmtree(workspace / "members")
    prices = tmp_path / "prices.csv"
    predicted = run("serving.predict", "--bundle", moved, "--in", demo.test, "--images", demo.images, "--out", prices)
    assert "rows priced by runs 1-" in predicted and "not by the whole stack" not in predicted
    assert_valid_submission(prices, demo.test)
    expected, found = (pd.read_csv(path)["price"].to_numpy() for path in (workspace / "submission.csv", prices))
    assert found == pytest.approx(expected, rel=1e-4)


def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(
    tmp_path: Path, toy_sweep: list[object], start: Start
) -> None:
    sweep = ["experiments.sweep", "boosted", *toy_sweep, "--trials", 3, "--max-concurrent", 1]
    first = start(*sweep)
    first.until("boosted #1 started")
    first.send(signal.SIGINT)
    assert "run the same command to go on" in first.end(code=130)
    states = [trial.state for trial in trials(tmp_path / "runs")]
    assert TrialState.RUNNING not in states and TrialState.COMPLETE in states

    assert "member boosted" in run(*sweep)
    ended = trials(tmp_path / "runs")
    assert len({trial.user_attrs["config"] for trial in ended if trial.state == TrialState.COMPLETE}) == 3
    assert TrialState.RUNNING not in [trial.state for trial in ended]


def test_a_second_driver_on_one_study_is_refused_and_ctrl_c_lets_it_go(
    tmp_path: Path, toy_sweep: list[object], start: Start, here: Callable[..., str]
) -> None:
    """Two workspaces, as on two machines, with one journal in a shared folder."""
    journal = tmp_path / "shared" / "studies.log"
    sweep = ["boosted", *toy_sweep, "--trials", 3, "--max-concurrent", 1, "--storage", journal]
    first = start("experiments.sweep", *sweep)
    first.until("boosted #0 started")
    refused = here(*sweep, "--workspace", tmp_path / "other", code=2)
    assert f"is being driven by process {first.process.pid} on " in refused and "what to do" in refused
    assert "started" not in refused
    first.send(signal.SIGINT)
    first.end(code=130)

    study = optuna.load_study(study_name=None, storage=open_storage(str(journal)))
    assert driver_of(study.user_attrs) is None
    assert TrialState.RUNNING not in [trial.state for trial in study.trials]
    assert "member boosted" in run("experiments.sweep", *sweep, "--workspace", tmp_path / "other")
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
    sweep += [
        "--space",
        space,
        "--grid",
        "--set",
        "epochs=1",
        "--set",
        "learning_rate=1e-3",
        "--folds",
        2,
        "--members",
        1,
        "--max-concurrent",
        1,
    ]
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
def test_misuse_ends_with_a_message_and_a_hint(
    toy_sweep: list[object], here: Callable[..., str], arguments: list[str], message: str
) -> None:
    text = here(arguments[0], *toy_sweep, *arguments[1:], code=2)
    assert message in text and "what to do:" in text


def test_misuse_ends_with_exit_code_2_and_without_a_traceback(toy_sweep: list[object]) -> None:
    text = run("experiments.sweep", "text", *toy_sweep, "--folds", 4000, code=2)
    assert "what to do:" in text and "Traceback" not in text


def test_a_workspace_that_cannot_be_written_is_refused(
    tmp_path: Path, toy_sweep: list[object], here: Callable[..., str]
) -> None:
    for folder in ("/proc/pricestack", tmp_path / "train.csv" / "below-a-file"):
        text = here("text", *toy_sweep, "--workspace", folder, code=2)
        assert "cannot be written" in text and "--workspace" in text


def test_the_stack_without_a_sweep_says_what_to_run_first(tmp_path: Path) -> None:
    assert "experiments.sweep" in run("ensemble.stack", "--workspace", tmp_path / "nothing", code=2)
