"""Memory of trainings: what is available, the peak of one, and which fit side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from core.cache import size_text

MEMORY_MARGIN = 1.2
"""Measured peaks vary from config to config: a training must fit with this multiple of its expected peak."""
DRIVER_BYTES = 2**30
"""Part of the limit that is kept for the driver and Ray's own processes."""
_SAMPLE_SECONDS = 0.25
_LIMITS = (  # of the control group that this process is in, and what is used of it: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Bytes that can be used on this machine now, a container's limit included."""
    free = int(psutil.virtual_memory().available)
    for limit, used in _LIMITS:
        if Path(limit).exists() and (text := Path(limit).read_text().strip()).isdigit():
            free = min(free, max(0, int(text) - int(Path(used).read_text())))
    return free


class PeakMemory:
    """Peak memory of this process and its children while the block runs: `bytes`, sampled a last time at its end."""

    def __init__(self) -> None:
        self.bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        own = psutil.Process(os.getpid())
        held = own.memory_info().rss
        for child in own.children(recursive=True):
            try:
                held += child.memory_info().rss
            except psutil.NoSuchProcess:  # it ended between the two calls
                continue
        self.bytes = max(self.bytes, held)


class MemoryBudget:
    """Memory limit of a sweep: which trainings fit beside those that run, by estimates until one of its kind was measured.

    limit: bytes for everything, the driver included; None: no limit. estimates: bytes of one training by architecture.
    """

    def __init__(self, limit: int | None, estimates: Mapping[str, int]) -> None:
        self.limit = limit
        self._needs = dict(estimates)
        self._measured: set[str] = set()

    def measure(self, architecture: str, peak: int) -> None:
        """Records the peak of one of the architecture's trainings, in bytes."""
        known = self._needs[architecture] if architecture in self._measured else 0
        self._needs[architecture] = max(known, peak)
        self._measured.add(architecture)

    def fits(self, architecture: str, running: Sequence[str] = ()) -> bool:
        """True if a training of it fits beside trainings of the `running` architectures."""
        if self.limit is None:
            return True
        needed = sum(self._needs[each] for each in (architecture, *running))
        return MEMORY_MARGIN * needed <= self.limit - DRIVER_BYTES

    def sentence(self, architecture: str) -> str:
        """Sentence about an architecture that does not fit alone."""
        assert self.limit is not None, "without a limit everything fits"
        how = "took" if architecture in self._measured else "is expected to take"
        return (
            f"a training {how} {size_text(self._needs[architecture])} of memory, and of {size_text(self.limit)} "
            f"{size_text(DRIVER_BYTES)} are the driver's: left out (--memory)"
        )
