"""Training loop: `fit` runs epochs with early stopping, `Training.epoch` runs steps.

A training can be killed at any moment: started again in the same folder it goes on from its last state, and ends as it would
have ended. Steps that go wrong are left out, and where they go on going wrong, the training goes back and learns more slowly.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from core.errors import OutOfTime, UserError
from core.nn.losses import PriceNetwork
from core.protocols.architecture import Context
from core.training.batching import Examples
from core.training.trainer_config import TrainerConfig
from core.training.training import Training


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


def fit(network: PriceNetwork, train: Examples, valid: Examples | None, config: TrainerConfig, context: Context) -> int:
    """Trains `network` in place and returns the epoch (from 1) whose weights it is left with.

    Each epoch is reported: SMAPE, MAE, RMSE and R2 of `valid` on the price scale, mean training loss (absent where no step
    had a finite one), steps left out so far, and seconds. After a resume, earlier epochs are reported again.

    With `valid`: the epoch with the lowest SMAPE there; training stops after `patience` epochs without a better one.
    Without: the last epoch, `stop_epoch` or `epochs`. At the deadline the best so far stays.
    Raises OutOfTime where there is none, and where there are no rows to tell which is best; UserError after ten steps in a
    row without a finite loss, twice, and where memory does not hold a single row.
    """
    network.to(context.device)
    if config.compile:
        _compile(network, context.device)
    training = Training(network, train, valid, config, context)
    training.resume()
    at = training.at
    while at.epoch <= (config.stop_epoch or config.epochs) and not training.patience_is_over:
        if not training.epoch():
            # Without rows to evaluate on, half a schedule looks like a whole one: it must not pass for a member's fold.
            if valid is None or not at.best_epoch:
                raise OutOfTime(f"out of time in epoch {at.epoch} of a training")
            break
        training.evaluate()
    training.finish()
    return at.best_epoch


def _compile(network: nn.Module, device: str) -> None:
    if device == "cpu" and not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise UserError(
            "compile=true needs a C++ compiler on a machine without a GPU, and none is there",
            code="compile-no-compiler",
            hint="install g++, or leave the setting out",
        )
    network.compile(dynamic=True)
