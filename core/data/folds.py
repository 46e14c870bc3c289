"""Folds of the training rows: saved assignment with its hash, and group folds inside a training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import RowIndices
from core.atomic_files import atomic_path, digest
from core.errors import UserError

FEW_ROWS = 500
"""With fewer training rows one fold cannot tell one config from another: nothing is searched (docs/planning.md)."""

HOLDOUT = 0
"""The fold on which trials are evaluated."""


@dataclass(frozen=True, eq=False)
class Folds:
    """assignment: (n,) fold number 0..k-1 of each training row. groups: (n,) product number of each row.

    mode: how rows were kept together, for people (`groups` or `random`).
    """

    assignment: NDArray[np.int64]
    groups: NDArray[np.int64]
    mode: str

    @property
    def k(self) -> int:
        return int(self.assignment.max()) + 1

    @cached_property
    def hash(self) -> str:
        """Names the partition: every member carries it."""
        return digest(self.assignment.astype("<i8").tobytes())

    def split(self, fold: int) -> tuple[RowIndices, RowIndices]:
        """Positions of the rows (others, in this fold), each ascending."""
        inside = self.assignment == fold
        return np.flatnonzero(~inside), np.flatnonzero(inside)

    def save(self, path: Path) -> None:
        frame = pd.DataFrame({"fold": self.assignment, "group": self.groups})
        frame.attrs["mode"] = self.mode
        with atomic_path(path) as temporary:
            frame.to_parquet(temporary, index=False)


def load_folds(path: Path) -> Folds:
    """Reads back what `Folds.save` wrote."""
    frame = pd.read_parquet(path)
    return Folds(frame["fold"].to_numpy(np.int64), frame["group"].to_numpy(np.int64), str(frame.attrs["mode"]))


def inner_folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Fold number 0..count-1 of each row (n,); rows of one group are in one fold, folds are about equally large.

    With fewer groups than `count` there are as many folds as groups; where all rows are one group, rows are dealt singly.
    Groups are dealt in a seeded random order, the largest first, each to the fold that is smallest so far. Raises UserError for
    fewer than two rows.
    """
    if len(groups) < 2:
        raise UserError(
            f"{len(groups)} training rows cannot be split",
            code="inner-folds-too-few-groups",
            hint="give at least 2 training rows",
        )
    if (groups == groups[0]).all():
        groups = np.arange(len(groups))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    filled = np.zeros(min(count, len(sizes)), dtype=np.int64)
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for place in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of_group[place] = int(filled.argmin())
        filled[fold_of_group[place]] += sizes[place]
    return fold_of_group[group]
