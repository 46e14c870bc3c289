"""Hardware detection: cores, memory and GPU of this machine; and how long idle threads spin before they sleep."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

SPIN_LIMITS = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1", "OPENBLAS_THREAD_TIMEOUT": "20"}
"""Environment variables by which runtimes limit how long a thread that waits for others spins: GNU's OpenMP in iterations,
Intel's and LLVM's in milliseconds (200 by default), OpenBLAS in powers of two of clock cycles (26)."""
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which libraries with threads are told how many they may start."""
_FREE_SECONDS = 0.25
"""Between looks at what other processes use."""
_WAIT_POLICY = "OMP_WAIT_POLICY"
"""OpenMP's own word on it, which a runtime's variable overrides."""


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Sets `SPIN_LIMITS` for this process and its children, and keeps what the user has set.

    A spinning thread holds the core that the thread it waits for needs: beside a busy process a training takes 50 times as long.
    Runtimes read the variables once, when they are loaded, so every package calls this before it imports a library.
    """
    if _WAIT_POLICY in environment:
        return
    if "GOMP_SPINCOUNT" not in environment and (
        late := [name for name in ("lightgbm", "torch") if name in sys.modules]
    ):
        warnings.warn(
            f"{' and '.join(late)} was imported before Pricestack, so its threads spin for long in this process: beside other "
            "work import Pricestack first (docs/troubleshooting.md)",
            RuntimeWarning,
            stacklevel=2,
        )
    for name, value in SPIN_LIMITS.items():
        environment.setdefault(name, value)


def limit_threads(environment: MutableMapping[str, str]) -> None:
    """Sets `THREAD_LIMITS` to the usable cores where a quota allows fewer than libraries count: they know affinity alone."""
    if (cores := usable_cores()) < _affinity():
        for name in THREAD_LIMITS:
            environment.setdefault(name, str(cores))


def spin_limits(environment: Mapping[str, str]) -> dict[str, str]:
    """What this process's environment says about spinning, for processes that do not inherit it: workers on other nodes."""
    return {name: environment[name] for name in (_WAIT_POLICY, *SPIN_LIMITS) if name in environment}


@dataclass(frozen=True)
class Machine:
    """cores: usable processor cores. memory: bytes. device: `cuda`, `mps` or `cpu`. gpus: how many.

    gpu_memory: bytes of the smallest CUDA device; 0: not known.
    """

    cores: int
    memory: int
    device: str
    gpus: int
    gpu_memory: int = 0

    @property
    def has_gpu(self) -> bool:
        return self.gpus > 0


def usable_cores(root: Path = Path("/")) -> int:
    """Processor cores that this process may use: by affinity (`taskset`) and the container's CPU quota, rounded down, at least 1.

    root: of the file systems `/proc` and `/sys`.
    """
    return max(1, math.floor(min(_affinity(), *_quotas(root))))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas in cores of this process's control groups and all groups above them, of version 1 and 2."""
    yield math.inf
    memberships = root / "proc/self/cgroup"
    if not memberships.is_file():
        return
    for line in memberships.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, read = ("unified", "."), _quota_of_version_2
        elif "cpu" in controllers.split(","):
            mounts, read = (controllers, "cpu"), _quota_of_version_1
        else:
            continue
        for mount in (root / "sys/fs/cgroup" / name for name in mounts):
            # A container sees its own group as the mount itself, below which the path that its host knows does not exist.
            below = mount / path.lstrip("/")
            for folder in (below, *below.parents):
                if folder.is_relative_to(mount) and (quota := read(folder)) is not None:
                    yield quota


def _quota_of_version_2(folder: Path) -> float | None:
    file = folder / "cpu.max"
    if not file.is_file():
        return None
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_of_version_1(folder: Path) -> float | None:
    file = folder / "cpu.cfs_quota_us"
    if not file.is_file():
        return None
    quota = int(file.read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


class FreeCores:
    """Cores that this process uses or nobody does, out of those in its affinity; measured every quarter of a second."""

    def __init__(self) -> None:
        self._before, self._count = self._read(), math.inf

    def count(self) -> float:
        """As last measured; infinite before."""
        now = self._read() if time.monotonic() - self._before[0] > _FREE_SECONDS else None
        if now is not None:
            seconds, free = now[0] - self._before[0], now[1] - self._before[1]
            self._before, self._count = now, free / seconds
        return self._count

    @staticmethod
    def _read() -> tuple[float, float]:
        """Now, and seconds that the cores were idle or worked for this process."""
        import psutil

        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        each = psutil.cpu_times(percpu=True)
        chosen = each if own is None or own[-1] >= len(each) else [each[core] for core in own]
        idle = sum(core.idle + getattr(core, "iowait", 0.0) for core in chosen)
        return time.monotonic(), idle + time.process_time()


def busy_note(load: float, cores: int, all_cores: int) -> str | None:
    """Sentence for people where other processes leave fewer than `cores` free; None where they do not.

    load: processes that run or wait to, over the last minute. all_cores: of the machine, of which a container may have some.
    """
    if all_cores - load > 0.75 * cores:
        return None
    return (
        f"this machine is busy (load {load:.1f}, {cores} cores for this sweep): trainings take longer than estimated "
        "(docs/troubleshooting.md)"
    )


def cuda_gpus() -> int:
    """Number of GPUs that CUDA's driver shows this process; without torch, whose import takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


def detect() -> Machine:
    """Detects this machine. Imports torch, because only torch can tell whether it can use the GPU."""
    import torch

    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        smallest = min(torch.cuda.get_device_properties(number).total_memory for number in range(count))
        return Machine(cores, memory, "cuda", count, smallest)
    if torch.backends.mps.is_available():
        return Machine(cores, memory, "mps", 1)
    return Machine(cores, memory, "cpu", 0)
