"""The sweep as a user runs it, and what may happen to it: killed drivers and workers, Ctrl-C, a second driver, a bad trial.

After each the same command goes on: finished trials are kept and not repeated, none is left RUNNING, and the counts add up.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState
from safetensors.numpy import save_file

from tests.test_end_to_end import ROOT, command, run, trials

pytestmark = pytest.mark.e2e
PATIENCE = 240.0
"""Seconds that a test waits for what must come."""


@pytest.fixture
def sweep(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> list[object]:
    """Arguments of a sweep that takes some seconds: four trials, one member of two folds."""
    train, test = toy_files(150, 40)
    return [
        "boosted", "--train", train, "--test", test, "--workspace", tmp_path / "runs", "--trials", 4, "--members", 1,
        "--folds", 2, "--max-concurrent", 2,
    ]  # fmt: skip


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command as a process of its own; whatever is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(arguments: list[object]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command("experiments.sweep", *arguments), cwd=ROOT, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Output up to the first line with this text; fails if the process ends without one."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"'{text}' never came:\n{seen}")


def rest(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


def finished(workspace: Path) -> list[FrozenTrial]:
    return [trial for trial in trials(workspace) if trial.state == TrialState.COMPLETE]


def trained_once(workspace: Path) -> bool:
    """No config has two trials with a result that were both trained."""
    trained = [trial for trial in finished(workspace) if "answered_from" not in trial.user_attrs]
    return len({trial.user_attrs["config"] for trial in trained}) == len(trained)


def assert_whole(workspace: Path, wanted: int) -> None:
    """What must hold after the last run, whatever came before."""
    states = Counter(trial.state for trial in trials(workspace))
    assert TrialState.RUNNING not in states, states
    ended = {
        trial.user_attrs["config"]
        for trial in trials(workspace)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    }
    assert len(ended) == wanted, states
    assert trained_once(workspace)
    assert len(list((workspace / "members").glob("*/member.json"))) == 1


def test_a_killed_drivers_sweep_goes_on_and_repeats_nothing(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(sweep)
    read_until(first, "done  SMAPE")
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("trials/*/trial.json")}
    assert kept
    run("experiments.sweep", *sweep)
    assert_whole(tmp_path / "runs", wanted=4)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_a_killed_workers_trial_is_run_once_more(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(sweep)
    seen = read_until(process, "boosted #1 started")
    child(process, "ray::ImplicitFunc").send_signal(signal.SIGKILL)
    seen += rest(process)
    assert process.wait() == 0, seen
    assert "it is run once more" in seen
    assert_whole(tmp_path / "runs", wanted=4)


@pytest.mark.faults
def test_a_sweep_whose_node_is_killed_ends_and_goes_on(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(sweep)
    seen = read_until(process, "boosted #1 started")
    child(process, "raylet/raylet").send_signal(signal.SIGKILL)
    seen += rest(process)
    # Workers that are at work outlive their node for a while: they may even finish.
    assert process.wait() in (0, 2), seen
    assert ("Ray's last node is gone" in seen) == (process.returncode == 2)
    run("experiments.sweep", *sweep)
    assert_whole(tmp_path / "runs", wanted=4)


def child(process: subprocess.Popen[str], part: str) -> psutil.Process:
    """The child process of the sweep with this text in its command line, once there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for found in psutil.Process(process.pid).children(recursive=True):
            if part in name(found):
                return found
        time.sleep(0.02)
    raise AssertionError(f"no child process was ever called {part}")


def name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_second_sweep_in_the_same_workspace_is_refused_and_harms_nothing(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]], here: Callable[..., str]
) -> None:
    first = start(sweep)
    seen = read_until(first, "started")
    first.send_signal(signal.SIGSTOP)  # or it may have ended before the second one asks
    assert "another sweep is running" in here(*sweep, code=2)
    first.send_signal(signal.SIGCONT)
    seen += rest(first)
    assert first.wait() == 0, seen
    assert_whole(tmp_path / "runs", wanted=4)


def test_a_neural_trial_stopped_by_ctrl_c_goes_on_from_its_state(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]]
) -> None:
    own = ["text", *sweep[1:], "--text-encoder", "tiny", "--set", "epochs=6", "--pruner", "none", "--trials", 1]
    process = start(own)
    read_until(process, "epoch 2/6")
    process.send_signal(signal.SIGINT)
    rest(process)
    assert process.wait() == 130
    assert list((tmp_path / "runs").glob("trials/*/trial-0/state-*.json"))
    run("experiments.sweep", *own)
    assert_whole(tmp_path / "runs", wanted=1)
    assert not list((tmp_path / "runs").glob("trials/*/trial-0"))


def test_bad_trials_end_alone_and_say_what_they_share(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    """Half of a space names an encoder whose weights do not fill its config, which only loading finds out."""
    train, test = toy_files(150, 40)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text('{"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2}')
    save_file({"other.weight": np.zeros((2, 2), np.float32)}, damaged / "model.safetensors")
    space = tmp_path / "space.yaml"
    space.write_text(f"values:\n  text_encoder: [tiny, {damaged}]\n  batch_size: [8, 16, 32]\n")
    text = run(
        "experiments.sweep", "text", "--train", train, "--test", test, "--workspace", tmp_path / "runs", "--members", 1,
        "--folds", 2, "--space", space, "--grid", "--set", "epochs=2", "--max-concurrent", 1, "--pruner", "none",
    )  # fmt: skip
    states = Counter(trial.state for trial in trials(tmp_path / "runs"))
    assert states == {TrialState.COMPLETE: 3, TrialState.FAIL: 3}, text
    assert f"3 in a row failed alike, all with text_encoder={damaged}" in text
    assert all(
        "damaged" in trial.user_attrs["error"] for trial in trials(tmp_path / "runs") if trial.state == TrialState.FAIL
    )


@pytest.mark.faults
def test_a_driver_killed_again_and_again_at_any_moment_loses_nothing(
    tmp_path: Path, sweep: list[object], start: Callable[..., subprocess.Popen[str]]
) -> None:
    moments = random.Random(0)
    for _ in range(6):
        process = start(sweep)
        time.sleep(moments.uniform(4.0, 12.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    run("experiments.sweep", *sweep)
    assert_whole(tmp_path / "runs", wanted=4)
