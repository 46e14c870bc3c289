"""Dropout that costs a processor little: PyTorch draws its random numbers one by one on one core.

Measured on two cores, MiniLM, 32 rows of 143 tokens: 0.40 s of a training step of 1.05 s with PyTorch's, 0.06 s with this.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 2**16
_LARGE = 2**14
"""Elements from which on it is faster; below, PyTorch's own draws are."""


class Dropout(nn.Dropout):
    """`nn.Dropout` with the same meaning; on a processor, `p` is rounded to 1/65,536 and one draw seeds 16-bit lots for all.

    The seed comes from PyTorch's generator, so that whoever restores that generator's state gets the same units dropped.
    """

    def forward(self, x: Tensor) -> Tensor:
        fast = x.device.type == "cpu" and x.numel() >= _LARGE and not torch.compiler.is_compiling()
        if not (fast and self.training and 0.0 < self.p < 1.0):
            return super().forward(x)
        dropped = round(self.p * _STEPS)
        lots = np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(-(-x.numel() // 4)).view(np.int16)
        kept = torch.from_numpy(lots[: x.numel()]).view(x.shape) >= dropped - _STEPS // 2
        return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))


def quicken(module: nn.Module) -> nn.Module:
    """Replaces every `nn.Dropout` inside `module` (in place, returned) by `Dropout` with the same probability and mode."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, Dropout(child.p).train(child.training))
        else:
            quicken(child)
    return module
