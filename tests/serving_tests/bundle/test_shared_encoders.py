"""Frozen encoders in a bundle: stored once, each row read once, and nothing needed from outside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.classical import frozen_encoder
from core.store.workspace import Workspace
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from serving.bundle.builder import export
from serving.bundle.bundle import Bundle
from serving.bundle.predictor import Predictor
from serving.bundle.shared_encoders import SharedEncoder
from tests.core_tests.classical_toys import small_encoder
from tests.serving_tests.bundle.test_onnx_export import assert_graph_prices
from tests.serving_tests.conftest import swept

SMALL: dict[str, Any] = {
    "freeze_text": True, "learning_rate": 2e-3, "batch_size": 16, "epochs": 1, "regressor_width": 16, "max_length": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("encoder") / "small")


@pytest.fixture(scope="module")
def workspace(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two networks and two trees that read one frozen encoder, and images that another one reads."""
    small = {**SMALL, "text_encoder": str(encoder)}
    vision = {"vision_encoder": "tiny-vision", "freeze_vision": True, "cached_views": 0}
    trees = {"max_rounds": 20, "bags": 1, "frozen_encoder": str(encoder), "embedding_components": 4}
    settings = {"text": small, "multimodal": small | vision, "boosted": trees}
    found = swept(tmp_path_factory.mktemp("frozen"), settings, image_count=5)
    stack_workspace(found, StackConfig(methods=("mean",)))
    return found


@pytest.fixture(scope="module")
def bundle(workspace: Workspace) -> Bundle:
    return export(workspace, workspace.path("bundles"), "shop", "onnx", no_progress)[0]


def test_each_encoder_is_stored_once(bundle: Bundle) -> None:
    stored = sorted(path.name.partition("-")[0] for path in bundle.path("encoders").glob("*.onnx"))
    assert stored == ["text", "vision"]
    (copied,) = [path for path in bundle.path("encoders").iterdir() if path.is_dir()]
    assert {path.name for path in copied.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert {member.architecture: member.light for member in bundle.facts.members} == {
        "text": False, "multimodal": False, "boosted": False,
    }  # fmt: skip


def test_the_bundle_needs_nothing_but_itself(
    bundle: Bundle, workspace: Workspace, encoder: Path, tmp_path: Path
) -> None:
    submitted = stack_workspace(workspace, StackConfig(methods=("mean",))).test
    frozen_encoder._memory.cache_clear()
    elsewhere = shutil.copytree(bundle.folder, tmp_path / bundle.folder.name)
    hidden = encoder.rename(encoder.parent / "hidden")
    try:
        answer = Predictor(elsewhere).predict(workspace.test)
    finally:
        hidden.rename(encoder)
    assert answer.counts == {"stack": len(workspace.test)}
    np.testing.assert_allclose(answer.prices, submitted, rtol=1e-3)


@pytest.mark.parametrize("name", ["text", "multimodal"])
def test_a_shared_encoder_leaves_the_prices_of_the_network(workspace: Workspace, name: str, tmp_path: Path) -> None:
    assert_graph_prices(workspace, name, tmp_path, rtol=2e-3)


def test_a_row_is_read_once_by_all_fold_models(
    bundle: Bundle, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, int] = {"text": 0, "vision": 0}
    whole = SharedEncoder._computed

    def counted(self: SharedEncoder, read_now: dict[str, Any]) -> Any:
        read[self._part] += len(next(iter(read_now.values())))
        return whole(self, read_now)

    monkeypatch.setattr(SharedEncoder, "_computed", counted)
    predictor, rows = Predictor(bundle.folder), workspace.test.take(np.arange(12))
    predictor.predict(rows)
    assert read == {"text": 12, "vision": 6}  # five images, and none
    predictor.predict(rows)
    assert read == {"text": 12, "vision": 6}


def test_half_precision_reaches_the_shared_encoders(workspace: Workspace, bundle: Bundle, tmp_path: Path) -> None:
    half, _ = export(workspace, tmp_path, "half", "onnx-fp16", no_progress)
    sizes = [sum(path.stat().st_size for path in each.folder.rglob("encoders/*.onnx")) for each in (bundle, half)]
    assert sizes[1] < 0.8 * sizes[0]
    assert all(member.difference < 0.02 for member in half.facts.members)
