"""Process group protocol: what the processes that train one model together exchange; alone by default.

`Group` itself is a training alone, in which each of these words is trivial. `core.training.distributed` has the group of several.
Every rank must call the same methods in the same order, or all of them wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.arrays import RowIndices

if TYPE_CHECKING:  # architectures without a network import this page, and must not import torch
    from torch import Tensor


class Ended(Exception):
    """Rank 0 ended the training; it alone knows why."""


class PeerLost(Exception):
    """Another process of the group is gone."""


class Group:
    """rank: from 0, which is the one that decides, reports and writes. size: number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_of(self, rows: RowIndices) -> RowIndices:
        """Every `size`-th of these rows, beginning with the `rank`-th: sorted by length, they are alike on all ranks."""
        return rows[self.rank :: self.size]

    def decide(self, *flags: bool) -> tuple[bool, ...]:
        """Flags of rank 0, on all ranks: for what depends on its clock, its disk or chance."""
        return flags

    def any(self, flag: bool) -> bool:
        """True if it is true on any rank."""
        return flag

    def lead(self, work: Callable[[], None]) -> None:
        """Runs this on rank 0 while the others wait. If it raises there, they raise Ended."""
        work()

    def add(self, numbers: Tensor) -> Tensor:
        """The sum over the ranks, on each of them; same shape everywhere."""
        return numbers

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Replaces the dense gradients of these weights by their sums. A gradient that no rank has stays None."""

    def copy(self, weights: Sequence[Tensor]) -> None:
        """Copies the weights of rank 0 to all ranks."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all ranks, by rank, on the processor; same shape everywhere."""
        return [tensor]

    def share(self, content: bytes | None) -> bytes | None:
        """Bytes of rank 0, on all ranks; the others' argument is ignored."""
        return content


ALONE = Group()
