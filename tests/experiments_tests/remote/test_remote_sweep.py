"""The real command on a real cluster of Ray: nodes with folders of their own, with token authentication, that die and join."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from core.architectures import architecture
from core.atomic_files import locked
from core.store.workspace import Workspace
from experiments.planning.setup import FOLDS
from tests.experiments_tests import waiting
from tests.experiments_tests.clusters import ENVIRONMENT, LittleCluster, little_cluster
from tests.paths import ROOT

pytestmark = pytest.mark.e2e
LIMIT = 300.0
"""Seconds until something that must come has come, on a machine that does other things too."""

LONG = ["text", "--text-encoder", "tiny", "--set", "epochs=60", "--set", "patience=60", "--pruner", "none"]
"""Trainings of many seconds: there is always one that runs when something happens to a node."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LittleCluster]:
    with little_cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def sweep(tmp_path: Path, cluster: LittleCluster, toy_files: Callable[..., tuple[Path, Path]]) -> Iterator[Any]:
    """Starts the command on the cluster with these further arguments; whatever is left of it is killed at the end."""
    train, test = toy_files(150, 40)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        words = ["-m", "experiments.sweep", *arguments, "--train", train, "--test", test, "--folds", FOLDS]
        words += ["--workspace", tmp_path / "runs", "--address", cluster.address]
        output = (tmp_path / f"output-{len(started)}.txt").open("w")
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **ENVIRONMENT, **environment},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


def output(tmp_path: Path, number: int = 0) -> str:
    return (tmp_path / f"output-{number}.txt").read_text()


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    return waiting.wait_for(what, LIMIT, process)


def trains_on(folder: Path) -> bool:
    """Whether a network is being trained on that node: a state is written before the first step."""
    return bool(list(folder.glob("*/trials/*/*/state-*.json")))


def states_of(workspace: Path) -> dict[str, int]:
    storage = f"sqlite:///{workspace}/optuna.db"
    trials = [trial for name in optuna.get_all_study_names(storage) for trial in optuna.load_study(study_name=name, storage=storage).trials]  # noqa: E501  # fmt: skip
    states = [trial.state for trial in trials if trial.state != TrialState.WAITING]
    return {state.name: states.count(state) for state in set(states)}


def assert_whole(folder: Path, members: int, folds: int = FOLDS) -> None:
    """Every member has its folds, and their models, read on the driver, give the prices that were delivered with them."""
    workspace = Workspace(folder)
    complete = workspace.store.complete()
    assert len(complete) == members
    for name in complete:
        kind = architecture(name.partition("-")[0])
        assert not np.isnan(workspace.store.read(name).oof).any()
        for fold in range(folds):
            model = kind.load(workspace.store.fold_folder(name, fold))
            rows = workspace.folds.split(fold)[1]
            prices = model.predict(workspace.train.take(rows).without_prices())
            np.testing.assert_allclose(prices, workspace.store.read_fit(name, fold).valid, rtol=1e-4)
    assert not list((folder / "ray" / "arrivals").glob("*")), "nothing is left half way"


def test_a_cluster_without_room_says_so_and_on_two_nodes_with_folders_of_their_own_a_sweep_runs(
    tmp_path: Path, cluster: LittleCluster, sweep: Any
) -> None:
    too_early = sweep("lexical")
    assert too_early.wait(LIMIT) == 2, output(tmp_path)
    assert "the cluster holds no job of 1 x 1 cores" in output(tmp_path)

    nodes = [cluster.add("one"), cluster.add("two")]
    process = sweep("lexical", "boosted", "--trials", 2, "--members", 1, "--folds", 2)
    assert process.wait(LIMIT) == 0, output(tmp_path, 1)
    assert "2 at once, 1 cores and 0 GPUs each" in output(tmp_path, 1), (
        "the cluster's resources count, not the driver's"
    )
    assert states_of(tmp_path / "runs") == {"COMPLETE": 4}
    assert_whole(tmp_path / "runs", members=2, folds=2)
    used = [node for node in nodes if node.exists()]
    assert used and not list((tmp_path / "runs" / "cache").glob("*/*")), "caches are the nodes'"
    for node in used:
        assert list(node.glob("*/workspace.json")) and list(node.glob("*/cache/*/*"))
        assert not list(node.glob("*/trials/*/*")) and not list(node.glob("*/workers/*/members/*/*/*"))


@pytest.mark.faults
def test_a_wrong_token_is_told_in_words(tmp_path: Path, cluster: LittleCluster, sweep: Any) -> None:
    process = sweep("lexical", RAY_AUTH_TOKEN="5d" * 16)
    assert process.wait(LIMIT) == 2, output(tmp_path)
    text = output(tmp_path)
    assert "auth_token" in text and "Traceback" not in text
    assert ENVIRONMENT["RAY_AUTH_TOKEN"] not in text and "5d" * 16 not in text


@pytest.mark.faults
@pytest.mark.parametrize("silently", [False, True], ids=["killed", "silent"])
def test_a_node_that_dies_costs_no_trial_and_no_member(
    tmp_path: Path, cluster: LittleCluster, sweep: Any, silently: bool
) -> None:
    one, two = cluster.add("one"), cluster.add("two")
    process = sweep(*LONG, "--trials", 3, "--members", 1, "--folds", 2)
    wait_for(lambda: trains_on(one) and trains_on(two), process)
    cluster.freeze("one") if silently else cluster.kill("one")
    assert process.wait(LIMIT) == 0, output(tmp_path)
    text = output(tmp_path)
    assert "its worker process died" in text and "run once more" in text
    assert states_of(tmp_path / "runs") == {"COMPLETE": 3}
    assert_whole(tmp_path / "runs", members=1, folds=2)


@pytest.mark.faults
def test_a_node_that_joins_late_gets_work(tmp_path: Path, cluster: LittleCluster, sweep: Any) -> None:
    one = cluster.add("one")
    # Longer than a worker takes to start: a free one elsewhere would take the job before.
    arguments = [*LONG, "--set", "epochs=500", "--set", "patience=500", "--trials", 4, "--members", 1, "--folds", 2]
    process = sweep(*arguments)
    wait_for(lambda: trains_on(one), process)
    assert "1 at once" in output(tmp_path)
    two = cluster.add("two")
    wait_for(lambda: trains_on(two), process)
    assert process.wait(LIMIT) == 0, output(tmp_path)
    assert states_of(tmp_path / "runs") == {"COMPLETE": 4}
    assert_whole(tmp_path / "runs", members=1, folds=2)

    again = sweep(*arguments)
    assert again.wait(LIMIT) == 0, output(tmp_path, 1)
    assert "started" not in output(tmp_path, 1)


@pytest.mark.faults
def test_the_last_node_dies_and_the_sweep_waits_for_another(tmp_path: Path, cluster: LittleCluster, sweep: Any) -> None:
    one = cluster.add("one")
    process = sweep(*LONG, "--trials", 2, "--members", 1, "--folds", 2)
    wait_for(lambda: trains_on(one), process)
    cluster.kill("one")
    wait_for(lambda: "waiting for one to join" in output(tmp_path), process)
    cluster.add("two")
    assert process.wait(LIMIT) == 0, output(tmp_path)
    assert states_of(tmp_path / "runs") == {"COMPLETE": 2}
    assert_whole(tmp_path / "runs", members=1, folds=2)


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_when_the_driver_goes_its_workers_go_and_the_same_command_goes_on(
    tmp_path: Path, cluster: LittleCluster, sweep: Any, how: signal.Signals
) -> None:
    one = cluster.add("one")
    arguments = [*LONG, "--trials", 2, "--members", 1, "--folds", 2]
    process = sweep(*arguments)
    wait_for(lambda: trains_on(one), process)
    assert workers_live(one)
    process.send_signal(how)
    assert process.wait(LIMIT) == (130 if how == signal.SIGINT else -signal.SIGKILL), output(tmp_path)
    wait_for(lambda: not workers_live(one))
    again = sweep(*arguments)
    assert again.wait(LIMIT) == 0, output(tmp_path, 1)
    states = states_of(tmp_path / "runs")
    assert states.pop("COMPLETE") == 2 and set(states) <= {"FAIL"}, "what ran is named, and nothing is RUNNING"
    assert_whole(tmp_path / "runs", members=1, folds=2)


def workers_live(node: Path) -> bool:
    """Whether a process still holds its worker folder there: the kernel lets go of the lock when it dies."""
    for path in node.glob("*/workers/.*.lock"):
        with locked(path, wait=False) as free:
            if not free:
                return True
    return False


@pytest.mark.faults
def test_a_training_lost_with_its_node_goes_on_on_another_from_its_last_copied_state(
    tmp_path: Path, cluster: LittleCluster, sweep: Any
) -> None:
    one, copies = cluster.add("one"), tmp_path / "states"
    endless = ["text", "--text-encoder", "tiny", "--set", "epochs=9999", "--set", "patience=9999", "--trials", 1]
    process = sweep(*endless, "--storage-path", copies)
    wait_for(lambda: trains_on(one), process)
    wait_for(lambda: list(copies.glob("*/trial-0/*/whole.json")), process)  # a state is written once a minute
    cluster.kill("one")
    (whole,) = copies.glob("*/trial-0/*/whole.json")
    two = cluster.add("two")
    wait_for(lambda: list(two.glob(f"*/trials/*/trial-0/{whole.parent.name}.safetensors")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130, output(tmp_path)
    assert "run once more, from its last state" in output(tmp_path)
    assert list(copies.glob("*/trial-0/*/whole.json")), "the same command goes on from there"
