from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import core.store.workspace
from core.cache import Cache
from core.store.workspace import Workspace, catalog_fingerprint, default_folder
from tests.errors import refused


def test_another_process_reads_what_was_created(toy_workspace: Workspace) -> None:
    again = Workspace(toy_workspace.folder)
    assert again.exists
    assert again.facts == toy_workspace.facts
    assert again.train.fingerprint == toy_workspace.train.fingerprint
    assert again.test.ids.tolist() == toy_workspace.test.ids.tolist()
    assert again.test.prices is None
    assert np.array_equal(again.train.product_groups, again.folds.groups)
    assert again.folds.hash == again.facts.folds
    assert catalog_fingerprint(again.train, again.test) == again.facts.catalog
    assert again.store.folder == toy_workspace.folder / "members"


def test_folder_without_the_marker_is_no_workspace(toy_workspace: Workspace) -> None:
    toy_workspace.path("workspace.json").unlink()
    again = Workspace(toy_workspace.folder)
    assert not again.exists
    with refused("workspace-missing") as caught:
        _ = again.facts
    assert "--workspace" in caught.value.hint


def test_interrupted_creation_leaves_no_workspace(toy_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "half" / "catalog" / "folds.parquet").mkdir(parents=True)  # a place where the folds cannot be written
    half = Workspace(tmp_path / "half")
    with pytest.raises(OSError, match="directory"):
        half.create(toy_workspace.train, toy_workspace.test, toy_workspace.folds, toy_workspace.facts)
    assert half.path("catalog", "train.parquet").exists()
    assert not half.exists


def test_workspace_of_another_format_is_refused(toy_workspace: Workspace) -> None:
    path = toy_workspace.path("workspace.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with refused("workspace-other-format"):
        _ = Workspace(toy_workspace.folder).facts


def test_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRICESTACK_WORKSPACE", raising=False)
    assert default_folder() == Path("runs")
    monkeypatch.setenv("PRICESTACK_WORKSPACE", "/data/prices")
    assert default_folder() == Path("/data/prices")


def test_writable_folder_is_made_and_left_clean(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new" / "runs")
    workspace.check_writable()
    assert list(workspace.folder.iterdir()) == []


def test_unwritable_folder_is_named_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with refused("workspace-unwritable") as caught:
        Workspace(tmp_path / "file" / "runs").check_writable()
    assert "--workspace" in caught.value.hint


def test_nearly_full_disk_is_named_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.store.workspace, "_NEEDED_BYTES", shutil.disk_usage(tmp_path).total * 2)
    with refused("workspace-disk-full"):
        Workspace(tmp_path).check_writable()


def test_second_writer_is_refused_until_the_first_is_done(toy_workspace: Workspace) -> None:
    second = Workspace(toy_workspace.folder).lock()
    with toy_workspace.lock(), refused("workspace-locked"), second:
        pytest.fail("two writers at once")
    with Workspace(toy_workspace.folder).lock():
        assert toy_workspace.exists


def test_the_cache_may_take_half_of_what_the_disk_has_without_it(toy_workspace: Workspace, tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    limit = toy_workspace.cache().limit
    assert limit == pytest.approx(free / 2, rel=0.2)  # other processes write to the disk as well
    assert toy_workspace.cache(10**9) == Cache(toy_workspace.folder / "cache", 10**9)
    assert Workspace(tmp_path / "not" / "yet").cache().entries() == []
    assert not (tmp_path / "not").exists()
