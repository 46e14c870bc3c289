"""Checks for a machine with a GPU (`make test-gpu`): parity, training, resumption, memory, two trials on one GPU, a bundle."""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState
from safetensors.torch import load_file
from torch import Tensor

from core.architectures import architecture
from core.atomic_files import read_json
from core.cache import Cache
from core.data.catalog import PRICE
from core.encoders.neobert import config_from, load_published
from core.nn.precision import has_fast_bf16
from core.protocols.architecture import Context, make_config
from core.training.trainer import fit, seeded
from pricestack.testing.architectures import small_settings, toy_catalog
from serving.bundle.device_choice import DeviceChoice
from serving.engine.engine import EngineConfig
from tests.commands import run, trials
from tests.conftest import write_toys
from tests.core_tests.encoders.test_neobert import FIXTURE, needs_fixture
from tests.core_tests.trainer_toys import Killed, Linear, Toy, config, context, make
from tests.serving_tests.conftest import client_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
DEVICE = "cuda"
CLOSE = {torch.float32: 1e-3, torch.float16: 0.01, torch.bfloat16: 0.04}
"""Relative distance that the reference's states may be away: TF32 and half precision round."""


@needs_fixture
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", CLOSE)
def test_neobert_gives_the_states_of_the_reference(dtype: torch.dtype, packed: bool) -> None:
    if dtype == torch.bfloat16 and not has_fast_bf16(DEVICE):
        pytest.skip("this GPU has no bf16")
    expected = load_file(FIXTURE / "expected.safetensors", device=DEVICE)
    weights = load_file(FIXTURE / "model.safetensors")
    network = load_published(config_from(read_json(FIXTURE / "config.json")), weights, "fixture").eval().to(DEVICE)
    network.packed = packed
    mask = expected["attention_mask"].bool()
    with torch.inference_mode(), torch.autocast(DEVICE, dtype=dtype, enabled=dtype != torch.float32):
        states = network(expected["input_ids"], mask).float()[mask]
    wanted = expected["last_hidden_state"][mask]
    assert (states - wanted).norm() / wanted.norm() < CLOSE[dtype]


@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16"])
@pytest.mark.parametrize("name", ["text", "multimodal"])
def test_a_network_learns_and_predicts_the_same_on_a_processor(name: str, precision: str, tmp_path: Path) -> None:
    catalog, rows = toy_catalog(tmp_path / "images", 240), np.arange(240)
    made = architecture(name)
    settings = {**small_settings(name), "epochs": 8, "patience": 8, "precision": precision}
    reports: dict[int, Mapping[str, float]] = {}
    where = Context(7, Cache(tmp_path / "cache"), tmp_path / "run", DEVICE, report=reports.__setitem__)
    model = made.train(catalog.take(rows[:200]), catalog.take(rows[200:]), make_config(made.Config, settings), where)
    smapes = [metrics["smape"] for metrics in reports.values()]
    assert len(smapes) == 8 and min(smapes[1:]) < smapes[0]
    prices = model.predict(catalog)
    assert np.isfinite(prices).all()
    model.save(tmp_path / "saved")
    assert made.load(tmp_path / "saved").predict(catalog) == pytest.approx(prices, rel=0.05)


SETTINGS: dict[str, Any] = {
    "epochs": 5, "patience": 5, "learning_rate": 0.05, "precision": "fp32", "loader_workers": 0, "tokens_per_pass": 128,
}  # fmt: skip


def on_gpu(folder: Path) -> Context:
    return replace(context(folder, checkpoint_seconds=0.0), device=DEVICE)


def curve(where: Context, examples: Toy, network: Linear | None = None) -> tuple[list[float], Tensor]:
    """(SMAPE of each epoch, weights) of a training that depends on the GPU's random numbers as well."""
    reports: dict[int, Mapping[str, float]] = {}
    with seeded(where):
        learning = network or make(where.seed, dropout=0.3)
        fit(learning, examples, Toy(), config(**SETTINGS), replace(where, report=reports.__setitem__))
    return [metrics["smape"] for metrics in reports.values()], learning.layer.weight.detach().cpu()


def die_at(step: int, folder: Path) -> None:
    curve(on_gpu(folder), Killed(step + 1, noise=0.1))


def test_a_killed_training_ends_as_it_would_have_ended(tmp_path: Path) -> None:
    smapes, weights = curve(on_gpu(tmp_path / "undisturbed"), Toy(noise=0.1))
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(9, tmp_path / "killed"))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "run").glob("state-*.safetensors"))
    again, same = curve(on_gpu(tmp_path / "killed"), Toy(noise=0.1))
    assert again == pytest.approx(smapes, abs=1e-3)
    torch.testing.assert_close(same, weights, atol=1e-4, rtol=1e-3)


class Large(Linear):
    """Takes an eighth of the GPU's memory per row of a pass."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.rows = list[int]()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.rows.append(len(x))
        each = torch.cuda.get_device_properties(DEVICE).total_memory // 8
        torch.empty(len(x) * each, dtype=torch.uint8, device=x.device)
        return super().forward(x)


def test_a_pass_too_large_for_the_memory_is_halved(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    small, large = Linear(), Large()
    small.load_state_dict(large.state_dict())
    wanted, _ = curve(on_gpu(tmp_path / "small"), Toy(), small)
    smapes, _ = curve(on_gpu(tmp_path / "large"), Toy(), large)
    assert large.rows[:2] == [16, 8] and set(large.rows[2:]) == {4}
    assert smapes == pytest.approx(wanted, abs=1e-3)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials at once on one GPU, and a member."""
    folder = tmp_path_factory.mktemp("gpu")
    train, test = write_toys(folder, 400, 40)
    run(
        "experiments.sweep", "text", "--train", train, "--test", test, "--workspace", folder / "runs", "--trials", 2,
        "--members", 1, "--folds", 2, "--max-concurrent", 2, "--gpus-per-trial", 0.5, "--text-encoder", "tiny",
        "--set", "epochs=20",
    )  # fmt: skip
    return folder / "runs"


def test_two_trials_share_a_gpu_at_the_same_time(workspace: Path) -> None:
    one, two = sorted(trials(workspace), key=lambda trial: trial.number)
    assert {one.state, two.state} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert all(trial.datetime_start and trial.datetime_complete for trial in (one, two))
    assert two.datetime_start < one.datetime_complete  # type: ignore[operator]


def test_a_bundle_of_it_prices_rows(workspace: Path) -> None:
    run("ensemble.stack", "--workspace", workspace)
    exported = run("serving.export", "--workspace", workspace, "--name", "gpu")
    assert "within" in exported
    (bundle,) = (workspace / "bundles").glob("gpu-1-*")
    prices = workspace / "prices.csv"
    run("serving.predict", "--bundle", bundle, "--in", workspace.parent / "test.csv", "--out", prices)
    predicted = pd.read_csv(prices)[PRICE]
    assert len(predicted) == 40 and all(math.isfinite(price) and price > 0 for price in predicted)


@pytest.mark.parametrize("network_format", ["onnx", "pytorch"])
def test_a_service_prices_on_the_gpu_as_on_the_processor(workspace: Path, network_format: str) -> None:
    if network_format == "onnx" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime has no CUDA provider (onnxruntime-gpu)")
    run("ensemble.stack", "--workspace", workspace)
    name = f"served-{network_format}"
    exported = run("serving.export", "--workspace", workspace, "--name", name, f"--{network_format}")
    assert "on the GPU" in exported
    (bundle,) = (workspace / "bundles").glob(f"{name}-1-*")
    rows = [{"catalog_content": text} for text in pd.read_csv(workspace.parent / "test.csv")["catalog_content"]]
    prices = {}
    for device in ("cuda", "cpu"):
        with client_of(bundle, settings=EngineConfig(workers=1, device=DeviceChoice(device))) as client:
            assert client.get("/version").json()["device"] == device
            answers = client.post("/predict/batch", json={"rows": rows}).json()["results"]
            assert {answer["level"] for answer in answers} == {"stack"}
            prices[device] = [answer["predicted_price"] for answer in answers]
    assert prices["cuda"] == pytest.approx(prices["cpu"], rel=0.001 if network_format == "onnx" else 0.05)
