"""Hardware detection: cores, memory and GPU of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """cores: usable processor cores. memory: bytes. device: `cuda`, `mps` or `cpu`. gpus: how many."""

    cores: int
    memory: int
    device: str
    gpus: int

    @property
    def has_gpu(self) -> bool:
        return self.gpus > 0


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def detect() -> Machine:
    """Detects this machine. Imports torch, because only torch can tell whether it can use the GPU."""
    import torch

    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if torch.cuda.is_available():
        return Machine(cores, memory, "cuda", torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return Machine(cores, memory, "mps", 1)
    return Machine(cores, memory, "cpu", 0)
