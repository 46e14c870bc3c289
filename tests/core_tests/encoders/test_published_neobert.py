"""NeoBERT folders as the hub serves them: prefixed names, a decoder, several files, other precisions, tensors too many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.atomic_files import read_json
from core.encoders import load_encoder
from core.encoders.loading import identity, parameters
from core.encoders.neobert import NeoBERT, NeoBERTConfig
from tests.errors import refused
from tests.paths import SHARED

FIXTURE = SHARED / "fixtures" / "neobert"
needs_fixture = pytest.mark.skipif(not FIXTURE.is_dir(), reason="../shared/fixtures/neobert is absent")
SMALL = NeoBERTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=20)
RECORD = {**asdict(SMALL), "model_type": "neobert"}
INDEX = "model.safetensors.index.json"


def small_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in NeoBERT(SMALL).state_dict().items()}


def write(folder: Path, record: object, weights: Mapping[str, Tensor], files: int = 1) -> Path:
    """A folder with config.json and the weights in one file, or in several with an index, as the hub has them."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(record))
    if files == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    place = {
        name: f"model-{1 + number % files:05}-of-{files:05}.safetensors" for number, name in enumerate(sorted(weights))
    }
    for file in set(place.values()):
        part = {name: tensor for name, tensor in weights.items() if place[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in weights.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": place}))
    return folder


def as_on_the_hub(weights: Mapping[str, Tensor], vocabulary: int, width: int) -> dict[str, Tensor]:
    """The names of the published file, with its decoder and two tensors that belong nowhere."""
    published = {f"model.{name}": tensor for name, tensor in weights.items()}
    head = {"decoder.weight": torch.ones(vocabulary, width), "decoder.bias": torch.ones(vocabulary)}
    return {**published, **head, "classifier.weight": torch.ones(2, width), "model.rope.freqs": torch.ones(4)}


def states(folder: Path, ids: Tensor, mask: Tensor) -> Tensor:
    encoder, tokenizer = load_encoder(str(folder))
    assert tokenizer is None
    with torch.inference_mode():
        return encoder.eval()(ids, mask)[mask.bool()]


@needs_fixture
@pytest.mark.parametrize("files", [1, 3])
def test_the_fixture_as_the_hub_would_serve_it(files: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, expected = read_json(FIXTURE / "config.json"), load_file(FIXTURE / "expected.safetensors")
    weights = load_file(FIXTURE / "model.safetensors")
    folder = write(tmp_path / "hub", record, as_on_the_hub(weights, 300, 96), files)
    ids, mask = expected["input_ids"], expected["attention_mask"]
    found = states(folder, ids, mask)
    assert (found - expected["last_hidden_state"][mask.bool()]).abs().max() < 1e-4
    assert torch.equal(found, states(FIXTURE, ids, mask))
    said = capsys.readouterr().err
    assert "hold 2 tensors that NeoBERT has no place for; left out: classifier.weight, model.rope.freqs" in said
    assert "decoder" not in said


def test_tensors_left_out_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "hub", RECORD, as_on_the_hub(small_weights(), 20, 16), files=3)
    plain = write(tmp_path / "plain", RECORD, small_weights())
    for _ in range(3):
        load_encoder(str(folder))
    load_encoder(str(plain))
    assert capsys.readouterr().err.count("left out") == 1


@settings(deadline=None, max_examples=20)
@given(files=st.integers(1, 5), prefix=st.booleans(), decoder=st.booleans(), seed=st.integers(0, 999))
def test_however_the_tensors_are_named_and_split_the_encoder_is_the_same(
    files: int, prefix: bool, decoder: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = {f"model.{name}" if prefix else name: tensor for name, tensor in small_weights().items()}
    if decoder:
        weights["decoder.weight"] = torch.zeros(20, 16)
    folder = write(tmp_path_factory.mktemp("any") / "hub", RECORD, weights, files)
    encoder, _ = load_encoder(str(folder))
    assert all(torch.equal(tensor, small_weights()[name]) for name, tensor in encoder.state_dict().items())
    ids = torch.randint(1, 20, (2, 6), generator=torch.Generator().manual_seed(seed))
    assert encoder(ids, torch.ones(2, 6)).shape == (2, 6, 16)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("files", [1, 3])
def test_half_precision_on_the_disk_becomes_float32(half: torch.dtype, files: int, tmp_path: Path) -> None:
    rounded = {name: tensor.to(half) for name, tensor in small_weights().items()}
    encoder, _ = load_encoder(str(write(tmp_path / "half", RECORD, rounded, files)))
    for name, tensor in encoder.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, rounded[name].float())
    assert parameters(str(tmp_path / "half"), "text") == sum(tensor.numel() for tensor in rounded.values())


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("model.transformer_encoder.1.wo.weight", None, r"lack the tensor transformer_encoder\.1\.wo\.weight"),
        (
            "model.layer_norm.weight",
            torch.zeros(3),
            r"layer_norm\.weight of shape \(3,\), and config.json asks for \(16,\)",
        ),
    ],
)
def test_what_is_missing_or_misshapen_is_named(
    files: int, name: str, tensor: Tensor | None, said: str, tmp_path: Path
) -> None:
    weights = as_on_the_hub(small_weights(), 20, 16)
    del weights[name]
    folder = write(tmp_path / "hub", RECORD, weights if tensor is None else {**weights, name: tensor}, files)
    with refused("neobert-weights-mismatch") as failure:
        load_encoder(str(folder))
    assert str(folder) in failure.value.what


def test_a_file_of_the_index_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "hub", RECORD, small_weights(), files=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with refused("encoder-incomplete"):
        load_encoder(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", '{"metadata": {}}', '{"weight_map": 3}'])
def test_an_index_that_lists_nothing_is_named(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "hub", RECORD, small_weights(), files=3)
    (folder / INDEX).write_text(text)
    with refused("encoder-bad-index"):
        load_encoder(str(folder))


def test_identity_covers_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "hub", RECORD, small_weights(), files=3)
    before = identity(str(folder), "text")
    last = folder / "model-00003-of-00003.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(last).items()}, last, metadata={"format": "pt"})
    assert identity(str(folder), "text") != before
