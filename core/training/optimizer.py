"""Optimizer step: gradients accumulated over micro-batches, clipping, AdamW with rates per layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.nn.losses import PriceNetwork
from core.nn.precision import Settled, autocast
from core.protocols.architecture import ALONE, Group
from core.training.batching import Batch
from core.training.trainer_config import TrainerConfig

_SPARSE_FROM = 2**20
"""Weights of an embedding from which on a processor gathers only the rows that a batch touched: filling 12 million zeros per
pass took a tenth of MiniLM's step."""


class Optimiser:
    """AdamW with gradient clipping, in mixed precision, over the weights of `network` that learn, each at its own rate.

    Steps whose loss or gradient is not finite change nothing; with fp16 they also lower the scaler's factor.
    The processes of a group add up their gradients, and then all make the same movement.
    """

    def __init__(
        self, network: PriceNetwork, config: TrainerConfig, device: str, precision: Settled, group: Group = ALONE
    ) -> None:
        self.network, self.device, self.precision, self.group = network, device, precision, group
        self.loss, self.gradient_norm = config.row_loss(), config.gradient_norm
        learning = {name: weights for name, weights in network.named_parameters() if weights.requires_grad}
        self.learning = list(learning.values())
        if device == "cpu":
            _gather_sparsely(network)
        self.adamw = torch.optim.AdamW(_groups(learning, network.rates(), config.weight_decay), fused=True)
        self.scaler = torch.amp.GradScaler(device.partition(":")[0], enabled=precision == "fp16")

    def step(self, batches: Iterable[Batch], rows: int, learning_rate: float) -> float:
        """Moves the weights by the mean gradient of `rows` rows; returns their mean loss, NaN where the step was left out.

        In a group, `batches` are this process's part of these rows. Where the memory of one does not hold a pass, all of them
        raise an error that `out_of_memory` knows.
        """
        self.adamw.zero_grad(set_to_none=True)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate * group["factor"]
        total = self._gradients(batches, rows)
        if self.group.size == 1:
            return self._move(total)
        try:
            self.group.add_gradients(self.learning)
            return self._move(self.group.add(total))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            # The others have moved or are about to: there is no taking this step again.
            raise UserError(
                "out of memory while the processes of a training added up their gradients",
                code="out-of-memory-gradients",
                hint="lower tokens_per_pass, or choose a smaller encoder",
            ) from error

    def _gradients(self, batches: Iterable[Batch], rows: int) -> Tensor:
        """This process's gradients, dense, and its share of the mean loss."""
        total = torch.zeros((), device=self.device)
        failure: RuntimeError | MemoryError | None = None
        try:
            # One context for all passes, so that the weights are cast once per step and not once per pass.
            with autocast(self.precision, self.device):
                for batch in batches:
                    total += self._pass(batch, rows)
            for weights in self.learning:
                if weights.grad is not None and weights.grad.is_sparse:
                    weights.grad = weights.grad.to_dense()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            failure = error
        if self.group.any(failure is not None):
            raise failure or MemoryError("another process of this training ran out of memory")
        return total

    def _move(self, total: Tensor) -> float:
        """Moves the weights by their gradients; returns the mean loss `total`, NaN where they were not moved."""
        self.scaler.unscale_(self.adamw)
        norm = nn.utils.clip_grad_norm_(self.learning, self.gradient_norm)
        # The one time that a step waits for the device.
        mean, size = torch.stack([total, norm.to(total.dtype)]).tolist()
        finite = math.isfinite(mean) and math.isfinite(size)
        if finite:
            self.scaler.step(self.adamw)
        if self.scaler.is_enabled():
            self.scaler.update()
        return mean if finite else math.nan

    def _pass(self, batch: Batch, rows: int) -> Tensor:
        """Adds the gradient of these rows' share of the mean loss of `rows` rows; returns that share."""
        given = batch.to(self.device)
        assert given.targets is not None, "rows to train on have prices"
        outputs = self.network(**given.inputs)
        with torch.autocast(self.device.partition(":")[0], enabled=False):
            loss = self.network.loss(outputs.float(), given.targets, self.loss).sum() / rows
            self.scaler.scale(loss).backward()
        return loss.detach()

    def drop_gradients(self) -> None:
        """Frees the gradients of a step that ran out of memory."""
        self.adamw.zero_grad(set_to_none=True)
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """AdamW's moments and step counts, by `weight number.name`."""
        for number, state in self.adamw.state_dict()["state"].items():
            for name, tensor in state.items():
                yield f"{number}.{name}", tensor

    def scaling(self) -> dict[str, Any]:
        """The scaler's state, JSON-ready."""
        return dict(self.scaler.state_dict())

    def restore(self, tensors: Mapping[str, Tensor], scaling: Mapping[str, Any]) -> None:
        """Takes back what `tensors` and `scaling` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = tensor
        self.adamw.load_state_dict({"state": state, "param_groups": self.adamw.state_dict()["param_groups"]})
        if scaling:
            self.scaler.load_state_dict(dict(scaling))


def out_of_memory(error: BaseException) -> bool:
    """True if the error says that memory ran out, on the device or beside it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def _groups(
    learning: Mapping[str, nn.Parameter], rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """By rate. Matrices are decayed; norms, biases and other vectors are not."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weights in learning.items():
        groups.setdefault((rates.get(name, 1.0), weights.ndim >= 2), []).append(weights)
    return [
        {"params": groups[factor, decayed], "factor": factor, "weight_decay": weight_decay if decayed else 0.0}
        for factor, decayed in sorted(groups, reverse=True)
    ]


def _gather_sparsely(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Embedding) and module.weight.numel() >= _SPARSE_FROM:
            module.sparse = True
