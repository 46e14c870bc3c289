"""States kept elsewhere: a training whose node is gone ends as it would have ended; a bad address is refused at once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from core.architectures import architecture
from core.cache import Cache
from core.errors import FailureCode
from core.protocols.architecture import Context
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobKind, JobOutcome, StopReason
from experiments.execution import checkpoint_mirror
from experiments.execution.checkpoint_mirror import CheckpointCleanup, CheckpointMirror, mirrored
from tests.errors import refused
from tests.experiments_tests.waiting import wait_for

SETTINGS = {"text_encoder": "tiny", "epochs": 3, "batch_size": 16, "learning_rate": 1e-3, "regressor_width": 16}


class NodeDied(BaseException):
    """Stands for SIGKILL: nothing of the training runs after it."""


def job(fold: int = 0) -> Job:
    return Job(JobKind.TRIAL, "text", "text-0123456789ab", SETTINGS, fold, 0, 1, "cpu", number=3)


@pytest.fixture(
    params=["{folder}/states", "file://{folder}/states", "memory://{name}"], ids=["folder", "file", "memory"]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param.format(folder=tmp_path, name=tmp_path.name))


def listing(url: str) -> list[str]:
    system, path = fsspec.core.url_to_fs(url)
    return sorted(str(name).rpartition("/")[2] for name in system.find(path)) if system.exists(path) else []


def train(workspace: Workspace, scratch: Path, report: Callable[[int, Mapping[str, float]], None]) -> Any:
    """A trial on fold 0 that writes a state before every step; prices of its rows."""
    kind = architecture("text")
    rows, held_out = workspace.folds.split(0)
    valid = workspace.train.take(held_out)
    cache = Cache(workspace.path("cache"))
    context = Context(0, cache, scratch, "cpu", 1, report=report, checkpoint_seconds=0.0)
    model = kind.train(workspace.train.take(rows), valid, kind.Config(**SETTINGS), context)
    return model.predict(valid.without_prices())


def test_a_training_goes_on_on_another_node_and_ends_as_it_would_have(
    toy_workspace: Workspace, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_mirror, "_POLL_SECONDS", 0.01)
    undisturbed = train(toy_workspace, tmp_path / "undisturbed", lambda epoch, metrics: None)

    def dies(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 2:
            wait_for(lambda: "whole.json" in listing(url) and "best.json" in listing(url))
            raise NodeDied

    first = tmp_path / "first-node"
    with pytest.raises(NodeDied), mirrored(url, job(), first):
        train(toy_workspace, first, dies)
    shutil.rmtree(first)

    second = tmp_path / "second-node"
    epochs: list[int] = []
    with mirrored(url, job(), second):
        there = sorted(path.name for path in second.iterdir())
        assert [name for name in there if name.startswith("state-") and name != "state-0.json"]
        assert "best.safetensors" in there and not [name for name in there if name.startswith(".")]
        prices = train(toy_workspace, second, lambda epoch, metrics: epochs.append(epoch))
    assert epochs == [1, 2, 3], "the earlier epochs are reported again, and trained no second time"
    np.testing.assert_array_equal(prices, undisturbed)
    assert sum(name == "whole.json" for name in listing(url)) == 1, "older states are removed"
    CheckpointMirror(url).remove(job())
    assert listing(url) == []


def test_half_a_copy_is_none_and_the_one_before_it_counts(tmp_path: Path, url: str) -> None:
    mirror = CheckpointMirror(url)
    files = [tmp_path / "state-5.json", tmp_path / "state-5.safetensors"]
    for file in files:
        file.write_bytes(file.name.encode())
    mirror.store(job(), 5, files)
    system, path = fsspec.core.url_to_fs(url)
    half = f"{path}/{job().name}/trial-0/state-9"
    system.makedirs(half)
    system.pipe_file(f"{half}/state-9.safetensors", b"half")
    assert mirror.fetch(job(), tmp_path / "node")
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == [file.name for file in files]
    assert not mirror.fetch(job(fold=1), tmp_path / "other") and not (tmp_path / "other").exists()


def test_files_with_other_names_are_not_brought_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "states" / job().name / "trial-0" / "state-7"
    place.mkdir(parents=True)
    (place / "whole.json").write_text('{"../../evil.json": 4}')
    with caplog.at_level(logging.WARNING):
        assert not CheckpointMirror(str(tmp_path / "states")).fetch(job(), tmp_path / "node")
    assert "no training writes" in caplog.text and not list(tmp_path.rglob("evil*"))


def test_a_copy_that_fails_is_a_warning_and_the_next_state_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint_mirror, "_POLL_SECONDS", 0.01)
    scratch, target = tmp_path / "scratch", tmp_path / "states"
    target.write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING), mirrored(str(target), job(), scratch):
        scratch.mkdir()
        (scratch / "state-1.json").write_text("{}")
        wait_for(lambda: "state 1 of text #3 was not copied" in caplog.text)
        target.unlink()
        (scratch / "state-2.json").write_text("{}")
        wait_for(lambda: "whole.json" in listing(str(target)))
    assert not list(scratch.glob(".*"))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nope://bucket/x", "storage-path-invalid"),
        ("s3://bucket/x", "storage-path-invalid"),
        ("{file}/below", "storage-path-unwritable"),
    ],
)
def test_a_storage_path_that_cannot_be_used_is_refused_with_a_hint(tmp_path: Path, url: str, code: str) -> None:
    (tmp_path / "file").write_text("x")
    with refused(code) as caught:
        CheckpointMirror(url.format(file=tmp_path / "file")).check()
    assert "--storage-path" in caught.value.what and caught.value.hint


def test_the_probe_leaves_nothing(url: str) -> None:
    CheckpointMirror(url).check()
    assert listing(url) == []


def test_states_are_removed_when_a_training_will_not_go_on_and_kept_when_it_will() -> None:
    removed: list[Job] = []
    cleanup = CheckpointCleanup([removed.append])
    cleanup.failed(job(0), "the sweep was interrupted", FailureCode.INTERRUPTED)
    assert removed == []
    cleanup.finished(job(1), JobOutcome({"smape": 1.0}, 1, 1.0))
    cleanup.failed(job(2), "a bug")
    cleanup.pruned(job(3), 2, 50.0, StopReason(2, 48.0, 45.5, 3, 4))
    assert removed == [job(1), job(2), job(3)]
    cleanup.settle()
    assert removed[3:] == [job(3)], "it may have been copying when it was stopped"
