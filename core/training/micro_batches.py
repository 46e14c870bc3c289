"""Micro-batch size: tokens per forward pass, halved when memory runs out and remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.atomic_files import read_json, write_json
from core.errors import UserError
from core.nn.precision import Settled
from core.protocols.architecture import Context

_FILE = "passes.json"
_ON_CPU = 2_048
"""Enough for full speed, and the activations of MiniLM's layers still fit the processor's caches: 4,096 were a tenth slower."""
_ON_GPU = 65_536


@dataclass(frozen=True)
class MicroBatchSize:
    """Most tokens of one forward pass, and the file that remembers a smaller number.

    tokens: padding included, unless one row alone has more. path, key: the file and the entry in it.
    """

    tokens: int
    path: Path | None = None
    key: str = ""

    @classmethod
    def by_device(cls, device: str, asked: int | None) -> MicroBatchSize:
        """The size that was asked for, else the device's default."""
        return cls(asked or (_ON_CPU if device == "cpu" else _ON_GPU))

    @classmethod
    def remembered(cls, context: Context, what: str, precision: Settled, asked: int | None) -> MicroBatchSize:
        """As `by_device`, or the smaller size that an earlier training of such a network (`what`) found to fit this device."""
        path, key = context.cache.folder / _FILE, f"{what}, {precision}, {_device_name(context.device)}"
        passes = cls.by_device(context.device, asked)
        known = _read(path).get(key, passes.tokens) if asked is None else passes.tokens
        return cls(min(known, passes.tokens), path, key)

    def halved(self, lengths: NDArray[np.int64]) -> MicroBatchSize:
        """Half the size, remembered. Raises UserError where rows of these lengths (n,) already go through one at a time."""
        if self.tokens < 2 * lengths.min():
            raise UserError(
                f"out of memory with a single row of {lengths.max()} tokens in one pass",
                code="out-of-memory-single-row",
                hint="lower max_length, choose a smaller encoder, freeze it (--set freeze_text=true) or use precision=bf16",
            )
        half = replace(self, tokens=self.tokens // 2)
        if self.path is not None:
            write_json(self.path, {**_read(self.path), self.key: half.tokens})
        return half


def _read(path: Path) -> dict[str, int]:
    found: dict[str, int] = read_json(path) if path.exists() else {}
    return found


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
