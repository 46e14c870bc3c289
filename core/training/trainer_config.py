"""Trainer settings shared by neural architectures, and the learning-rate schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, create_model

from core.nn.losses import LOSSES, Loss, loss_parameters, make_loss
from core.nn.precision import PrecisionName
from core.protocols.architecture import Config

if TYPE_CHECKING:

    class LossConfig(Config):
        """Settings `loss` and those that the losses declare."""

        loss: str = "huber"

else:
    LossConfig = create_model(
        "LossConfig",
        __base__=Config,
        loss=(Literal[tuple(LOSSES)], "huber"),
        **{name: (field.annotation, field) for name, field in loss_parameters().items()},
    )


class TrainerConfig(LossConfig):
    """Settings of the trainer. A float without a unit is a plain factor."""

    not_learnt: ClassVar[frozenset[str]] = frozenset(
        {"loader_workers", "loader_prefetch", "loader_timeout", "tokens_per_pass", "compile"}
    )

    learning_rate: float = Field(2e-5, gt=0, le=1, description="highest, after warm-up")
    batch_size: int = Field(64, ge=1, le=65_536, description="rows per step")
    weight_decay: float = Field(0.03, ge=0, le=1, description="AdamW's; norms and biases have none")
    epochs: int = Field(20, ge=1, le=10_000, description="passes over the rows on which the schedule is laid out")
    stop_epoch: int | None = Field(None, ge=1, description="stop after this epoch of that schedule")
    patience: int = Field(4, ge=1, description="epochs without a better SMAPE before stopping")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising learning rate")
    gradient_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this")
    precision: PrecisionName = "auto"
    compile: bool = Field(False, description="compile the network with torch.compile: minutes once, faster steps after")
    tokens_per_pass: int | None = Field(None, ge=1, description="tokens through the network at once; null: by device")
    loader_workers: int | None = Field(None, ge=0, le=64, description="processes that make batches; null: by device")
    loader_prefetch: int | None = Field(None, ge=1, le=64, description="batches each makes ahead; null: by device")
    loader_timeout: float = Field(120.0, gt=0, description="seconds after which a silent one is replaced")

    def without_effect(self) -> dict[str, str]:
        others = loss_parameters().keys() - LOSSES[self.loss].model_fields.keys()
        return dict.fromkeys(sorted(others), f"with loss={self.loss}")

    def row_loss(self) -> Loss:
        """The loss that `loss` names, with its parameters."""
        return make_loss(self.loss, dict(self))

    def memory_key(self) -> str:
        """Readable key of what decides a token's memory: encoders, length, which of them learn."""
        return type(self).__name__


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the highest learning rate at `step` (from 0) of `steps`: linear rise over the first `warmup`, linear fall."""
    rising = int(np.ceil(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(1, steps - rising)
