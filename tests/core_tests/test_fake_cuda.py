"""Training, validation and prediction of both documented networks on a fake GPU: every tensor is where the others are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

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
