"""NeoBERT against the reference's outputs, and its answers to files that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.backbones.loading import build_encoder, load_encoder
from core.backbones.neobert import NeoBERT, NeoBERTConfig, config_from, load_published
from core.errors import UserError
from core.files import read_json

FIXTURE = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "neobert"
needs_fixture = pytest.mark.skipif(not FIXTURE.is_dir(), reason="../shared/fixtures/neobert is absent")
SMALL = NeoBERTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=20)


def small_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in NeoBERT(SMALL).state_dict().items()}


@needs_fixture
@pytest.mark.parametrize("prefix", ["", "model."])
def test_parity_with_the_reference(prefix: str) -> None:
    expected = load_file(FIXTURE / "expected.safetensors")
    weights = {prefix + name: tensor for name, tensor in load_file(FIXTURE / "model.safetensors").items()}
    network = load_published(config_from(read_json(FIXTURE / "config.json")), weights, "fixture").eval()
    mask = expected["attention_mask"].bool()
    with torch.inference_mode():
        states = network(expected["input_ids"], mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = network(expected["input_ids"], mask).float()
    wanted = expected["last_hidden_state"][mask]
    assert (states[mask] - wanted).abs().max() < 1e-4
    assert (coarse[mask] - wanted).norm() / wanted.norm() < 0.04


@needs_fixture
def test_the_fixture_folder_loads_by_path_and_has_no_tokenizer() -> None:
    encoder, tokenizer = load_encoder(str(FIXTURE), "text")
    assert isinstance(encoder, NeoBERT)
    assert tokenizer is None
    assert encoder.max_positions == 256


def test_a_decoder_in_the_file_is_left_out() -> None:
    weights = small_weights()
    network = load_published(SMALL, {**weights, "decoder.weight": torch.zeros(20, 16)}, "here")
    torch.testing.assert_close(network.state_dict()["encoder.weight"], weights["encoder.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer_encoder.1.wo.weight": None}, "lack the tensor transformer_encoder.1.wo.weight"),
        ({"layer_norm.weight": torch.zeros(3)}, r"layer_norm.weight of shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: dict[str, torch.Tensor | None], said: str) -> None:
    weights = {name: tensor for name, tensor in {**small_weights(), **change}.items() if tensor is not None}
    with pytest.raises(UserError, match=said):
        load_published(SMALL, weights, "some/folder")


def test_padding_changes_nothing_and_order_does() -> None:
    network = build_encoder({"kind": "neobert", "config": {**vars(SMALL)}}).eval()
    ids = torch.tensor([[3, 4, 5]])
    alone = network(ids, torch.ones(1, 3, dtype=torch.bool))
    padded = network(torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([[True, True, True, False, False]]))
    torch.testing.assert_close(padded[:, :3], alone, atol=1e-6, rtol=0)
    assert not torch.allclose(network(ids.flip(1), torch.ones(1, 3, dtype=torch.bool)).flip(1), alone, atol=1e-4)


@pytest.mark.parametrize(("intermediate", "swiglu"), [(3072, 2048), (256, 176), (96, 64)])
def test_width_of_the_swiglu(intermediate: int, swiglu: int) -> None:
    assert NeoBERTConfig(intermediate_size=intermediate).swiglu_width == swiglu
