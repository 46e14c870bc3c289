"""Folds inside a training's own rows, with rows of one product kept together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError


def inner_folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Fold number 0..count-1 of each row (n,); rows of one group are in one fold, folds are about equally large.

    With fewer groups than `count` there are as many folds as groups; where all rows are one group, rows are dealt singly.
    Groups are dealt in a seeded random order, the largest first, each to the fold that is smallest so far. Raises UserError for
    fewer than two rows.
    """
    if len(groups) < 2:
        raise UserError(f"{len(groups)} training rows cannot be split", cure="give at least 2 training rows")
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
