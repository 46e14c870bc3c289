"""Training precision: picks fp32, bf16 or fp16 for a device (auto), autocasts, and runs forward passes in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import torch

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
Settled = Literal["fp32", "bf16", "fp16"]

# Below this size the casts cost more than the matrix products gain on a processor.
_LARGE = 10_000_000

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose(asked: PrecisionName, device: str, parameters: float, *, fast_bf16: bool) -> tuple[Settled, str]:
    """(format, reason): the one asked for, or for `auto`: on CUDA bf16 where it is fast and fp16 elsewhere; on a processor
    bf16 where it has instructions for it and the network is large; fp32 otherwise."""
    if asked != "auto":
        return asked, "named"
    kind = device.partition(":")[0]
    if kind == "cuda":
        return (
            ("bf16", "auto: the GPU multiplies it in hardware")
            if fast_bf16
            else ("fp16", "auto: the GPU has no fast bf16")
        )
    if kind != "cpu" or not fast_bf16:
        return (
            "fp32",
            f"auto: the {'processor' if kind == 'cpu' else 'device'} has no instructions for bf16 that are used here",
        )
    if parameters < _LARGE:
        return "fp32", "auto: for so small an encoder the casts cost more than bf16 gains"
    return "bf16", "auto: the processor multiplies it in hardware"


def has_fast_bf16(device: str) -> bool:
    """True if this device multiplies bf16 matrices in hardware."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def autocast(precision: Settled, device: str) -> AbstractContextManager[object]:
    """The context in which a forward pass runs in this format."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=_TYPES[precision])


In = TypeVar("In")
Out = TypeVar("Out")


def side_by_side(work: Callable[[In], Out], items: Sequence[In], threads: int) -> Iterator[tuple[In, Out]]:
    """(item, work(item)) in order; `threads` run at once, and few results wait at any time.

    Whatever `work` raises comes out here. PyTorch's number of threads is afterwards what it was.
    """
    before = torch.get_num_threads()
    begun: deque[tuple[In, Future[Out]]] = deque()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                begun.append((item, pool.submit(work, item)))
                if len(begun) > 2 * threads:
                    yield _done(*begun.popleft())
            while begun:
                yield _done(*begun.popleft())
    finally:
        for _, left in begun:
            left.cancel()
        torch.set_num_threads(before)  # what a worker sets would hold for every thread that is yet to start


def _done(item: In, future: Future[Out]) -> tuple[In, Out]:
    return item, future.result()
