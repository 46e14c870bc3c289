"""Hardware detection: cores, memory and GPU of this machine; and how long idle threads spin before they sleep."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

SPIN_LIMITS = {"GOMP_SPINCOUNT": "1000"}
"""Environment variables by which runtimes limit how long a thread that waits for others spins: GNU's OpenMP, in iterations."""
_WAIT_POLICY = "OMP_WAIT_POLICY"
"""OpenMP's own word on it, which a runtime's variable overrides."""


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Sets `SPIN_LIMITS` for this process and its children, and keeps what the user has set.

    A spinning thread holds the core that the thread it waits for needs: beside a busy process a training takes 50 times as long.
    Runtimes read the variables once, when they are loaded, so every package calls this before it imports a library.
    """
    if _WAIT_POLICY not in environment:
        for name, value in SPIN_LIMITS.items():
            environment.setdefault(name, value)


def spin_limits(environment: Mapping[str, str]) -> dict[str, str]:
    """What this process's environment says about spinning, for processes that do not inherit it: workers on other nodes."""
    return {name: environment[name] for name in (_WAIT_POLICY, *SPIN_LIMITS) if name in environment}


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
