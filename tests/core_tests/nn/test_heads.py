"""The branch of the fields, and what heads say of a price."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.fields.field_inputs import UNKNOWN
from core.nn import losses
from core.nn.heads import FieldBranch, HeadName, Pooling, PriceHead

PRICES = np.array([1.5, 4.0, 20.0, 21.0, 90.0])
TARGETS = torch.from_numpy(losses.targets(PRICES)).float()
HUBER = losses.Huber()


def head(kind: HeadName) -> PriceHead:
    torch.manual_seed(0)
    made = PriceHead(6, 8, 1, 0.0, kind, 16)
    made.start_at(PRICES)
    return made


def states() -> Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kind", "shape"), [("point", (5,)), ("bins", (5, 16)), ("both", (5, 17))])
def test_every_head_learns_the_prices_of_a_few_rows(kind: HeadName, shape: tuple[int, ...]) -> None:
    made = head(kind)
    assert made(states()).shape == shape
    steps = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(300):
        steps.zero_grad()
        loss = made.loss(made(states()), TARGETS, HUBER)
        assert loss.shape == (5,)
        loss.mean().backward()
        steps.step()
    prices = losses.prices(made.point(made(states()).detach()).numpy())
    assert np.abs(np.log(prices / PRICES)).max() < 0.25


def test_both_heads_answer_with_their_mean() -> None:
    made = head("both")
    outputs = made(states()).detach()
    of_bins = torch.log1p(made.bins.point(made.logits(outputs)).exp())  # type: ignore[union-attr]
    torch.testing.assert_close(made.point(outputs), (outputs[:, 0] + of_bins) / 2)


def test_the_last_state_is_that_of_the_last_token() -> None:
    rows = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[True, True, True, True], [True, False, False, False], [True, True, False, False]])
    pooled = Pooling("last", 6)(rows, mask)
    assert torch.equal(pooled, torch.stack([rows[0, 3], rows[1, 0], rows[2, 1]]))


def test_words_are_hidden_in_training_alone() -> None:
    branch = FieldBranch(3, 4, 0.5, 0.0)
    numbers, words = torch.randn(400, 3), torch.full((400, 4), 7)
    seen: list[Tensor] = []
    assert branch.words is not None
    branch.words.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    branch.train()(numbers, words)
    branch.eval()(numbers, words)
    assert 0.4 < (seen[0] == UNKNOWN).double().mean() < 0.6
    assert set(seen[0].unique().tolist()) == {UNKNOWN, 7}
    assert torch.equal(seen[1], words)


class Whole(nn.Module):
    """As a service would export it: from states and fields to z."""

    def __init__(self, kind: HeadName) -> None:
        super().__init__()
        self.branch = FieldBranch(3, 4, 0.1, 0.1)
        self.head = PriceHead(6 + FieldBranch.WIDTH, 8, 1, 0.1, kind, 16)
        self.head.start_at(PRICES)

    def forward(self, state: Tensor, numbers: Tensor, words: Tensor) -> Tensor:
        return self.head.point(self.head(torch.cat([state, self.branch(numbers, words)], dim=1)))


@pytest.mark.parametrize("kind", ["point", "both"])
def test_a_graph_of_branch_and_head_gives_the_same_prices(kind: HeadName) -> None:
    torch.manual_seed(0)
    whole = Whole(kind).eval()

    def rows(count: int) -> tuple[Tensor, ...]:
        return torch.randn(count, 6), torch.randn(count, 3), torch.randint(0, 4_096, (count, 4))

    batch = torch.export.Dim("batch")
    exported = torch.export.export(whole, rows(3), dynamic_shapes=({0: batch},) * 3).module()
    given = rows(7)
    torch.testing.assert_close(exported(*given), whole(*given))


@pytest.mark.parametrize("kind", ["point", "bins", "both"])
def test_what_is_described_is_the_point_and_shares_of_one(kind: HeadName) -> None:
    made = head(kind)
    outputs = made(states()).detach()
    said = made.describe(outputs)
    assert said.shape == (5, made.described)
    torch.testing.assert_close(said[:, 0], made.point(outputs))
    if kind != "point":
        torch.testing.assert_close(said[:, 1:].sum(dim=1), torch.ones(5))
