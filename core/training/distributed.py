"""Process group over torch.distributed: gloo between CPUs, NCCL between GPUs.

Not PyTorch's DistributedDataParallel: it sums gradients while they are computed, for which every rank must make equally many
passes. Here a rank makes as many as its memory wants, and none where a batch has fewer rows than there are ranks; and where one
runs out of memory, all of them still meet and take the step again. The price is that sums do not overlap with passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from core.protocols.architecture import Ended, Group, PeerLost

_BUCKET = 2**24
"""Numbers that are summed at once: few calls, and little memory beside the gradients."""
_CHUNK = 2**28
"""Bytes that are sent at once."""


class TorchGroup(Group):
    """The process group that torch.distributed has initialised."""

    def __init__(self) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        nccl = "nccl" in distributed.get_backend()
        # Where NCCL carries the words, they must be in the GPU's memory.
        self.device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def decide(self, *flags: bool) -> tuple[bool, ...]:
        decided = torch.tensor(flags, dtype=torch.uint8, device=self.device)
        with _meeting():
            distributed.broadcast(decided, 0)
            return tuple(map(bool, decided.tolist()))

    def any(self, flag: bool) -> bool:
        return self.add(torch.tensor(float(flag))).item() > 0

    def lead(self, work: Callable[[], None]) -> None:
        done = False
        try:
            if self.leads:
                work()
            done = True
        finally:
            (done,) = self.decide(done)
        if not done:
            raise Ended

    def add(self, numbers: Tensor) -> Tensor:
        total = numbers.detach().to(self.device, copy=True)
        with _meeting():
            distributed.all_reduce(total)
        return total.to(numbers.device)

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        found = self.add(torch.tensor([weight.grad is not None for weight in weights], dtype=torch.float32)).tolist()
        for bucket in _buckets([weight for weight, ranks in zip(weights, found, strict=True) if ranks]):
            flat = torch.cat([_gradient(weight).reshape(-1) for weight in bucket])
            with _meeting():
                distributed.all_reduce(flat)
            for weight, total in zip(bucket, flat.split([weight.numel() for weight in bucket]), strict=True):
                if weight.grad is None:
                    weight.grad = torch.empty_like(weight)
                weight.grad.copy_(total.view_as(weight))

    def copy(self, weights: Sequence[Tensor]) -> None:
        with _meeting(), torch.no_grad():
            for weight in weights:
                distributed.broadcast(weight, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        own = tensor.to(self.device)
        every = [torch.empty_like(own) for _ in range(self.size)]
        with _meeting():
            distributed.all_gather(every, own)
        return [one.cpu() for one in every]

    def share(self, content: bytes | None) -> bytes | None:
        size = torch.tensor([-1 if content is None else len(content)], device=self.device)
        with _meeting():
            distributed.broadcast(size, 0)
            length = int(size.item())
            if length < 0:
                return None
            received = bytearray(content if self.leads and content is not None else length)
            for start in range(0, length, _CHUNK):
                part = torch.frombuffer(received, dtype=torch.uint8)[start : start + _CHUNK]
                sent = part.to(self.device)
                distributed.broadcast(sent, 0)
                part.copy_(sent)
            return bytes(received)


@contextmanager
def _meeting() -> Iterator[None]:
    """Turns the errors of a process that is gone into PeerLost."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise PeerLost(f"another process of this training is gone: {str(error).partition(chr(10))[0]}") from error


def _buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for weight in weights:
        if bucket and sum(map(torch.numel, bucket)) + weight.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(weight)
    if bucket:
        yield bucket


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
