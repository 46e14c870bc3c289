"""The real command on a real cluster of Ray: nodes with folders of their own, with token authentication, that die and join."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from core.architectures import architecture
from core.atomic_files import locked
from core.store.workspace import Workspace
from tests.commands import LIMIT, Start, trials
from tests.experiments_tests.clusters import ENVIRONMENT, LittleCluster, little_cluster
from tests.experiments_tests.waiting import wait_for

pytestmark = pytest.mark.e2e
FOLDS = 2
LONG = ["text", "--text-encoder", "tiny", "--set", "epochs=60", "--set", "patience=60", "--pruner", "none"]
"""Trainings of many seconds: there is always one that runs when something happens to a node."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LittleCluster]:
    with little_cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def sweep(tmp_path: Path, cluster: LittleCluster, start: Start, toy_files: Callable[..., tuple[Path, Path]]) -> Start:
    """Starts the command on the cluster with these further arguments."""
    train, test = toy_files(150, 40)
    shared = ["--train", train, "--test", test, "--workspace", tmp_path / "runs", "--address", cluster.address]
    return partial(start, "experiments.sweep", *shared, "--members", 1, "--folds", FOLDS, **ENVIRONMENT)


def trains_on(folder: Path) -> bool:
    """True while a network is being trained on that node: a state is written before the first step."""
    return bool(list(folder.glob("*/trials/*/*/state-*.json")))


def assert_whole(folder: Path, members: int, complete: int, others: Collection[TrialState] = ()) -> None:
    """So many trials are complete, and others are in these states alone. Every member has its folds, and their models, read on
    the driver, give the prices that were delivered with them.
    """
    states = Counter(trial.state for trial in trials(folder))
    assert states.pop(TrialState.COMPLETE) == complete and states.keys() <= set(others), states
    workspace = Workspace(folder)
    assert len(workspace.store.complete()) == members
    for name in workspace.store.complete():
        kind = architecture(name.partition("-")[0])
        assert not np.isnan(workspace.store.read(name).oof).any()
        for fold in range(FOLDS):
            model = kind.load(workspace.store.fold_folder(name, fold))
            rows = workspace.folds.split(fold)[1]
            prices = model.predict(workspace.train.take(rows).without_prices())
            np.testing.assert_allclose(prices, workspace.store.read_fit(name, fold).valid, rtol=1e-4)
    assert not list((folder / "ray" / "arrivals").glob("*")), "nothing is left half way"


def test_a_cluster_without_room_says_so_and_on_two_nodes_with_folders_of_their_own_a_sweep_runs(
    tmp_path: Path, cluster: LittleCluster, sweep: Start
) -> None:
    assert "the cluster holds no job of 1 x 1 cores" in sweep("lexical").end(code=2)

    nodes = [cluster.add("one"), cluster.add("two")]
    text = sweep("lexical", "boosted", "--trials", 2).end()
    assert "2 at once, 1 cores and 0 GPUs each" in text, "the cluster's resources count, not the driver's"
    assert_whole(tmp_path / "runs", members=2, complete=4)
    used = [node for node in nodes if node.exists()]
    assert used and not list((tmp_path / "runs" / "cache").glob("*/*")), "caches are the nodes'"
    for node in used:
        assert list(node.glob("*/workspace.json")) and list(node.glob("*/cache/*/*"))
        assert not list(node.glob("*/trials/*/*")) and not list(node.glob("*/workers/*/members/*/*/*"))


@pytest.mark.faults
def test_a_node_without_a_gpu_gets_no_job_that_asks_for_one(
    tmp_path: Path, cluster: LittleCluster, sweep: Start
) -> None:
    with_gpu = [cluster.add("one", gpus=1), cluster.add("two", gpus=1)]
    without = cluster.add("three")
    text = sweep("text", "--text-encoder", "tiny", "--trials", 2).end(code=2)
    assert "2 at once, 1 cores and 1 GPUs each" in text
    # The nodes only claim to have a GPU: that the network was sent there is seen by how it fails.
    assert "NVIDIA" in text or "CUDA" in text
    assert any(list(node.glob("*/workspace.json")) for node in with_gpu) and not without.exists()


@pytest.mark.faults
def test_classical_jobs_ask_for_no_gpu(tmp_path: Path, cluster: LittleCluster, sweep: Start) -> None:
    cluster.add("one", gpus=1)
    cluster.add("two")
    text = sweep("lexical", "boosted", "--trials", 2, "--max-concurrent", 2).end()
    assert "2 at once, 1 cores and 1 GPUs each (lexical and boosted: no GPU)" in text
    assert_whole(tmp_path / "runs", members=2, complete=4)
    assert list((cluster.folder / "two").glob("*/workspace.json")), "one job ran where there is no GPU"


@pytest.mark.faults
def test_a_wrong_token_is_refused_in_words(sweep: Start) -> None:
    text = sweep("lexical", RAY_AUTH_TOKEN="5d" * 16).end(code=2)
    assert "auth_token" in text and "Traceback" not in text
    assert ENVIRONMENT["RAY_AUTH_TOKEN"] not in text and "5d" * 16 not in text


@pytest.mark.faults
@pytest.mark.parametrize("silently", [False, True], ids=["killed", "silent"])
def test_a_node_that_dies_costs_no_trial_and_no_member(
    tmp_path: Path, cluster: LittleCluster, sweep: Start, silently: bool
) -> None:
    one, two = cluster.add("one"), cluster.add("two")
    process = sweep(*LONG, "--trials", 3)
    process.until(lambda: trains_on(one) and trains_on(two))
    cluster.freeze("one") if silently else cluster.kill("one")
    text = process.end()
    assert "its worker process died" in text and "run once more" in text
    assert_whole(tmp_path / "runs", members=1, complete=3)


@pytest.mark.faults
def test_a_node_that_joins_late_gets_work(tmp_path: Path, cluster: LittleCluster, sweep: Start) -> None:
    one = cluster.add("one")
    # Longer than a worker takes to start: a free one elsewhere would take the job before.
    arguments = [*LONG, "--set", "epochs=500", "--set", "patience=500", "--trials", 4]
    process = sweep(*arguments)
    process.until(lambda: trains_on(one))
    assert "1 at once" in process.output
    two = cluster.add("two")
    process.until(lambda: trains_on(two))
    process.end()
    assert_whole(tmp_path / "runs", members=1, complete=4)

    assert "started" not in sweep(*arguments).end()


@pytest.mark.faults
def test_the_last_node_dies_and_the_sweep_waits_for_another(
    tmp_path: Path, cluster: LittleCluster, sweep: Start
) -> None:
    one = cluster.add("one")
    process = sweep(*LONG, "--trials", 2)
    process.until(lambda: trains_on(one))
    cluster.kill("one")
    process.until("waiting for one to join")
    cluster.add("two")
    process.end()
    assert_whole(tmp_path / "runs", members=1, complete=2)


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_when_the_driver_goes_its_workers_go_and_the_same_command_goes_on(
    tmp_path: Path, cluster: LittleCluster, sweep: Start, how: signal.Signals
) -> None:
    one = cluster.add("one")
    arguments = [*LONG, "--trials", 2]
    process = sweep(*arguments)
    process.until(lambda: trains_on(one))
    assert workers_live(one)
    process.send(how)
    process.end(code=130 if how == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not workers_live(one), LIMIT)
    sweep(*arguments).end()
    assert_whole(tmp_path / "runs", members=1, complete=2, others=[TrialState.FAIL])


def workers_live(node: Path) -> bool:
    """True while a process holds its worker folder there: the kernel lets go of the lock when it dies."""
    for path in node.glob("*/workers/.*.lock"):
        with locked(path, wait=False) as free:
            if not free:
                return True
    return False


@pytest.mark.faults
def test_a_training_lost_with_its_node_goes_on_on_another_from_its_last_copied_state(
    tmp_path: Path, cluster: LittleCluster, sweep: Start
) -> None:
    one, copies = cluster.add("one"), tmp_path / "states"
    endless = ["text", "--text-encoder", "tiny", "--set", "epochs=9999", "--set", "patience=9999", "--trials", 1]
    process = sweep(*endless, "--storage-path", copies)
    process.until(lambda: trains_on(one))
    process.until(lambda: list(copies.glob("*/trial-0/*/whole.json")))  # a state is written once a minute
    cluster.kill("one")
    (whole,) = copies.glob("*/trial-0/*/whole.json")
    two = cluster.add("two")
    process.until(lambda: list(two.glob(f"*/trials/*/trial-0/{whole.parent.name}.safetensors")))
    process.send(signal.SIGINT)
    assert "run once more, from its last state" in process.end(code=130)
    assert list(copies.glob("*/trial-0/*/whole.json")), "the same command goes on from there"
