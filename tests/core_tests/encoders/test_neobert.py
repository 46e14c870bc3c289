"""NeoBERT against the reference's outputs, packed against padded, and its answers to weights that do not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from core.atomic_files import read_json
from core.encoders.loading import build_encoder, load_encoder
from core.encoders.neobert import NeoBERT, NeoBERTConfig, config_from, load_published, unplaced
from tests.errors import refused
from tests.paths import SHARED

FIXTURE = SHARED / "fixtures" / "neobert"
needs_fixture = pytest.mark.skipif(not FIXTURE.is_dir(), reason="../shared/fixtures/neobert is absent")
SMALL = NeoBERTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=20)


def small_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in NeoBERT(SMALL).state_dict().items()}


def batch(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """(B, L) ids and mask of right-padded rows with so many tokens each."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, SMALL.vocab_size, mask.shape, generator=torch.Generator().manual_seed(seed))
    return ids.masked_fill(~mask, SMALL.pad_token_id), mask


def network() -> NeoBERT:
    """With weights far larger than a fresh network's, whose layers would hardly change the states."""
    torch.manual_seed(0)
    made = NeoBERT(SMALL)
    for parameter in made.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@needs_fixture
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_parity_with_the_reference(prefix: str, packed: bool) -> None:
    expected = load_file(FIXTURE / "expected.safetensors")
    weights = {prefix + name: tensor for name, tensor in load_file(FIXTURE / "model.safetensors").items()}
    network = load_published(config_from(read_json(FIXTURE / "config.json")), weights, "fixture").eval()
    network.packed = packed
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


def test_a_decoder_and_tensors_without_a_place_are_left_out() -> None:
    weights = small_weights()
    more = {"decoder.weight": torch.zeros(20, 16), "odd.weight": torch.zeros(3)}
    network = load_published(SMALL, {**weights, **more}, "here")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert unplaced(SMALL, [*weights, *more]) == ["odd.weight"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer_encoder.1.wo.weight": None}, "lack the tensor transformer_encoder.1.wo.weight"),
        ({"layer_norm.weight": torch.zeros(3)}, r"layer_norm.weight of shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(change: dict[str, torch.Tensor | None], said: str) -> None:
    weights = {name: tensor for name, tensor in {**small_weights(), **change}.items() if tensor is not None}
    with refused("neobert-weights-mismatch"):
        load_published(SMALL, weights, "some/folder")


several_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=9)


def packed_and_padded(lengths: list[int], seed: int, half: bool = False) -> tuple[Tensor, Tensor]:
    """The real tokens' states in both forms."""
    ids, mask = batch([*lengths, 1], seed)
    encoder, found = network(), []
    for encoder.packed in (True, False):
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            found.append(encoder(ids, mask)[mask].float())
    return found[0], found[1]


@settings(deadline=None, max_examples=40)
@given(lengths=several_lengths, seed=st.integers(0, 999))
def test_packed_and_padded_agree(lengths: list[int], seed: int) -> None:
    packed, padded = packed_and_padded(lengths, seed)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=6)  # the processor's library prepares anew for every shape in bf16
@given(lengths=several_lengths, seed=st.integers(0, 999))
def test_packed_and_padded_agree_in_bf16(lengths: list[int], seed: int) -> None:
    _, exact = packed_and_padded(lengths, seed)
    for coarse in packed_and_padded(lengths, seed, half=True):
        assert (coarse - exact).norm() / exact.norm() < 0.04


@settings(deadline=None, max_examples=20)
@given(lengths=several_lengths, seed=st.integers(0, 999))
def test_their_gradients_agree_too(lengths: list[int], seed: int) -> None:
    ids, mask = batch([*lengths, 1], seed)
    encoder = network()
    wanted = torch.randn((*mask.shape, SMALL.hidden_size), generator=torch.Generator().manual_seed(seed))[mask]
    gradients = {}
    for encoder.packed in (True, False):
        encoder.zero_grad()
        (encoder(ids, mask)[mask] * wanted).sum().backward()
        gradients[encoder.packed] = {
            name: parameter.grad.clone() for name, parameter in encoder.named_parameters() if parameter.grad is not None
        }
    assert gradients[True].keys() == dict(encoder.named_parameters()).keys()
    for name, gradient in gradients[True].items():
        assert (gradient - gradients[False][name]).norm() <= 1e-5 * gradients[False][name].norm() + 1e-6, name


def test_packed_padding_is_zero_and_packing_is_chosen_where_rows_are_padded() -> None:
    encoder = network()
    ids, mask = batch([9, 3, 1], 0)
    chosen = encoder(ids, mask)
    assert (chosen[~mask] == 0).all()
    encoder.packed = True
    assert torch.equal(encoder(ids, mask), chosen)
    full, everywhere = batch([5, 5], 0)
    encoder.packed = None
    by_choice = encoder(full, everywhere)
    encoder.packed = False
    assert torch.equal(encoder(full, everywhere), by_choice)


def test_a_graph_that_is_exported_takes_any_rows() -> None:
    encoder = network()
    ids, mask = batch([9, 3, 1], 0)
    rows, length = torch.export.Dim("rows", min=2, max=64), torch.export.Dim("length", min=2, max=64)
    shapes = {"input_ids": {0: rows, 1: length}, "attention_mask": {0: rows, 1: length}}
    exported = torch.export.export(encoder, (ids, mask), dynamic_shapes=shapes).module()
    for lengths in ([9, 3, 1], [1, 12], [2, 2, 2, 2]):
        ids, mask = batch(lengths, 1)
        torch.testing.assert_close(exported(ids, mask)[mask], encoder(ids, mask)[mask], atol=1e-5, rtol=0)


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
