"""Whole sweeps with named encoders, as typed, against a hub on this machine with a limit: how often it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.encoders.presets import PRESETS
from tests.core_tests.encoders.checkpoints import clip, neobert
from tests.core_tests.encoders.hub_server import Hub, serving
from tests.experiments_tests.clusters import ENVIRONMENT, little_cluster
from tests.paths import ROOT

pytestmark = pytest.mark.e2e
NAMED = ["multimodal", "--text-encoder", "neobert", "--vision-encoder", "clip"]
SMALL = ["--trials", "2", "--members", "1", "--folds", "2", "--sampler", "grid", "--set", "epochs=1"]
MEMORY = ["--memory", "64GiB"]
"""The published encoders would take 16 GB of this machine's; these are their little stand-ins."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Hub with the documented pair that answers ten questions, five for each."""
    with serving() as hub:
        hub.limit = 10
        hub.add(PRESETS["neobert"].hub, neobert(tmp_path / "neobert"))
        hub.add(PRESETS["clip"].hub, clip(tmp_path / "clip"))
        yield hub


@pytest.fixture
def sweep(hub: Hub, tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> Callable[..., str]:
    """Runs the command with an empty cache of its own at first; returns what it printed."""
    train, test = toy_files(60, 12)

    def run(workspace: str, *arguments: str, **environment: str) -> str:
        words = ["-m", "experiments.sweep", *NAMED, *SMALL, "--train", train, "--test", test, *arguments]
        done = subprocess.run(
            [sys.executable, *map(str, words), "--workspace", str(tmp_path / workspace)], cwd=ROOT, check=False,
            capture_output=True, text=True,
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def transfers(hub: Hub) -> list[str]:
    """Files that were sent, each as often as it was."""
    return sorted(path.rsplit("/", 1)[-1] for _, path, _ in hub.requests if "/resolve/" in path)


def test_a_sweep_asks_once_and_never_again(hub: Hub, sweep: Callable[..., str]) -> None:
    said = sweep("runs", *MEMORY)
    assert "fetched neobert" in said and "fetched clip" in said and "member multimodal-" in said
    files = [*hub.repositories[PRESETS["neobert"].hub].files, *hub.repositories[PRESETS["clip"].hub].files]
    unread = {"model.py", "tf_model.h5"}
    assert len(hub.api) <= 10
    assert transfers(hub) == sorted(name for name in files if name not in unread)
    asked = len(hub.requests)
    assert "member multimodal-" in sweep("again", "--offline", *MEMORY)
    assert len(hub.requests) == asked


def test_nodes_of_a_cluster_ask_nothing(hub: Hub, sweep: Callable[..., str], tmp_path: Path) -> None:
    with little_cluster(tmp_path / "cluster") as cluster:
        cluster.add("one")
        said = sweep("runs", "--address", cluster.address, **{**ENVIRONMENT, "HF_HUB_OFFLINE": "0"})
    assert "member multimodal-" in said
    assert len(hub.api) <= 10
    assert len(transfers(hub)) == len(set(transfers(hub))) + 1  # both encoders have a config.json
