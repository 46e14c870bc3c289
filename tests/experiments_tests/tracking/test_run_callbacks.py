"""Sweep commands with all callbacks: JSON events, live view, status, run log and study agree."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from core.store.workspace import Workspace
from experiments.tracking.mlflow_log import experiment_name, tracking_uri
from tests.paths import ROOT

pytestmark = pytest.mark.e2e


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(module, *arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def trials(workspace: Path) -> dict[str, str]:
    """State of each trial by the key of its run."""
    storage = f"sqlite:///{workspace}/optuna.db"
    return {
        f"{name}#{trial.number}": trial.state.name
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
        if trial.state != TrialState.WAITING
    }


def run_log(workspace: Path) -> dict[str, str]:
    """Tag `state` of each trial's run by its key; every run has ended, and no key has two."""
    place = Workspace(workspace)
    client = MlflowClient(tracking_uri(place))
    experiment = client.get_experiment_by_name(experiment_name(place))
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert all(run.info.status != "RUNNING" for run in runs)
    keys = [run.data.tags["key"] for run in runs]
    assert len(set(keys)) == len(keys)
    return {run.data.tags["key"]: run.data.tags["state"] for run in runs if run.data.tags["kind"] == "trial"}


def test_events_summary_status_run_log_and_study_agree(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]], here: Callable[..., str]
) -> None:
    train, test = toy_files(120, 30)
    workspace = tmp_path / "runs"
    sweep = ["lexical", "--train", train, "--test", test, "--workspace", workspace, "--trials", 3, "--members", 1]
    sweep += ["--folds", 2]
    done = run("experiments.sweep", *sweep, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]  # nothing else is on the standard output
    assert "catalog: 120 training rows" in done.stderr and "Next:" in done.stderr
    names = Counter(event["event"] for event in events)
    assert events[0]["event"] == "sweep_started" and events[-1]["event"] == "sweep_ended"
    assert names["trial_started"] == names["trial_finished"] == 3 and names["member"] == 1
    scores = {f"lexical-{event['trial']}": event["smape"] for event in events if event["event"] == "trial_finished"}
    assert events[-1]["best"]["lexical"] == min(scores.values())

    states = trials(workspace)
    assert events[-1]["counts"]["lexical"] == dict(Counter(states.values()))
    assert run_log(workspace) == states
    found = json.loads(run("experiments.status", "--workspace", workspace, "--json").stdout)
    assert found["driver"] == "finished" and found["searches"][0]["best"]["smape"] == min(scores.values())
    assert [member["folds_done"] for member in found["members"]] == [2]
    assert "experiments.sweep lexical" in found["record"]["command"]

    assert here(*sweep, "--quiet", "--dry-run") == ""


@pytest.mark.faults
def test_a_killed_driver_leaves_no_gap_in_the_run_log(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    train, test = toy_files(120, 30)
    workspace = tmp_path / "runs"
    sweep = ["lexical", "--train", train, "--test", test, "--workspace", workspace, "--trials", 8, "--members", 1]
    sweep += ["--folds", 2, "--max-concurrent", 1]
    with subprocess.Popen(
        command("experiments.sweep", *sweep, "--json"), cwd=ROOT, stdout=-1, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "trial_finished":
                process.send_signal(signal.SIGKILL)
                break
    assert "died" in run("experiments.status", "--workspace", workspace).stdout
    quiet = run("experiments.sweep", *sweep, "--quiet").stdout
    assert "catalog:" not in quiet and "started" not in quiet and "Next:" in quiet
    states = trials(workspace)
    assert "RUNNING" not in states.values() and Counter(states.values())["COMPLETE"] >= 8
    assert run_log(workspace) == states
