"""Networks as ONNX graphs: any number of rows and tokens, and prices as from PyTorch."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.architectures import architecture
from core.cache import Cache
from core.encoders.loading import load_encoder
from core.protocols.architecture import Context, make_config
from core.store.workspace import Workspace
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from pricestack.testing.architectures import small_settings, toy_catalog
from serving.bundle import parity_check
from serving.bundle.builder import export
from serving.bundle.bundle import Bundle
from serving.bundle.export_formats import export_format
from serving.bundle.onnx_export import GRAPH
from serving.bundle.onnx_graphs import CPU, check_tensorrt, open_graph, run_graph, write_graph
from serving.bundle.predictor import Predictor
from tests.core_tests.encoders.test_encoder_families import VISION, saved
from tests.errors import refused
from tests.serving_tests.conftest import SETTINGS, member_of, swept

SMALL = {"text_encoder": "tiny", "learning_rate": 2e-3, "batch_size": 16, "epochs": 1, "regressor_width": 16}
KINDS: dict[str, dict[str, Any]] = {
    "text": SMALL | {"head": "both", "fields": "both", "pooling": "attention"},
    "multimodal": SMALL | {"vision_encoder": "tiny-vision", "fields": "none", "categories": 0},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Members of both networks and a light one."""
    found = swept(tmp_path_factory.mktemp("networks"), {**KINDS, "lexical": SETTINGS["lexical"]})
    stack_workspace(found, StackConfig(methods=("mean",)))
    return found


@pytest.fixture(scope="module")
def whole(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of them as graphs in full precision."""
    return export(workspace, tmp_path_factory.mktemp("whole"), "whole", "onnx", no_progress)[0]


def assert_graph_prices(workspace: Workspace, name: str, folder: Path, rtol: float) -> None:
    """A member's graph gives the prices of its network, and its quantiles where it has some, for any number of rows."""
    source, kind = workspace.store.fold_folder(member_of(workspace, name), 0), architecture(name)
    export_format("onnx").write(kind, source, folder / "model", folder / "encoders")
    assert not list(folder.rglob("*.safetensors"))
    original, graph = kind.load(source), export_format("onnx").read(kind, folder / "model", folder / "encoders")
    for rows in (workspace.test, workspace.test.take(np.array([3])), workspace.test.take(np.arange(7))):
        np.testing.assert_allclose(graph.predict(rows), original.predict(rows), rtol=rtol)
        expected = original.predict_quantiles(rows)
        if expected is not None:
            np.testing.assert_allclose(graph.predict_quantiles(rows), expected, rtol=rtol)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_graph_gives_the_prices_of_the_network(workspace: Workspace, name: str, tmp_path: Path) -> None:
    assert_graph_prices(workspace, name, tmp_path, rtol=1e-3)


@pytest.mark.parametrize(
    ("heads", "depth", "direction"), list(product((2, 4), (1, 2), ("text_asks_picture", "both", "gated")))
)
def test_a_graph_attends_as_the_network(heads: int, depth: int, direction: str, tmp_path: Path) -> None:
    kind, settings = architecture("multimodal"), {**small_settings("multimodal"), "epochs": 1, "fields": "none"}
    options = {"attention_heads": heads, "attention_depth": depth, "attention_direction": direction}
    catalog = toy_catalog(tmp_path / "images", 20)
    context = Context(0, Cache(tmp_path / "cache"), tmp_path / "run")
    kind.train(catalog, None, make_config(kind.Config, {**settings, **options}), context).save(tmp_path / "saved")
    export_format("onnx").write(kind, tmp_path / "saved", tmp_path / "model", tmp_path / "encoders")
    graph = export_format("onnx").read(kind, tmp_path / "model", tmp_path / "encoders")
    original = kind.load(tmp_path / "saved")
    for rows in (catalog, catalog.take(np.array([3]))):
        np.testing.assert_allclose(graph.predict(rows), original.predict(rows), rtol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("direction", ["text_asks_picture", "both"])
def test_a_graph_reads_several_pictures_as_the_network(frozen: bool, direction: str, tmp_path: Path) -> None:
    kind, catalog = architecture("multimodal"), toy_catalog(tmp_path / "images", 24)
    links = catalog.links.copy()
    links[:12] = [f"{row}.png|{row + 12}.png|0.png" for row in range(12)]  # a file is there for every third
    catalog = replace(catalog, links=links)
    settings = {**small_settings("multimodal"), "epochs": 1, "fields": "none", "images_per_product": 3}
    settings |= {"freeze_vision": frozen, "attention_direction": direction}
    context = Context(0, Cache(tmp_path / "cache"), tmp_path / "run")
    kind.train(catalog, None, make_config(kind.Config, settings), context).save(tmp_path / "saved")
    export_format("onnx").write(kind, tmp_path / "saved", tmp_path / "model", tmp_path / "encoders")
    graph = export_format("onnx").read(kind, tmp_path / "model", tmp_path / "encoders")
    original = kind.load(tmp_path / "saved")
    assert len(list((tmp_path / "encoders").glob("vision-*.onnx"))) == frozen
    for rows in (catalog, catalog.take(np.array([3])), catalog.take(np.arange(12, 24))):
        np.testing.assert_allclose(graph.predict(rows), original.predict(rows), rtol=2e-3)


@pytest.mark.parametrize("family", ["clip tower", "dinov2", "dinov3", "siglip tower", "vit"])
def test_a_graph_of_each_vision_encoder_takes_any_number_of_rows(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = load_encoder(str(saved(VISION[family][0]().eval(), tmp_path / "encoder")))[0].eval()
    write_graph(encoder, {"pixels": torch.randn(3, 3, 32, 32)}, tmp_path / "graph.onnx", 64)
    session = open_graph(tmp_path / "graph.onnx", (CPU,))
    for rows in (1, 4, 250):  # few and many tokens, as a layer of dropout chose its way by their number
        pixels = torch.randn(rows, 3, 32, 32)
        with torch.inference_mode():
            expected = encoder(pixels).numpy()
        np.testing.assert_allclose(run_graph(session, {"pixels": pixels.numpy()}), expected, atol=1e-5)


def test_a_network_around_dinov2_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dino = saved(VISION["dinov2"][0](), tmp_path / "dinov2")
    kind, catalog = architecture("multimodal"), toy_catalog(tmp_path / "images", 24)
    context = Context(0, Cache(tmp_path / "cache"), tmp_path / "run")
    for frozen in (True, False):
        settings = {**small_settings("multimodal"), "epochs": 1, "vision_encoder": str(dino), "freeze_vision": frozen}
        kind.train(catalog, None, make_config(kind.Config, settings), context).save(tmp_path / f"saved-{frozen}")
        places = tmp_path / f"model-{frozen}", tmp_path / "encoders"
        export_format("onnx").write(kind, tmp_path / f"saved-{frozen}", *places)
        original, graph = kind.load(tmp_path / f"saved-{frozen}"), export_format("onnx").read(kind, *places)
        np.testing.assert_allclose(graph.predict(catalog), original.predict(catalog), rtol=2e-3)


def test_a_graph_holds_no_paths(workspace: Workspace, tmp_path: Path) -> None:
    source = workspace.store.fold_folder(member_of(workspace, "text"), 0)
    for name in ("one", "two"):
        export_format("onnx").write(architecture("text"), source, tmp_path / name, tmp_path / "encoders")
    one, two = ((tmp_path / name / GRAPH).read_bytes() for name in ("one", "two"))
    assert one == two and b".py" not in one and str(Path.cwd()).encode() not in one


def test_a_bundle_of_graphs_gives_the_submission(workspace: Workspace, whole: Bundle) -> None:
    submitted = pd.read_csv(workspace.path("submission.csv"))["price"]
    answer = Predictor(whole.folder).predict(workspace.test)
    np.testing.assert_allclose(answer.prices, submitted, rtol=1e-3)
    assert {member.form for member in whole.facts.members} == {"onnx", "saved"}


@pytest.mark.parametrize(("name", "share"), [("onnx-fp16", 0.7), ("onnx-int8", 0.7)])
def test_smaller_graphs_are_smaller_and_evaluated(
    workspace: Workspace, whole: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, share: float
) -> None:
    small, _ = export(workspace, tmp_path, "small", name, no_progress)
    sizes = [sum(path.stat().st_size for path in each.folder.rglob(GRAPH)) for each in (whole, small)]
    assert sizes[1] < share * sizes[0]
    assert "pre-processing" not in caplog.text  # ONNX Runtime's advice, which nobody here can take
    networks = [member for member in small.facts.members if not member.light]
    assert all(member.difference < 0.5 for member in networks)
    if name == "onnx-int8":
        assert all(member.worsened is not None and member.worsened < parity_check.WORSENED for member in networks)
    else:
        assert all(member.worsened is None and member.difference < 0.02 for member in networks)


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Members of one network, trained in half precision, and of a light one."""
    settings = KINDS["text"] | {"precision": "bf16"}
    found = swept(tmp_path_factory.mktemp("half"), {"text": settings, "lexical": SETTINGS["lexical"]})
    stack_workspace(found, StackConfig(methods=("mean",)))
    return found


def test_8_bits_that_err_too_far_are_no_bundle(
    half_trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_check, "WORSENED", -100.0)
    with refused("export-member-worse"):
        export(half_trained, tmp_path, "shop", "onnx-int8", no_progress)
    assert not list(tmp_path.glob("shop-*"))


def test_tensorrt_is_refused_where_it_is_not() -> None:
    import onnxruntime

    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("TensorRT is installed here")
    with refused("tensorrt-missing"):
        check_tensorrt()


def test_a_network_trained_in_half_precision_is_compared_in_full(
    half_trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = export(half_trained, tmp_path / "bundles", "shop", "onnx", no_progress)
    (member,) = [each for each in bundle.facts.members if each.architecture == "text"]
    assert member.difference <= 0.005 and bundle.facts.largest_difference <= 0.005
    assert "was trained in half precision" in capsys.readouterr().err
