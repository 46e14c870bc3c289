"""Multilayer perceptron on sparse input in NumPy: ReLU layers, Adam, batches that grow from epoch to epoch.

After the winning solution of Mercari's Price Suggestion Challenge (Jankiewicz and Kostin, 2018): few epochs on TF-IDF
input, the batch doubled each epoch, several nets averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.metrics import smape_slope

Floats = NDArray[np.float32]
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class MlpSettings:
    """Training settings of a net. widths: hidden layers. smape_weight: 0 is Huber's loss, 1 the SMAPE alone, of log prices."""

    widths: tuple[int, ...]
    epochs: int
    batch: int
    learning_rate: float
    dropout: float
    weight_decay: float
    smape_weight: float


@dataclass
class Mlp:
    """weights[i]: (inputs, outputs) float32, biases[i]: (outputs,). The last layer has one output, the log price."""

    weights: list[Floats]
    biases: list[Floats]

    def predict(self, inputs: sp.csr_matrix) -> NDArray[np.float64]:
        """Log prices (n,) of inputs (n, d)."""
        state = inputs @ self.weights[0] + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            state = np.maximum(state, 0.0) @ weight + bias
        return state[:, 0].astype(np.float64)


def loss_slope(difference: Floats, smape_weight: float, delta: float = 0.5) -> Floats:
    """Derivative of the loss by the predicted log price at `predicted - true`, (n,).

    (1 - w) * Huber_delta(d) + w * 2 tanh(|d| / 2): the second is a row's SMAPE, whose slope is sign(d) sech^2(d / 2).
    """
    huber = np.clip(difference, -delta, delta)
    smape = np.sign(difference) * smape_slope(difference)
    return (1.0 - smape_weight) * huber + smape_weight * smape


def train_net(
    inputs: sp.csr_matrix,
    log_prices: NDArray[np.float64],
    settings: MlpSettings,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Mlp:
    """A net that maps inputs (n, d) to log prices (n,); the same seed gives the same net.

    `tick` is called before each step and may raise.
    """
    rng = np.random.default_rng(seed)
    inputs, target = inputs.astype(np.float32), log_prices.astype(np.float32)
    net = _initial(inputs.shape[1], settings.widths, float(target.mean()), rng)
    adam = _Adam(net.weights + net.biases)
    batches = [min(settings.batch * 2**epoch, 8 * settings.batch) for epoch in range(settings.epochs)]
    steps = sum(-(-len(target) // batch) for batch in batches)
    for batch in batches:
        order = rng.permutation(len(target))
        for start in range(0, len(order), batch):
            tick()
            rows = order[start : start + batch]
            slopes = _slopes(net, inputs[rows], target[rows], settings, rng)
            rate = settings.learning_rate * min(1.0, 5 * (adam.steps + 1) / steps) * (1.0 - adam.steps / steps)
            adam.step(slopes, rate)
            if settings.weight_decay:
                for weight in net.weights:
                    weight *= np.float32(1.0 - rate * settings.weight_decay)
    return net


def _initial(inputs: int, widths: tuple[int, ...], bias: float, rng: np.random.Generator) -> Mlp:
    """He's initialisation; the input layer as if about 50 inputs were active; the last bias is the mean log price."""
    sizes = (inputs, *widths, 1)
    weights = [
        rng.standard_normal((before, after), dtype=np.float32) * np.float32((2.0 / before) ** 0.5 if layer else 0.1)
        for layer, (before, after) in enumerate(pairwise(sizes))
    ]
    biases = [np.zeros(size, np.float32) for size in sizes[1:]]
    weights[-1] *= np.float32(0.1)
    biases[-1][:] = bias
    return Mlp(weights, biases)


def _slopes(
    net: Mlp, inputs: sp.csr_matrix, target: Floats, settings: MlpSettings, rng: np.random.Generator
) -> list[Floats]:
    """Gradient of the mean loss by every weight, then every bias (backpropagation with inverted dropout)."""
    states: list[Floats] = []
    state = inputs @ net.weights[0] + net.biases[0]
    for weight, bias in zip(net.weights[1:], net.biases[1:], strict=True):
        keep = (rng.random(state.shape, dtype=np.float32) >= settings.dropout) / np.float32(1.0 - settings.dropout)
        states.append(np.maximum(state, 0.0) * keep)
        state = states[-1] @ weight + bias
    slope = (loss_slope(state[:, 0] - target, settings.smape_weight) / np.float32(len(target)))[:, None]
    by_weight, by_bias = [], []
    for layer in range(len(net.weights) - 1, -1, -1):
        by_bias.append(slope.sum(axis=0))
        by_weight.append((states[layer - 1] if layer else inputs).T @ slope)
        if layer:
            # Where a state is positive, state / relu(before dropout) is the dropout's factor: both masks in one.
            slope = (slope @ net.weights[layer].T) * (states[layer - 1] > 0) / np.float32(1.0 - settings.dropout)
    return [np.asarray(s, np.float32) for s in by_weight[::-1] + by_bias[::-1]]


class _Adam:
    """Adam (Kingma and Ba, 2015), in place: fresh arrays as large as the first layer would cost more than the sums."""

    def __init__(self, parameters: list[Floats]) -> None:
        self.parameters = parameters
        self.means, self.squares, self.scratch = ([np.zeros_like(p) for p in parameters] for _ in range(3))
        self.steps = 0

    def step(self, slopes: list[Floats], rate: float) -> None:
        self.steps += 1
        scale = np.float32(rate * (1 - _BETA2**self.steps) ** 0.5 / (1 - _BETA1**self.steps))
        for parameter, slope, mean, square, spare in zip(
            self.parameters, slopes, self.means, self.squares, self.scratch, strict=True
        ):
            mean *= np.float32(_BETA1)
            np.multiply(slope, np.float32(1 - _BETA1), out=spare)
            mean += spare
            square *= np.float32(_BETA2)
            np.square(slope, out=slope)
            slope *= np.float32(1 - _BETA2)
            square += slope
            np.sqrt(square, out=spare)
            spare += np.float32(_EPSILON)
            np.divide(mean, spare, out=spare)
            spare *= scale
            parameter -= spare
