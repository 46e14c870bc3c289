"""A toy that the trainer's tests share: rows whose log price is a linear function of three numbers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.arrays import RowIndices
from core.cache import Cache
from core.data.catalog import Strings
from core.nn import losses
from core.nn.losses import PriceNetwork
from core.protocols.architecture import Context
from core.training.batching import Batch
from core.training.trainer_config import TrainerConfig


class Toy:
    """bad: rows whose inputs are NaN in training. noise: of the inputs in training, as augmentation would be."""

    def __init__(self, n: int = 64, bad: tuple[int, ...] = (), noise: float = 0.0) -> None:
        random = np.random.default_rng(0)
        self.x = random.normal(size=(n, 3)).astype(np.float32)
        self.ids: Strings = np.array([f"row{i}" for i in range(n)], dtype=object)
        self.prices: NDArray[np.float64] | None = np.expm1(3 + self.x @ np.array([0.5, -0.3, 0.2]))
        self.lengths = np.full(n, 8, dtype=np.int64)
        self.bad, self.noise = bad, noise

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        x = torch.from_numpy(self.x[rows].copy())
        if generator is not None:
            x[torch.from_numpy(np.isin(rows, self.bad))] = torch.nan
            x += self.noise * torch.randn(x.shape, generator=generator)
        assert self.prices is not None
        return Batch({"x": x}, torch.from_numpy(losses.targets(self.prices[rows])).float())


class Linear(PriceNetwork):
    """dropout: of the inputs, so that a training also depends on PyTorch's own random state."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.dropout(x)).squeeze(-1)


class Killed(Toy):
    """Kills its process in the middle of the training's `step`-th batch, from 1."""

    def __init__(self, step: int, n: int = 64, noise: float = 0.0) -> None:
        super().__init__(n, noise=noise)
        self.left = step

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        if generator is not None:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(rows, generator)


class Hungry(Linear):
    """Runs out of memory with more than so many rows in one pass, as a large network would."""

    def __init__(self, rows: int) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.rows, self.passes = rows, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        if len(x) > self.rows:
            torch.empty(2**60, dtype=torch.uint8)  # the allocator's own error
        return super().forward(x)


def make(seed: int = 0, dropout: float = 0.0) -> Linear:
    torch.manual_seed(seed)
    return Linear(dropout)


def config(**settings: object) -> TrainerConfig:
    given = {"learning_rate": 0.1, "batch_size": 16, "epochs": 40, "loss": "huber", "weight_decay": 0.0, **settings}
    return TrainerConfig.model_validate(given)


def context(folder: Path, **settings: object) -> Context:
    return Context(0, Cache(folder / "cache"), folder / "run", **settings)  # type: ignore[arg-type]
