"""The distribution over bins of log price: its labels, its loss, and the point that it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.nn.price_bins import PriceBins, histogram_quantiles
from core.protocols.architecture import LEVELS

PRICES = np.exp(np.random.default_rng(0).normal(3, 1, 500))


def bins(count: int = 24) -> PriceBins:
    torch.manual_seed(0)
    made = PriceBins(5, count)
    made.start_at(PRICES)
    return made


def expected_smape(made: PriceBins, probabilities: np.ndarray, log_price: float) -> float:
    """By summing over a fine grid of each bin."""
    edges = made.edges.double().numpy()
    inside = (np.arange(400) + 0.5) / 400
    prices = edges[:-1, None] + inside * np.diff(edges)[:, None]
    return float(probabilities @ (2 * np.tanh(np.abs(log_price - prices) / 2)).mean(axis=1))


@settings(max_examples=40, deadline=None)
@given(log_price=st.floats(-8, 20))
def test_labels_are_shares_around_the_price(log_price: float) -> None:
    made = bins()
    (labels,) = made.labels(torch.tensor([log_price])).numpy()
    assert labels.min() >= 0
    assert labels.sum() == pytest.approx(1, abs=1e-5)
    edges = made.edges.numpy()
    if edges[2] < log_price < edges[-3]:
        centres = (edges[:-1] + edges[1:]) / 2
        assert labels @ centres == pytest.approx(log_price, abs=0.02)
    else:
        assert int(labels.argmax()) in (0, 1, 2, len(labels) - 3, len(labels) - 2, len(labels) - 1)


def test_the_loss_is_zero_at_the_labels_and_positive_elsewhere() -> None:
    made, logs = bins(), torch.tensor([1.0, 3.3, 50.0])
    at_labels = made.labels(logs).clamp(min=1e-12).log()
    assert made.loss(at_labels, logs).abs().max() < 1e-4
    assert (made.loss(torch.zeros_like(at_labels), logs) > 0.5).all()
    assert torch.isfinite(made.loss(torch.full_like(at_labels, -1e4), logs)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), sharpness=st.floats(0.1, 20))
def test_the_point_has_the_lowest_expected_smape(seed: int, sharpness: float) -> None:
    made = bins()
    logits = sharpness * torch.randn(3, 24, generator=torch.Generator().manual_seed(seed))
    points = made.point(logits).numpy()
    for point, shares in zip(points, logits.double().softmax(dim=1).numpy(), strict=True):
        grid = np.linspace(float(made.edges[0]), float(made.edges[-1]), 1_500)
        best = min(expected_smape(made, shares, place) for place in grid[:: max(1, len(grid) // 300)])
        assert expected_smape(made, shares, point) <= best + 1e-3


def test_a_row_depends_on_itself_alone() -> None:
    made, logits = bins(), torch.randn(7, 24, generator=torch.Generator().manual_seed(1))
    together = made.point(logits)
    torch.testing.assert_close(made.point(logits[[4, 2]]), together[[4, 2]], rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_point_moves_little_when_the_logits_do(seed: int) -> None:
    """As they do by rounding: a peak moves slowly over the bins, and no step of its point is larger than four times its own."""
    made = bins()
    place = torch.linspace(8, 14, 600) + torch.rand(1, generator=torch.Generator().manual_seed(seed))
    logits = -((torch.arange(24) - place[:, None]) ** 2) / 8
    steps = torch.diff(made.point(logits))
    own = (place[1] - place[0]) * (made.edges[1] - made.edges[0])
    assert steps.abs().max() < 4 * own


def test_it_begins_with_the_distribution_of_the_training_prices() -> None:
    made = bins()
    start = made(torch.zeros(1, 5)).softmax(dim=1)[0]
    counts = np.histogram(np.log(PRICES), made.edges.numpy())[0] / len(PRICES)
    assert np.abs(start.detach().numpy() - counts).max() < 0.05
    assert made.edges[0] < np.log(PRICES).min() + 0.5 and made.edges[-1] > np.log(PRICES).max() - 0.5


def test_absurd_prices_do_not_widen_the_bins() -> None:
    made = PriceBins(5, 24)
    made.start_at(np.append(np.tile(PRICES, 4), 1e7))
    assert made.edges[-1] < np.log(PRICES).max() + 1


def test_equal_prices_leave_bins_of_some_width() -> None:
    made = PriceBins(5, 8)
    made.start_at(np.full(30, 9.99))
    assert torch.diff(made.edges).min() > 0.1
    assert torch.isfinite(made(torch.zeros(1, 5))).all()


def test_deciles_of_an_even_histogram_are_evenly_spaced() -> None:
    assert pytest.approx(np.arange(1, 10) / 10) == LEVELS
    found = histogram_quantiles(np.full((2, 4), 0.25), np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert found == pytest.approx(np.tile(4 * np.array(LEVELS), (2, 1)))


def test_a_sure_histogram_has_its_quantiles_in_one_bin() -> None:
    (found,) = histogram_quantiles(np.array([[0.0, 1.0, 0.0]]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert found == pytest.approx(1 + np.array(LEVELS))


@given(arrays.arrays(np.float64, (5, 7), elements=st.floats(1e-6, 1.0)))
def test_quantiles_rise_and_have_their_share_below_them(weights: np.ndarray) -> None:
    shares = weights / weights.sum(axis=1, keepdims=True)
    edges = np.linspace(-1, 3, 8)
    found = histogram_quantiles(shares, edges)
    assert found.shape == (5, 9)
    assert (np.diff(found, axis=1) >= 0).all()
    below = np.cumsum(np.hstack([np.zeros((5, 1)), shares]), axis=1)
    for row, quantiles in zip(below, found, strict=True):
        assert np.interp(quantiles, edges, row) == pytest.approx(LEVELS, abs=1e-6)


def test_no_rows_have_no_quantiles() -> None:
    assert histogram_quantiles(np.zeros((0, 3)), np.arange(4.0)).shape == (0, 9)
