"""How one network learns, in three levels: `fit` runs epochs, `_epoch` runs batches, `_step` moves the weights once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from core import checkpoint, losses
from core.architectures.base import Config, Context
from core.catalog import Strings
from core.errors import OutOfTime, UserError
from core.metrics import all_metrics
from core.precision import PrecisionName, Settled, autocast, choose, has_fast_bf16
from core.tokens import Rows, micro_batches, training_batches

_CHECKPOINT = "best"
_PATIENCE_WITH_BAD_STEPS = 10


class TrainerConfig(Config):
    """What the trainer needs to know. A float without a unit is a plain factor."""

    learning_rate: float = Field(2e-5, gt=0, le=1, description="highest, after warm-up")
    batch_size: int = Field(64, ge=1, le=65_536, description="rows per step")
    weight_decay: float = Field(0.03, ge=0, le=1, description="AdamW's; norms and biases have none")
    epochs: int = Field(20, ge=1, le=10_000, description="passes over the rows on which the schedule is laid out")
    stop_epoch: int | None = Field(None, ge=1, description="stop after this epoch of that schedule")
    patience: int = Field(4, ge=1, description="epochs without a better SMAPE before stopping")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising learning rate")
    gradient_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this")
    loss: losses.LossName = "smape"
    smape_weight: float = Field(0.5, ge=0, le=1, description="share of SMAPE in smape_huber")
    precision: PrecisionName = "auto"

    def without_effect(self) -> set[str]:
        return set() if self.loss == "smape_huber" else {"smape_weight"}


@dataclass(frozen=True)
class Batch:
    """inputs: keyword arguments of the network. targets: (B,) log1p prices, None for rows to be predicted."""

    inputs: Mapping[str, Tensor]
    targets: Tensor | None


class Examples(Protocol):
    """Rows as a network takes them. ids: (n,) sample ids. prices: (n,) or None. lengths: (n,) tokens per row."""

    @property
    def ids(self) -> Strings: ...

    @property
    def prices(self) -> NDArray[np.float64] | None: ...

    @property
    def lengths(self) -> NDArray[np.int64]: ...

    def batch(self, rows: Rows, generator: torch.Generator | None) -> Batch:
        """These rows, in this order; a generator asks for training's random changes."""


def tokens_per_pass(device: str) -> int:
    """How many tokens go through the network at once; memory in training grows with it."""
    return 4_096 if device == "cpu" else 65_536


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the highest learning rate at `step` (from 0) of `steps`: linear rise over the first `warmup`, linear fall."""
    rising = int(np.ceil(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(1, steps - rising)


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """At most so many processor threads inside; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(context: Context) -> Iterator[None]:
    """Random numbers from the context's seed, on its number of threads; the caller's own go on unchanged afterwards."""
    devices = [torch.device(context.device)] if context.device.startswith("cuda") else []
    with torch_threads(context.threads), torch.random.fork_rng(devices=devices):
        torch.manual_seed(context.seed)
        yield


def fit(network: nn.Module, train: Examples, valid: Examples | None, config: TrainerConfig, context: Context) -> int:
    """Trains `network` in place and returns the epoch (from 1) whose weights it is left with.

    Each epoch is reported: SMAPE, MAE, RMSE and R2 of `valid` on the price scale, mean training loss (absent where no step
    had a finite one) and seconds.

    With `valid`: the epoch with the lowest SMAPE there; training stops after `patience` epochs without a better one.
    Without: the last epoch, `stop_epoch` or `epochs`. At the deadline the best so far stays.
    Raises OutOfTime where there is none, and where there are no rows to tell which is best;
    UserError after ten steps in a row without a finite loss.
    """
    network.to(context.device)
    run = _Run(network, train, config, context)
    best, best_smape = 0, float("inf")
    for epoch in range(1, (config.stop_epoch or config.epochs) + 1):
        started = time.perf_counter()
        finished = run.epoch()
        if not finished and (epoch == 1 or valid is None):
            # Without rows to judge on, half a schedule cannot be told from a whole one: it must not pass for a member's fold.
            raise OutOfTime(f"out of time in epoch {epoch} of a training")
        if valid is None:
            best = epoch
        elif finished:
            metrics = _evaluate(network, valid, run)
            if metrics["smape"] < best_smape:
                best, best_smape = epoch, metrics["smape"]
                checkpoint.write(context.folder, _CHECKPOINT, network, {"epoch": epoch, **metrics})
            context.report(epoch, {**metrics, **run.mean_loss, "seconds": time.perf_counter() - started})
        if not finished or (valid is not None and epoch - best >= config.patience):
            break
    if valid is not None:
        weights, _ = checkpoint.read(context.folder, _CHECKPOINT)
        network.load_state_dict(weights)
        checkpoint.remove(context.folder, _CHECKPOINT)
    return best


def predict(network: nn.Module, examples: Examples, config: TrainerConfig, device: str) -> NDArray[np.float64]:
    """(n,) prices in currency units. Rows run in parts of similar length; no row depends on another.

    Raises UserError that names the rows whose price came out NaN or infinite.
    """
    network.to(device).eval()
    settled = _settle(network, config, device)
    z = np.zeros(len(examples.ids))
    with torch.inference_mode(), autocast(settled, device):
        for rows in micro_batches(np.arange(len(z)), examples.lengths, tokens_per_pass(device)):
            z[rows] = network(**_moved(examples.batch(rows, None).inputs, device)).double().cpu().numpy()
    if not np.isfinite(z).all():
        raise _not_finite("the predicted prices are not numbers", examples.ids[~np.isfinite(z)])
    return losses.prices(z)


class _Run:
    """The moving parts of one training: optimizer, schedule, random numbers, counters."""

    def __init__(self, network: nn.Module, examples: Examples, config: TrainerConfig, context: Context) -> None:
        self.network, self.examples, self.config, self.context = network, examples, config, context
        self.loss = losses.loss_function(config.loss, config.smape_weight)
        groups = _parameter_groups(network, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.precision = _settle(network, config, context.device)
        self.scaler = torch.amp.GradScaler(context.device.partition(":")[0], enabled=self.precision == "fp16")
        self.generator = torch.Generator().manual_seed(context.seed)
        self.steps = config.epochs * -(-len(examples.ids) // config.batch_size)
        self.step = 0
        self.bad_in_a_row = 0
        self.mean_loss: dict[str, float] = {}

    def epoch(self) -> bool:
        """One pass over the rows; false if the deadline cut it short."""
        self.network.train()
        losses_of_steps: list[float] = []
        for rows in training_batches(self.examples.lengths, self.config.batch_size, self.generator):
            if self.context.out_of_time:
                return False
            factor = schedule(self.step, self.steps, self.config.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * factor
            loss = self._step(rows)
            self.step += 1
            self._count(loss, rows)
            losses_of_steps.append(loss)
        finite = [loss for loss in losses_of_steps if np.isfinite(loss)]
        self.mean_loss = {"loss": float(np.mean(finite))} if finite else {}
        return True

    def _step(self, rows: Rows) -> float:
        """Moves the weights by the mean gradient of these rows, unless it is not finite; returns the mean loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in micro_batches(rows, self.examples.lengths, tokens_per_pass(self.context.device)):
            batch = self.examples.batch(part, self.generator)
            assert batch.targets is not None, "rows to train on have prices"
            with autocast(self.precision, self.context.device):
                z = self.network(**_moved(batch.inputs, self.context.device))
            loss = self.loss(z.float(), batch.targets.to(self.context.device)).sum() / len(rows)
            total += loss.item()
            if not np.isfinite(total):
                return total
            self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_norm).item()
        if np.isfinite(norm) or self.scaler.is_enabled():
            # With fp16 the scaler itself leaves out a step that overflowed, and lowers its factor.
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return total if np.isfinite(norm) else norm

    def _count(self, loss: float, rows: Rows) -> None:
        if np.isfinite(loss):
            self.bad_in_a_row = 0
            return
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= _PATIENCE_WITH_BAD_STEPS:
            what = f"{self.bad_in_a_row} training steps in a row had a loss or gradient that is not a number"
            raise _not_finite(what, self.examples.ids[rows])


def _evaluate(network: nn.Module, valid: Examples, run: _Run) -> dict[str, float]:
    assert valid.prices is not None, "rows to be judged on have prices"
    return all_metrics(valid.prices, predict(network, valid, run.config, run.context.device))


def _settle(network: nn.Module, config: TrainerConfig, device: str) -> Settled:
    size = sum(weights.numel() for weights in network.parameters())
    return choose(config.precision, device, size, fast_bf16=has_fast_bf16(device))


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices are decayed; norms, biases and other vectors are not."""
    learning = [weights for weights in network.parameters() if weights.requires_grad]
    return [
        {"params": [weights for weights in learning if weights.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weights for weights in learning if weights.ndim < 2], "weight_decay": 0.0},
    ]


def _moved(inputs: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}


def _not_finite(what: str, ids: Strings) -> UserError:
    return UserError(
        f"{what}, last for sample_id {', '.join(map(str, ids[:5]))}",
        cure="lower learning_rate, choose loss=huber or precision=fp32, and look at these rows",
    )
