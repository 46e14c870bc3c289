"""Device of a bundle's networks: what is chosen, how ONNX Runtime is asked for it, and what is refused. No GPU is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from core import hardware
from core.architectures import architecture
from core.store.workspace import Workspace
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from serving.bundle.builder import export
from serving.bundle.bundle import Bundle, MemberFacts
from serving.bundle.device_choice import DeviceChoice, choose_device
from serving.bundle.export_formats import export_format
from serving.bundle.onnx_graphs import CPU, CUDA
from serving.bundle.predictor import Predictor
from tests.core_tests.classical_toys import small_encoder
from tests.errors import refused
from tests.serving_tests.bundle.test_shared_encoders import SMALL
from tests.serving_tests.conftest import SETTINGS, member_of, swept


def member(name: str, form: str) -> MemberFacts:
    return MemberFacts("one", name, form, False, False, (0,), 1.0, 30.0)


TEXT, LIGHT = member("text", "onnx"), member("lexical", "saved")
REAL_SESSION = onnxruntime.InferenceSession


@dataclass
class SimulatedGpu:
    """ONNX Runtime as on a machine with a GPU, but the processor computes. rows: that the memory holds in one run."""

    rows: float = np.inf
    asked: list[list[Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def session(self, path: str, options: Any, *, providers: list[Any]) -> Any:
        self.asked.append(providers)
        return SimulatedSession(self, REAL_SESSION(path, options, providers=[CPU]))


@dataclass
class SimulatedSession:
    gpu: SimulatedGpu
    real: Any

    def get_inputs(self) -> Any:
        return self.real.get_inputs()

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def run(self, names: None, inputs: dict[str, Any]) -> Any:
        rows = len(next(iter(inputs.values())))
        self.gpu.sizes.append(rows)
        if rows > self.gpu.rows:
            raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 7")
        return self.real.run(names, inputs)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimulatedGpu:
    simulated = SimulatedGpu()
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", simulated.session)
    return simulated


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A network around a frozen encoder, and a classical model."""
    encoder = small_encoder(tmp_path_factory.mktemp("encoder") / "small")
    network = {**SMALL, "text_encoder": str(encoder), "head": "both"}
    found = swept(tmp_path_factory.mktemp("device"), {"text": network, "lexical": SETTINGS["lexical"]})
    stack_workspace(found, StackConfig(methods=("mean",)))
    return found


@pytest.fixture(scope="module")
def bundle(workspace: Workspace) -> Bundle:
    return export(workspace, workspace.path("bundles"), "shop", "onnx", no_progress)[0]


@pytest.mark.parametrize(
    ("asked", "gpus", "providers", "members", "chosen"),
    [
        ("auto", 1, [CUDA, CPU], [TEXT, LIGHT], "cuda"),
        ("cuda", 1, [CUDA, CPU], [TEXT], "cuda"),
        ("cpu", 1, [CUDA, CPU], [TEXT], "cpu"),
        ("auto", 0, [CUDA, CPU], [TEXT], "cpu"),
        ("auto", 1, [CPU], [TEXT], "cpu"),
        ("auto", 1, [CUDA, CPU], [LIGHT], "cpu"),
        ("cuda", 1, [CUDA, CPU], [LIGHT], "cpu"),
    ],
)
def test_the_gpu_is_chosen_where_networks_can_use_it(
    asked: str,
    gpus: int,
    providers: list[str],
    members: list[MemberFacts],
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: gpus)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    assert choose_device(DeviceChoice(asked), members) == chosen


def test_a_gpu_that_goes_unused_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    choose_device(DeviceChoice.AUTO, [TEXT])
    assert "onnxruntime-gpu" in caplog.text


@pytest.mark.parametrize("members", [[TEXT], [LIGHT]])
def test_a_named_gpu_that_is_not_there_is_refused(members: list[MemberFacts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 0)
    with refused("gpu-missing") as caught:
        choose_device(DeviceChoice.CUDA, members)
    assert caught.value.hint


@pytest.mark.parametrize("form", ["onnx", "saved"])
def test_a_named_gpu_that_the_library_cannot_use_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refused("gpu-runtime-missing") as caught:
        choose_device(DeviceChoice.CUDA, [member("text", form)])
    assert "install" in caught.value.hint


def test_graphs_are_opened_for_cuda_with_its_options(
    gpu: SimulatedGpu, bundle: Bundle, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(bundle.folder)
    assert predictor.device == DeviceChoice.CUDA
    assert len(gpu.asked) == 3  # two fold models and the encoder that they share
    for (name, options), fallback in gpu.asked:
        assert (name, fallback) == (CUDA, CPU) and options["use_tf32"] == "0"
    prices = predictor.predict(workspace.test).prices
    assert gpu.sizes == [len(workspace.test)] * 3  # each in one pass
    monkeypatch.undo()
    whole = Predictor(bundle.folder)
    assert whole.device == DeviceChoice.CPU
    np.testing.assert_allclose(prices, whole.predict(workspace.test).prices, rtol=1e-4)


def test_on_a_processor_graphs_are_opened_as_ever(gpu: SimulatedGpu, bundle: Bundle) -> None:
    Predictor(bundle.folder, DeviceChoice.CPU)
    assert gpu.asked == [[CPU]] * 3


def test_a_pass_that_the_gpu_does_not_hold_is_halved(gpu: SimulatedGpu, bundle: Bundle, workspace: Workspace) -> None:
    gpu.rows = 12
    answer = Predictor(bundle.folder).predict(workspace.test)
    assert answer.counts == {"stack": len(workspace.test)}
    assert max(gpu.sizes) == len(workspace.test) and sum(size <= 12 for size in gpu.sizes) >= 8


def test_an_export_compares_prices_on_the_gpu(
    gpu: SimulatedGpu, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = export(workspace, tmp_path, "shop", "onnx", no_progress)
    assert made.facts.largest_difference < 0.005
    assert [providers[0][0] for providers in gpu.asked] == [CUDA] * 3
    assert "on the GPU" in capsys.readouterr().err


def test_libraries_that_cannot_be_loaded_are_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime has CUDA here")
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.warns(UserWarning), refused("cuda-libraries-missing") as caught:
        Predictor(bundle.folder)
    assert "--device cpu" in caught.value.hint


@pytest.mark.parametrize(("device", "settled"), [("cuda", "cuda"), ("cpu", "cpu")])
def test_saved_networks_compute_on_the_device(workspace: Workspace, device: str, settled: str, tmp_path: Path) -> None:
    for name, expected in (("text", settled), ("lexical", None)):
        kind, source = architecture(name), workspace.store.fold_folder(member_of(workspace, name), 0)
        model: Any = export_format("saved", device).read(kind, source, tmp_path)
        assert (model.runtime.device if expected else None) == expected
