"""The sweep as a user runs it, and what may happen to it: killed drivers and workers, Ctrl-C, a second driver, a bad trial.

After each the same command goes on: finished trials are kept and not repeated, none is left RUNNING, and the counts add up.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from optuna.trial import TrialState
from safetensors.numpy import load_file, save_file

from tests.commands import Running, Start, run, trials
from tests.core_tests.classical_toys import small_encoder

pytestmark = pytest.mark.e2e


@pytest.fixture
def sweep(toy_sweep: list[object]) -> list[object]:
    return ["experiments.sweep", "boosted", *toy_sweep]


def assert_whole(workspace: Path, wanted: int) -> None:
    """Asserts what must hold after the last run, whatever came before: no config was trained twice."""
    found = trials(workspace)
    states = Counter(trial.state for trial in found)
    assert TrialState.RUNNING not in states, states
    ended = [trial for trial in found if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len({trial.user_attrs["config"] for trial in ended}) == wanted, states
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    trained = [trial.user_attrs["config"] for trial in complete if "answered_from" not in trial.user_attrs]
    assert len(set(trained)) == len(trained)
    assert len(list((workspace / "members").glob("*/member.json"))) == 1


def test_a_killed_drivers_sweep_goes_on_and_repeats_nothing(tmp_path: Path, sweep: list[object], start: Start) -> None:
    first = start(*sweep)
    first.until("done  SMAPE")
    first.process.kill()  # it alone: its workers must end by themselves
    first.process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("trials/*/trial.json")}
    assert kept
    run(*sweep)
    assert_whole(tmp_path / "runs", wanted=4)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_a_killed_workers_trial_is_run_once_more(tmp_path: Path, sweep: list[object], start: Start) -> None:
    first = start(*sweep)
    first.until("boosted #1 started")
    child(first, "ray::ImplicitFunc").send_signal(signal.SIGKILL)
    assert "it is run once more" in first.end()
    assert_whole(tmp_path / "runs", wanted=4)


@pytest.mark.faults
def test_a_sweep_whose_node_is_killed_ends_and_goes_on(tmp_path: Path, sweep: list[object], start: Start) -> None:
    first = start(*sweep)
    first.until("boosted #1 started")
    child(first, "raylet/raylet").send_signal(signal.SIGKILL)
    # Workers that are at work outlive their node for a while: they may even finish.
    code = first.process.wait()
    assert code in (0, 2), first.output
    assert ("Ray's last node is gone" in first.output) == (code == 2)
    run(*sweep)
    assert_whole(tmp_path / "runs", wanted=4)


def child(running: Running, part: str) -> psutil.Process:
    """The child process of the sweep with this text in its command line, once there is one."""

    def found() -> psutil.Process | None:
        children = psutil.Process(running.process.pid).children(recursive=True)
        return next((each for each in children if part in command_line(each)), None)

    process: psutil.Process = running.until(found)
    return process


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_second_sweep_in_the_same_workspace_is_refused_and_harms_nothing(
    tmp_path: Path, sweep: list[object], start: Start, here: Callable[..., str]
) -> None:
    first = start(*sweep)
    first.until("started")
    first.send(signal.SIGSTOP)  # or it may have ended before the second one asks
    assert "another sweep is running" in here(*sweep[1:], code=2)
    first.send(signal.SIGCONT)
    first.end()
    assert_whole(tmp_path / "runs", wanted=4)


def test_a_neural_trial_stopped_by_ctrl_c_goes_on_from_its_state(
    tmp_path: Path, toy_sweep: list[object], start: Start
) -> None:
    own = ["experiments.sweep", "text", *toy_sweep, "--text-encoder", "tiny", "--set", "epochs=6", "--pruner", "none"]
    own += ["--trials", 1]
    first = start(*own)
    first.until("epoch 2/6")
    first.send(signal.SIGINT)
    first.end(code=130)
    assert list((tmp_path / "runs").glob("trials/*/trial-0/state-*.json"))
    run(*own)
    assert_whole(tmp_path / "runs", wanted=1)
    assert not list((tmp_path / "runs").glob("trials/*/trial-0"))


def test_bad_trials_end_alone_with_the_code_of_their_error(tmp_path: Path, toy_sweep: list[object]) -> None:
    """Half of a space names an encoder whose weights are no numbers, which only training finds out."""
    broken = small_encoder(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    save_file({name: np.full_like(values, np.nan) for name, values in weights.items()}, broken / "model.safetensors")
    space = tmp_path / "space.yaml"
    space.write_text(
        f"values:\n  text_encoder: [tiny, {broken}]\n  batch_size: [8, 16, 32]\n  learning_rate: [1.0e-3]\n"
    )
    text = run(
        "experiments.sweep", "text", *toy_sweep, "--space", space, "--grid", "--set", "epochs=2", "--trials", 6,
        "--max-concurrent", 1, "--pruner", "none",
    )  # fmt: skip
    found = trials(tmp_path / "runs")
    assert Counter(trial.state for trial in found) == {TrialState.COMPLETE: 3, TrialState.FAIL: 3}, text
    codes = {trial.user_attrs["error_code"] for trial in found if trial.state == TrialState.FAIL}
    assert codes == {"training-not-finite"}


@pytest.mark.faults
def test_a_driver_killed_again_and_again_at_any_moment_loses_nothing(
    tmp_path: Path, sweep: list[object], start: Start
) -> None:
    moments = random.Random(0)
    for _ in range(6):
        process = start(*sweep).process
        time.sleep(moments.uniform(4.0, 12.0))
        process.kill()
        process.wait()
    run(*sweep)
    assert_whole(tmp_path / "runs", wanted=4)
