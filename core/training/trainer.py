"""Training loop with early stopping: epochs, steps, exact resumption after a kill, recovery from bad steps.

A training can be killed at any moment: started again in the same folder it goes on from its last state, and ends as it would
have ended. Steps that go wrong are left out, and where they go on going wrong, the training goes back and learns more slowly.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.arrays import RowIndices
from core.atomic_files import digest, digest_json
from core.errors import OutOfTime, UserError
from core.inputs.tokens import training_batches
from core.metrics import all_metrics
from core.nn.losses import PriceNetwork
from core.protocols.architecture import Context, Group
from core.training import checkpoint
from core.training.batching import (
    Batch,
    BatchLoader,
    Examples,
    MicroBatchSize,
    TrainingStep,
    generator_at,
    loader_settings,
    plan,
)
from core.training.inference import non_finite_error, predict, settled
from core.training.optimizer import Optimiser, out_of_memory
from core.training.trainer_config import TrainerConfig, schedule

log = logging.getLogger(__name__)

Fed = tuple[TrainingStep, list[Batch]]

_BEST = "best"
_BAD_STEPS = 10
"""So many in a row are no accident."""
_SLOWER = 0.5


@dataclass
class TrainingProgress:
    """Progress of a training; with weights, moments and random states, all that its future depends on.

    epoch: in progress, from 1. batch: steps done of it. step: steps done in all. rate: factor on the learning rate.
    history: what was reported. waited: seconds of this epoch in which the next batch was not there yet.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    tokens: int = 0
    best_epoch: int = 0
    best_smape: float | None = None
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    waited: float = 0.0
    bad_in_a_row: int = 0
    restored: int = 0
    rate: float = 1.0
    history: list[dict[str, float]] = field(default_factory=list)


class Training:
    """One training in progress: network, optimizer, batch loader, and saved states."""

    def __init__(
        self, network: PriceNetwork, train: Examples, valid: Examples | None, config: TrainerConfig, context: Context
    ) -> None:
        self.network, self.train, self.valid, self.config, self.context = network, train, valid, config, context
        self.group = context.group
        self.precision = settled(network, config, context.device)
        self.optimiser = Optimiser(network, config, context.device, self.precision, self.group)
        workers, prefetch = config.loader_workers, config.loader_prefetch
        loading = loader_settings(context.device, context.threads, workers, prefetch, config.loader_timeout)
        self.loader = BatchLoader(train, loading, context.seed, self.group.rank)
        self.steps = config.epochs * -(-len(train.ids) // config.batch_size)
        self.micro_batch = MicroBatchSize.remembered(
            context, config.memory_key(), self.precision, config.tokens_per_pass
        )
        self.at = TrainingProgress()
        self.name = _name(train, valid, config, context)
        self._kept_at = -math.inf
        self._started = time.perf_counter()
        log.info(
            "training %d rows on %s in %s: %d threads, %d tokens per pass, %d loader workers%s",
            len(train.ids), context.device, self.precision, context.threads, self.micro_batch.tokens, loading.workers,
            f", process {self.group.rank + 1} of {self.group.size}" if self.group.size > 1 else "",
        )  # fmt: skip

    @property
    def patience_is_over(self) -> bool:
        return self.valid is not None and self.at.epoch - 1 - self.at.best_epoch >= self.config.patience

    def epoch(self) -> bool:
        """The rest of one pass over the rows; false if the deadline cut it short."""
        self.network.train()
        self._started = time.perf_counter()
        while True:
            order = generator_at(self.context.seed, "epoch", self.at.epoch)
            batches = training_batches(self.train.lengths, self.config.batch_size, order)[self.at.batch :]
            if not batches:
                return True
            steps = plan(batches, self.train.lengths, self.micro_batch.tokens, self.at.step, self.group)
            for step, parts in self._timed(self.loader(steps)):
                late, due = self.group.decide(self.context.out_of_time, self._due)
                if late:
                    return False
                if due:
                    self.save_state()
                if not self._step(parts, step.rows):
                    break  # the steps that were planned are no longer those to take

    def _timed(self, steps: Iterator[Fed]) -> Iterator[Fed]:
        """The same steps; adds the seconds that each was waited for."""
        while True:
            asked = time.perf_counter()
            step = next(steps, None)
            self.at.waited += time.perf_counter() - asked
            if step is None:
                return
            yield step

    def _step(self, parts: list[Batch], rows: RowIndices) -> bool:
        """One step; false where memory or numbers made the plan invalid."""
        at = self.at
        rate = self.config.learning_rate * at.rate * schedule(at.step, self.steps, self.config.warmup)
        try:
            loss = self.optimiser.step(parts, len(rows), rate)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self.optimiser.drop_gradients()
            self.micro_batch = self.micro_batch.halved(self.train.lengths)
            log.warning("out of memory in step %d: from now on %d tokens per pass", at.step, self.micro_batch.tokens)
            return False
        at.step, at.batch = at.step + 1, at.batch + 1
        if math.isfinite(loss):
            at.bad_in_a_row = 0
            at.losses.append(loss)
            return True
        at.skipped, at.bad_in_a_row = at.skipped + 1, at.bad_in_a_row + 1
        if at.bad_in_a_row < _BAD_STEPS:
            return True
        self._restore_state(rows)
        return False

    def _restore_state(self, rows: RowIndices) -> None:
        at = self.at
        if at.restored:
            what = f"{at.bad_in_a_row} training steps in a row had a loss or gradient that is not a number"
            raise non_finite_error(f"{what}, at half the learning rate as before", self.train.ids[rows])
        best, skipped = (at.best_epoch, at.best_smape), at.skipped
        found = self._read_state()
        assert found is not None, "a state is kept before the first step"
        self._load_state(*found)
        at.best_epoch, at.best_smape = best
        at.skipped, at.bad_in_a_row, at.restored, at.rate = skipped, 0, at.restored + 1, at.rate * _SLOWER
        log.warning("%d steps in a row without a finite loss: back to step %d at half the rate", _BAD_STEPS, at.step)

    def evaluate(self) -> None:
        """Ends an epoch: measures it, reports it, and keeps its weights if it is the best."""
        at, seconds = self.at, time.perf_counter() - self._started
        if self.valid is None:
            at.best_epoch = at.epoch
        else:
            assert self.valid.prices is not None, "rows to evaluate on have prices"
            prices = predict(self.network, self.valid, self.config, self.context.device, self.group)
            metrics = all_metrics(self.valid.prices, prices)
            if at.best_smape is None or metrics["smape"] < at.best_smape:
                at.best_epoch, at.best_smape = at.epoch, metrics["smape"]
                record = {"training": self.name, "epoch": at.epoch, **metrics}
                best = partial(checkpoint.write, self.context.folder, _BEST, checkpoint.learnt(self.network), record)
                self.group.lead(best)
            loss = {"loss": float(np.mean(at.losses))} if at.losses else {}
            evaluating = time.perf_counter() - self._started - seconds
            times = {"seconds": seconds, "waiting_seconds": at.waited, "judging_seconds": evaluating}
            at.history.append({**metrics, **loss, "skipped_steps": at.skipped, **times})
            self.group.lead(partial(self.context.report, at.epoch, at.history[-1]))
        at.epoch, at.batch, at.losses, at.waited = at.epoch + 1, 0, [], 0.0
        if self.group.decide(self._due)[0]:
            self.save_state()

    @property
    def _due(self) -> bool:
        """True if the last state is `checkpoint_seconds` old."""
        return time.monotonic() - self._kept_at >= self.context.checkpoint_seconds

    def save_state(self) -> None:
        """Writes weights, moments, random states and progress, to resume from."""
        self.at.tokens = self.micro_batch.tokens
        tensors: dict[str, Tensor] = {f"network.{name}": one for name, one in checkpoint.learnt(self.network).items()}
        tensors |= {f"adamw.{name}": one for name, one in self.optimiser.tensors()}
        tensors |= {f"random.{name}": state for name, state in _random_states(self.context.device, self.group).items()}
        record = {"training": self.name, "scaler": self.optimiser.scaling(), "at": asdict(self.at)}
        self.group.lead(partial(checkpoint.write_state, self.context.folder, self.at.step, tensors, record))
        self._kept_at = time.monotonic()

    def resume(self) -> None:
        """Resumes where an earlier process of the same training was stopped, and reports its epochs again.

        The number of processes may have changed.
        """
        found = self._read_state()
        if found is None:
            self.group.lead(partial(checkpoint.remove_states, self.context.folder))
            self.group.copy(self.optimiser.learning)
            _seed_dropout(self.context.seed, self.group)
            return
        self._load_state(*found)
        self.micro_batch = replace(self.micro_batch, tokens=self.at.tokens)
        log.info("going on in epoch %d at step %d", self.at.epoch, self.at.step)
        for epoch, metrics in enumerate(self.at.history, start=1):
            self.group.lead(partial(self.context.report, epoch, metrics))

    def _read_state(self) -> checkpoint.Saved | None:
        """The newest state whose best epoch's weights are there as well."""
        found = checkpoint.read_state(self.context.folder, self.name) if self.group.leads else None
        if found is not None and not self._has_best(found[1]["at"]):
            found = None
        return checkpoint.shared(self.group, found)

    def _has_best(self, at: Mapping[str, Any]) -> bool:
        if self.valid is None or not at["best_epoch"]:
            return True
        path = self.context.folder / f"{_BEST}.json"
        return path.exists() and checkpoint.read(self.context.folder, _BEST)[1].get("training") == self.name

    def _load_state(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "adamw": {}, "random": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor
        self.network.load_state_dict(parts["network"], strict=False)  # weights that do not learn are not in it
        self.optimiser.restore(parts["adamw"], record["scaler"])
        for name, value in record["at"].items():
            setattr(self.at, name, value)
        own = _random_name("cpu", self.group.rank)
        if own not in parts["random"]:  # the state is of fewer processes
            _seed_dropout(self.context.seed + self.at.step, self.group)
            return
        torch.set_rng_state(parts["random"][own])
        cuda = _random_name("cuda", self.group.rank)
        if cuda in parts["random"]:
            torch.cuda.set_rng_state(parts["random"][cuda], self.context.device)

    def finish(self) -> None:
        """Loads the best epoch's weights, and removes from the folder what only this training needed."""
        if self.valid is not None:
            best = checkpoint.read(self.context.folder, _BEST) if self.group.leads else None
            shared = checkpoint.shared(self.group, best)
            assert shared is not None, "an epoch was evaluated"
            self.network.load_state_dict(shared[0], strict=False)
        self.group.lead(partial(checkpoint.remove_states, self.context.folder))
        self.group.lead(partial(checkpoint.remove, self.context.folder, _BEST))
        if self.at.skipped:
            log.warning("%d of %d steps were left out: loss or gradient not a number", self.at.skipped, self.at.step)


def _name(train: Examples, valid: Examples | None, config: TrainerConfig, context: Context) -> str:
    """Names the training a state belongs to: settings, seed and rows."""
    rows = [
        digest(*map(str, part.ids), np.asarray(part.prices).tobytes()) for part in (train, valid) if part is not None
    ]
    return digest_json([config.canonical(), context.seed, rows])


def _random_states(device: str, group: Group) -> dict[str, Tensor]:
    """Random states of all processes of the group."""
    own = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        own["cuda"] = torch.cuda.get_rng_state(device)
    return {_random_name(kind, rank): one for kind in own for rank, one in enumerate(group.gather(own[kind]))}


def _random_name(kind: str, rank: int) -> str:
    return f"{kind}.{rank}" if rank else kind


def _seed_dropout(seed: int, group: Group) -> None:
    """Seeds dropout differently in each process; the first draws as a training alone does."""
    if group.rank:
        torch.manual_seed(seed + group.rank)


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
        check_compiler(context.device)
        network.compile(dynamic=True)
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


def check_compiler(device: str) -> None:
    """Raises UserError where networks cannot be compiled for that device."""
    if device == "cpu" and not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise UserError(
            "compile=true needs a C++ compiler on a machine without a GPU, and none is there",
            code="compile-no-compiler",
            hint="install g++, or leave the setting out",
        )
