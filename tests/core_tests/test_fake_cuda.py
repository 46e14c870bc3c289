"""Training, validation and prediction of both documented networks on a fake GPU: every tensor is where the others are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks.training.gpu_memory import peak
from core.architectures import architecture, neural_architecture
from core.encoders.neobert import NeoBERTConfig
from core.protocols.architecture import make_config
from tests.core_tests import fake_gpu
from tests.core_tests.fake_cuda import Seen, train_and_predict

BOTH = pytest.mark.parametrize("name", ["text", "multimodal"])
COMPUTES_IN = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A process of its own, in which PyTorch finds the fake GPU when it starts."""
    if fake_gpu.COMPILER is None or torch.version.cuda is not None:
        pytest.skip("needs g++ and PyTorch's build for processors")
    library = fake_gpu.build(tmp_path_factory.mktemp("fake-gpu"))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=fake_gpu.load, initargs=(library,)) as pool:
        yield pool


@BOTH
@pytest.mark.parametrize("precision", COMPUTES_IN)
def test_an_epoch_its_evaluation_and_a_prediction(
    name: str, precision: str, process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    seen: Seen = process.submit(train_and_predict, name, precision, tmp_path).result()
    assert seen == Seen(steps=2, dtypes=(f"{COMPUTES_IN[precision]} on cuda",), learnt=("cuda",), prices=16)


@pytest.mark.parametrize("name", ["text", "multimodal"])
@pytest.mark.parametrize(
    "shape",
    [
        {"num_hidden_layers": 4},
        {"num_hidden_layers": 8, "intermediate_size": 1536},
        {"num_hidden_layers": 4, "hidden_size": 384, "vocab_size": 1000},
    ],
    ids=str,
)
def test_the_estimate_of_a_pass_is_what_tensors_take(
    name: str, shape: dict[str, int], process: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, length = architecture(name), 256
    settings = {"text_encoder": "neobert", "precision": "bf16", "max_length": length, "batch_size": 16}
    monkeypatch.setattr(neural_architecture, "neobert_config", lambda _: NeoBERTConfig(**shape))
    for rows in (2, 8):
        more = {"vision_encoder": "clip"} if name == "multimodal" else {}
        config = make_config(made.Config, {**settings, **more, "tokens_per_pass": rows * length})
        expected = made.estimate_pass(config, 80 * 2**30)
        assert expected is not None and expected.tokens == rows * length
        taken = process.submit(peak, name, "bf16", length, rows, shape).result()
        assert expected.memory / 2**30 == pytest.approx(taken, rel=0.15)


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("text", 8, 2_560), ("text", 16, 10_240), ("text", 24, 17_408), ("text", 40, 31_744), ("text", 80, 32_768),
        ("multimodal", 8, 2_560), ("multimodal", 16, 9_728), ("multimodal", 24, 16_896), ("multimodal", 40, 31_744),
    ],
)  # fmt: skip
def test_estimates_for_the_documented_networks_are_those_of_the_table(
    name: str, size: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = architecture(name)
    monkeypatch.setattr(neural_architecture, "neobert_config", lambda _: NeoBERTConfig())
    settings = {"text_encoder": "neobert", "precision": "bf16", "max_length": 512, "batch_size": 64}
    more = {"vision_encoder": "clip"} if name == "multimodal" else {}
    expected = made.estimate_pass(make_config(made.Config, settings | more), size * 2**30)
    assert expected is not None
    assert expected.tokens == pytest.approx(tokens, abs=512)  # a row
    assert expected.memory < (size - 1) * 2**30
    halvings = [65_536 // 2**times for times in range(8)]
    assert expected.found == next(each for each in halvings if min(each, 32_768) <= expected.tokens)


def test_no_estimate_is_made_up_where_none_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_architecture, "neobert_config", lambda _: NeoBERTConfig())
    made = architecture("text")

    def tokens(gpu: int = 80, **settings: object) -> int | None:
        config = make_config(made.Config, {"text_encoder": "neobert", "max_length": 512, **settings})
        found = made.estimate_pass(config, gpu * 2**30)
        return None if found is None else found.tokens

    assert tokens(4) == 0
    assert tokens() == 64 * 512
    changed: list[dict[str, object]] = [
        {"freeze_text": True}, {"lora_rank": 8}, {"frozen_layers": 2}, {"precision": "fp32"},
    ]  # fmt: skip
    assert [tokens(**each) for each in changed] == [None] * 4
    assert architecture("lexical").estimate_pass(make_config(architecture("lexical").Config, {}), 2**40) is None


def test_several_pictures_on_a_gpu(process: ProcessPoolExecutor, tmp_path: Path) -> None:
    settings = {"images_per_product": 2, "attention_direction": "both", "tokens_per_pass": 300}
    seen: Seen = process.submit(train_and_predict, "multimodal", "bf16", tmp_path, "", settings).result()
    assert seen == Seen(steps=2, dtypes=("torch.bfloat16 on cuda",), learnt=("cuda",), prices=16)


@BOTH
@pytest.mark.parametrize("misplaced", ["training", "prediction"])
def test_a_tensor_on_the_processor_is_found(
    name: str, misplaced: str, process: ProcessPoolExecutor, tmp_path: Path
) -> None:
    seen: Seen = process.submit(train_and_predict, name, "bf16", tmp_path, misplaced).result()
    assert "two devices, cuda:0 and cpu" in seen.error
