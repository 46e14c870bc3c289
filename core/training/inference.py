"""Inference: prices from a trained network, in micro-batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.arrays import RowIndices
from core.data.catalog import Strings
from core.errors import UserError
from core.inputs.tokens import micro_batches
from core.nn import losses
from core.nn.losses import PriceNetwork
from core.nn.precision import Settled, autocast, choose, has_fast_bf16, side_by_side
from core.protocols.architecture import ALONE, Group
from core.training.batching import Examples, MicroBatchSize
from core.training.optimizer import out_of_memory
from core.training.trainer_config import TrainerConfig

log = logging.getLogger(__name__)

_HELD: WeakKeyDictionary[nn.Module, dict[str, int]] = WeakKeyDictionary()
"""Tokens per pass, by network and device, to which a lack of memory has brought predictions: the next begin with so many."""


def predict(
    network: PriceNetwork, examples: Examples, config: TrainerConfig, device: str, group: Group = ALONE
) -> NDArray[np.float64]:
    """(n,) scaled prices. Rows run in parts of similar length; no row depends on another.

    The processes of a group each compute a share of the rows, and all of them get all prices.
    Raises UserError that names the rows whose price came out NaN or infinite, and where memory does not hold one row.
    """
    return prices_of(answers(network, examples, config, device, network.point, group=group), examples.ids)


def prices_of(z: NDArray[np.float64], ids: Strings) -> NDArray[np.float64]:
    """(n,) scaled prices. Raises UserError that names the rows whose z is NaN or infinite."""
    if not np.isfinite(z).all():
        raise non_finite_error("the predicted prices are not numbers", ids[~np.isfinite(z)])
    return losses.prices(z)


def answers(
    network: nn.Module,
    examples: Examples,
    config: TrainerConfig,
    device: str,
    read: Callable[[Tensor], Tensor],
    columns: tuple[int, ...] = (),
    group: Group = ALONE,
) -> NDArray[np.float64]:
    """(n, *columns) values that `read` computes from the network's float32 outputs, row by row.

    The processes of a group each compute a share of the rows, and all of them get all values.
    """
    network.to(device).eval()
    precision, size = settled(network, config, device), MicroBatchSize.by_device(device, config.tokens_per_pass)
    held = _HELD.setdefault(network, {})
    size = replace(size, tokens=min(size.tokens, held.get(device, size.tokens)))

    def answer(part: RowIndices) -> NDArray[np.float64]:
        batch = examples.batch(part, None).to(device)
        with torch.inference_mode():
            with autocast(precision, device):
                outputs = network(**batch.inputs)
            return read(outputs.float()).double().cpu().numpy()

    found = np.zeros((len(examples.ids), *columns))
    own = group.share_of(np.arange(len(found)))
    while True:
        parts = list(micro_batches(own, examples.lengths, size.tokens))
        try:
            # An accelerator gains nothing from passes side by side, which add up their memory.
            for part, one in side_by_side(answer, parts, torch.get_num_threads() if device == "cpu" else 1):
                found[part] = one
            return group.add(torch.from_numpy(found)).numpy()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        size = size.halved(examples.lengths)
        held[device] = size.tokens
        log.warning("out of memory while predicting: from now on %d tokens per pass", size.tokens)


def settled(network: nn.Module, config: TrainerConfig, device: str) -> Settled:
    """The number format in which this network computes there."""
    size = sum(weights.numel() for weights in network.parameters())
    return choose(config.precision, device, size, fast_bf16=has_fast_bf16(device))[0]


def non_finite_error(what: str, ids: Strings) -> UserError:
    """`what`, with the first five of the sample ids it happened to, and what to try."""
    return UserError(
        f"{what}, last for sample_id {', '.join(map(str, ids[:5]))}",
        code="training-not-finite",
        hint="lower learning_rate, choose loss=huber or precision=fp32, and look at these rows",
    )
