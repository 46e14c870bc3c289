"""Attention against PyTorch's own, padded and packed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from core.nn.attention import attend, attend_packed, pack, packing_pays, plain_pays

HEADS, WIDTH = 3, 8
several_lengths = st.lists(st.integers(0, 24), min_size=1, max_size=7).filter(any)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def three(length: int, seed: int, rows: int = 2) -> list[Tensor]:
    return [normal(rows, HEADS, length, WIDTH, seed=seed + part) for part in range(3)]


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 300),
    kept=st.integers(1, 300),
    scale=st.none() | st.floats(0.01, 1.0),
    masked=st.booleans(),
    seed=st.integers(0, 999),
)
def test_plain_products_are_pytorchs_attention(
    length: int, kept: int, scale: float | None, masked: bool, seed: int
) -> None:
    q, k, v = three(length, seed)
    mask = (torch.arange(length) < min(kept, length))[None, None, None] if masked else None
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    torch.testing.assert_close(attend(q, k, v, mask, scale), wanted, atol=1e-5, rtol=0)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask, scale)
    assert half.dtype == torch.bfloat16
    assert relative(half, wanted) < 0.02


def test_gradients_of_plain_products_are_pytorchs() -> None:
    mask = mask_of([40, 7])[:, None, None]
    found, wanted = (
        [each.to(kind).requires_grad_() for each in three(40, 0)] for kind in (torch.bfloat16, torch.float32)
    )
    assert plain_pays(found[0])
    attend(*found, mask).float().square().sum().backward()
    F.scaled_dot_product_attention(*wanted, attn_mask=mask).square().sum().backward()
    for mine, reference in zip(found, wanted, strict=True):
        assert mine.grad is not None
        assert reference.grad is not None
        assert relative(mine.grad, reference.grad) < 0.03


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_queries_that_may_look_nowhere_harm_no_others(dtype: torch.dtype) -> None:
    """As padding behind a window of ModernBERT's local layers."""
    mask = mask_of([40, 7])[:, None, None] & torch.ones(40, 40).triu(-3).tril(3).bool()
    assert not mask.any(dim=-1).all()
    q, k, v = (each.to(dtype).requires_grad_() for each in three(40, 0))
    states = attend(q, k, v, mask)
    assert torch.isfinite(states).all()
    torch.where(mask.any(dim=-1, keepdim=True), states.float(), 0.0).square().sum().backward()
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in (q, k, v))


@settings(deadline=None, max_examples=60)
@given(lengths=several_lengths)
def test_a_packing_says_where_every_token_stands(lengths: list[int]) -> None:
    mask = mask_of(lengths)
    packing = pack(mask)
    there = [length for length in lengths if length]
    assert packing.lengths == there
    assert packing.bounds.tolist() == [sum(there[:count]) for count in range(len(there) + 1)]
    assert packing.bounds.dtype == torch.int32
    assert packing.positions.tolist() == [position for length in there for position in range(length)]
    assert packing.index.tolist() == [
        row * max(lengths) + position for row, length in enumerate(lengths) for position in range(length)
    ]


@settings(deadline=None, max_examples=15)
@given(lengths=several_lengths, seed=st.integers(0, 999))
def test_packed_sequences_do_not_see_each_other(lengths: list[int], seed: int) -> None:
    mask = mask_of(lengths)
    q, k, v = three(max(lengths), seed, rows=len(lengths))
    packing = pack(mask)
    packed = [each.transpose(1, 2).flatten(0, 1)[packing.index] for each in (q, k, v)]
    found = attend_packed(*packed, packing)
    alone = [
        F.scaled_dot_product_attention(*(each[row : row + 1, :, :length] for each in (q, k, v)))[0].transpose(0, 1)
        for row, length in enumerate(lengths)
    ]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=0)
    half = attend_packed(*(each.bfloat16() for each in packed), packing)
    assert relative(half, torch.cat(alone)) < 0.02


@pytest.mark.parametrize(
    ("lengths", "pays"), [([8, 8], False), ([100, 99], False), ([8, 4], True), ([100, 90], True), ([1], False)]
)
def test_packing_pays_on_a_processor_where_there_is_padding_to_save(lengths: list[int], pays: bool) -> None:
    assert packing_pays(mask_of(lengths), half=False) is pays


@pytest.mark.parametrize(
    ("dtype", "length", "pays"),
    [(torch.bfloat16, 128, True), (torch.bfloat16, 2000, False), (torch.float32, 128, False)],
)
def test_plain_products_pay_for_short_rows_in_bf16(dtype: torch.dtype, length: int, pays: bool) -> None:
    assert plain_pays(torch.zeros(1, 1, length, 4, dtype=dtype)) is pays
