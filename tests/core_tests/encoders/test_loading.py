"""Encoders by name and folder: what loads, what is refused, and what `auto` stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from core.encoders import loading
from core.encoders.loading import build_encoder, identity, load_encoder
from core.encoders.presets import CORE_MINUTES_PER_MILLION, PRESETS, TINY, TINY_VISION, choose
from core.encoders.tiny import TinyVision, train_tokenizer
from core.hardware import Machine
from core.inputs.augment import CLIP_MEAN
from tests.errors import refused

LAPTOP = Machine(cores=2, memory=8 * 2**30, device="cpu", gpus=0)
STATION = Machine(cores=16, memory=64 * 2**30, device="cuda", gpus=1)
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
}


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty hub cache, and a hub that refuses connections at once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=60,
        max_position_embeddings=48,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    train_tokenizer(["green tea 20 bags", "oak table"]).save(str(tmp_path / "bert" / "tokenizer.json"))
    return tmp_path / "bert"


def test_a_transformers_text_encoder_by_folder(bert: Path) -> None:
    encoder, tokenizer = load_encoder(str(bert), "text")
    assert tokenizer is not None
    assert (encoder.width, encoder.max_positions, encoder.pad) == (16, 48, 0)
    ids, mask = torch.tensor([[2, 5, 6, 3], [2, 5, 3, 0]]), torch.tensor([[True] * 4, [True] * 3 + [False]])
    states = encoder.eval()(ids, mask)
    again = build_encoder(encoder.spec)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again.eval()(ids, mask), states)
    assert states.shape == (2, 4, 16)


def test_identity_follows_the_content(bert: Path) -> None:
    before = identity(str(bert), "text")
    assert identity(str(bert), "text") == before
    model = BertModel.from_pretrained(bert)
    torch.nn.init.zeros_(model.embeddings.word_embeddings.weight)
    model.save_pretrained(bert)
    assert identity(str(bert), "text") != before


@pytest.mark.parametrize("kind", [CLIPVisionModel, CLIPVisionModelWithProjection])
def test_clip_gives_all_patches_through_layer_norm_and_projection(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = kind(CLIPVisionConfig(**VISION, patch_size=16, projection_dim=12)).eval()
    model.save_pretrained(tmp_path / "clip")
    encoder, tokenizer = load_encoder(str(tmp_path / "clip"), "vision")
    assert tokenizer is None
    assert (encoder.size, encoder.mean) == (32, CLIP_MEAN)
    pixels = torch.randn(2, 3, 32, 32)
    tokens = encoder.eval()(pixels)
    assert tokens.shape == (2, 5, encoder.width)
    # The first token is the one that transformers itself normalises and projects.
    output = model(pixel_values=pixels)
    torch.testing.assert_close(tokens[:, 0], output.image_embeds if "image_embeds" in output else output.pooler_output)
    again = build_encoder(encoder.spec)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again.eval()(pixels), tokens)


def test_siglip(tmp_path: Path) -> None:
    SiglipVisionModel(SiglipVisionConfig(**VISION, patch_size=16)).save_pretrained(tmp_path / "siglip")
    encoder, _ = load_encoder(str(tmp_path / "siglip"), "vision")
    assert encoder.mean == (0.5, 0.5, 0.5)
    assert encoder.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 4, 16)


def test_tiny_vision_gives_its_tokens() -> None:
    assert TinyVision()(torch.randn(2, 3, 64, 64)).shape == (2, TinyVision.tokens, TinyVision.width)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "part"), [("neobert", "text"), ("clip", "vision"), ("somebody/encoder", "text")])
def test_an_encoder_that_cannot_be_had_fails_at_once_with_the_way_to_get_it(name: str, part: loading.Part) -> None:
    with refused("encoder-not-fetched") as failure:
        load_encoder(name, part)
    assert "python -m core.encoders fetch" in failure.value.hint
    assert loading.available() == frozenset()


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("neobret", "text", "encoder-unknown"),
        ("clip", "text", "encoder-wrong-part"),
        ("/no/such", "text", "encoder-unknown"),
        ("./missing", "text", "encoder-unknown"),
    ],
)
def test_names_that_are_not_known(name: str, part: loading.Part, said: str) -> None:
    with refused(said):
        load_encoder(name, part)


def test_a_truncated_file_is_named(bert: Path) -> None:
    weights = bert / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with refused("encoder-unloadable"):
        load_encoder(str(bert), "text")


def test_a_missing_tensor_is_an_error(bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    weights.pop("embeddings.word_embeddings.weight")
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    with refused("encoder-weights-missing"):
        load_encoder(str(bert), "text")


ENOUGH = CORE_MINUTES_PER_MILLION * PRESETS["modernbert"].parameters / LAPTOP.cores


@pytest.mark.parametrize(
    ("part", "machine", "available", "minutes", "chosen"),
    [
        ("text", STATION, {"neobert", "modernbert"}, 5.0, "neobert"),
        ("text", STATION, {"modernbert"}, None, "modernbert"),
        ("text", STATION, set(), None, TINY),
        ("vision", STATION, {"neobert", "siglip"}, None, "siglip"),
        ("vision", LAPTOP, set(), 10_000.0, TINY_VISION),
        ("text", LAPTOP, {"neobert", "modernbert"}, None, TINY),
        ("text", LAPTOP, {"neobert", "modernbert"}, ENOUGH - 1, TINY),
        ("text", LAPTOP, {"neobert", "modernbert"}, ENOUGH + 1, "modernbert"),
    ],
)
def test_auto_policy(
    part: loading.Part, machine: Machine, available: set[str], minutes: float | None, chosen: str
) -> None:
    name, reason = choose(part, machine, available, minutes)
    assert name == chosen
    assert reason


def test_damaged_weights_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with refused("encoder-damaged-weights") as caught:
        loading.parameters(str(tmp_path), "text")
    assert str(tmp_path) in caught.value.what
