"""Old `.bin` weights and old tokenizers: same states as by transformers, written once, and never run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModel, AutoTokenizer, CLIPModel

from core.atomic_files import read_json, write_json
from core.encoders import load_encoder
from core.encoders.bin_weights import converted_folder
from core.encoders.loading import identity, locate, parameters
from tests.core_tests.encoders.checkpoints import TEXTS, as_bin, bert, clip, deberta, roberta
from tests.errors import refused


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))


@pytest.mark.parametrize("make", [deberta, roberta])
def test_text_encoders_in_old_layouts(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "made")
    encoder, tokenizer = load_encoder(str(folder), "text")
    assert tokenizer is not None
    expected = AutoTokenizer.from_pretrained(folder)(TEXTS[3])["input_ids"]
    assert tokenizer.encode(TEXTS[3]).ids == expected and len(set(expected)) > 5
    ids = torch.tensor([expected])
    with torch.inference_mode():
        states = encoder.eval()(ids, torch.ones_like(ids))
        reference = AutoModel.from_pretrained(folder).eval()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(states, reference, atol=1e-5, rtol=0)


def test_clip_as_it_is_published(tmp_path: Path) -> None:
    folder = clip(tmp_path / "clip")
    encoder, _ = load_encoder(str(folder), "vision")
    assert (encoder.mean, encoder.std, encoder.size) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 32)
    processor = read_json(folder / "preprocessor_config.json")
    (folder / "preprocessor_config.json").unlink()
    write_json(folder / "processor_config.json", {"processor_class": "CLIPProcessor", "image_processor": processor})
    assert load_encoder(str(folder), "vision")[0].mean == (0.4, 0.5, 0.6)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        model = CLIPModel.from_pretrained(folder).eval()
        expected = model.visual_projection(model.vision_model(pixels).pooler_output)
        torch.testing.assert_close(encoder.eval()(pixels)[:, 0], expected, atol=1e-5, rtol=0)


def test_weights_are_converted_once_and_are_the_encoder_with_safetensors(tmp_path: Path) -> None:
    plain, old = bert(tmp_path / "plain"), as_bin(bert(tmp_path / "old"))
    assert identity(str(old), "text") == identity(str(plain), "text")
    assert parameters(str(old), "text") == parameters(str(plain), "text")
    made = locate(str(old)) / "model.safetensors"
    stamp = made.stat().st_mtime_ns
    assert made.parent.parent == converted_folder() and load_encoder(str(old))[1] is not None
    assert locate(str(old)) == made.parent and made.stat().st_mtime_ns == stamp
    assert [path.name for path in old.glob("*.safetensors")] == []
    as_bin(bert(old, seed=1))
    assert identity(str(old), "text") != identity(str(plain), "text")


class _Hostile:
    """Object whose unpickling runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_in_it_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    folder, marker = as_bin(bert(tmp_path / "made")), tmp_path / "ran"
    if zipped:
        torch.save({"weight": torch.ones(2), "more": _Hostile(marker)}, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Hostile(marker)}))
    with refused("encoder-unsafe-bin") as caught:
        load_encoder(str(folder), "text")
    assert "could run code" in caught.value.what and ("system" in caught.value.what) == zipped
    assert not marker.exists()
    assert list(converted_folder().glob("[!.]*")) == []


def test_damaged_and_empty_files_are_named(tmp_path: Path) -> None:
    folder = as_bin(bert(tmp_path / "made"))
    weights = folder / "pytorch_model.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with refused("encoder-damaged-bin"):
        load_encoder(str(folder), "text")
    torch.save([1, 2, 3], weights)
    with refused("encoder-bin-without-weights"):
        load_encoder(str(folder), "text")
    weights.unlink()
    with refused("encoder-no-weights"):
        load_encoder(str(folder), "text")


def test_files_written_before_2020_are_read_too(tmp_path: Path) -> None:
    folder = as_bin(bert(tmp_path / "made"))
    before = identity(str(folder), "text")
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tied = {**tensors, "head.weight": tensors["embeddings.word_embeddings.weight"]}
    torch.save(tied, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert load_encoder(str(folder), "text")[0].width == 16 and identity(str(folder), "text") != before
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert identity(str(folder), "text") == before


def test_tensors_beside_other_things_of_a_training(tmp_path: Path) -> None:
    folder = as_bin(bert(tmp_path / "made"))
    weights = folder / "pytorch_model.bin"
    tensors = torch.load(weights, weights_only=True)
    before = identity(str(folder), "text")
    torch.save({"epoch": 3, "state_dict": tensors}, weights)
    assert identity(str(folder), "text") == before


def test_a_shard_of_the_index_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = roberta(tmp_path / "made")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with refused("encoder-incomplete") as caught:
        load_encoder(str(folder), "text")
    assert "pytorch_model-00002-of-00002.bin" in caught.value.what


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = deberta(tmp_path / "made")
    (folder / "spm.model").write_bytes(b"")
    with refused("encoder-damaged-tokenizer"):
        load_encoder(str(folder), "text")
