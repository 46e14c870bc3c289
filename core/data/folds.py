"""Folds of the training rows: made to imitate the test file, saved with their hash; group folds inside a training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Ints, RowIndices
from core.atomic_files import atomic_path, digest
from core.data.catalog import Catalog
from core.data.catalog_config import FoldGroups
from core.data.near_duplicates import FLOOR, Links, find_links, nearest, product_groups
from core.errors import UserError

FEW_ROWS = 500
"""With fewer training rows one fold cannot tell one config from another: nothing is searched (docs/planning.md)."""

HOLDOUT = 0
"""The fold on which trials are evaluated."""
SAME_PRODUCT = 0.9
"""Similarity from which two rows count as one product in the overlap rates."""
_THRESHOLDS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
_TOLERANCE = 0.002
"""A stricter grouping must imitate the test file better by this much (mean difference of similarity) to be taken."""
_DRAWS, _MANY_ROWS = 5, 20_000
"""How well a grouping imitates it is a mean over so many draws of folds, as one draw's figure has a standard deviation of up to
0.002; with many rows one is enough."""
_PRICE_BINS = 10


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
        """Number of folds."""
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
        """Writes the assignment, groups and mode as Parquet."""
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


@dataclass(frozen=True)
class FoldReport:
    """Reason for the kind of folds. Overlaps are shares 0..1 of rows that have a same-product row on the other side.

    test_overlap: test rows, in train. random_overlap, fold_overlap: rows of a fold, in the other folds, for random folds
    and for those that were made. threshold: similarity from which rows stayed together, None for random folds.
    """

    test_overlap: float
    random_overlap: float
    fold_overlap: float
    threshold: float | None
    sentence: str


@dataclass(frozen=True)
class _Candidate:
    """together: (n,) numbers of what stays whole. groups: (n,) numbers of products."""

    threshold: float | None
    groups: Ints
    together: Ints


def make_folds(
    train: Catalog,
    test: Catalog,
    *,
    k: int = 5,
    seed: int = 0,
    fold_groups: FoldGroups = "auto",
    links: Links | None = None,
) -> tuple[Folds, FoldReport]:
    """k folds of the training rows, balanced over price quantiles and sizes, and the reason for their kind.

    `off`: random folds. `on`: products stay whole. `auto`: random, or groups of the strictness, whose profile of
    nearest-neighbour similarities (row of a fold to the other folds) is closest to the test file's (row to train); the seed
    does not matter for that. Test prices are never looked at. links: of all rows (`catalog_links`), if they are known.

    Raises UserError for k < 2 and for fewer rows or products than folds.
    """
    _check_count(k, len(train), "training rows")
    links = links or catalog_links(train, test)
    inside = links.among(np.arange(len(train)))
    products = product_groups(inside, 1.0)
    if fold_groups != "off":
        _check_count(k, int(products.max()) + 1, "products (rows of equal text or picture count as one)")
    side = np.repeat([0, 1], [len(train), len(test)])
    target = nearest(links, side)[len(train) :]
    random = _Candidate(None, products, np.arange(len(train), dtype=np.int64))
    tried = [random] if fold_groups != "on" else []
    if fold_groups != "off":
        tried += _grouped(inside, len(train), k)
    chosen = tried[0]
    if len(tried) > 1:
        distances = np.array([_distance(inside, train, each, k, target) for each in tried])
        chosen = tried[int(np.argmax(distances <= distances.min() + _TOLERANCE))]  # the mildest of the good ones
    assignment, similarity = _drawn(inside, train, chosen, k, seed)
    at_random = similarity if chosen is random else _drawn(inside, train, random, k, seed)[1]
    test_overlap, random_overlap, fold_overlap = (
        float((profile >= SAME_PRODUCT).mean()) for profile in (target, at_random, similarity)
    )
    sentence = _sentence(chosen.threshold, fold_groups, (test_overlap, random_overlap, fold_overlap))
    report = FoldReport(test_overlap, random_overlap, fold_overlap, chosen.threshold, sentence)
    return Folds(assignment, chosen.groups, "random" if chosen.threshold is None else "groups"), report


def catalog_links(train: Catalog, test: Catalog) -> Links:
    """Links between all rows, the training rows first."""
    return find_links([*train.texts, *test.texts], [*train.image_paths, *test.image_paths])


def assign(groups: Ints, prices: NDArray[np.float64], k: int, seed: int) -> Ints:
    """(n,) fold 0..k-1 of each row: groups whole, folds alike in size and in price quantiles. Same seed, same folds.

    Greedy: the largest groups first, each to the fold where it makes sum over price bins of count^2 grow least.
    """
    generator = np.random.default_rng(seed)
    ranks = np.empty(len(prices), dtype=np.int64)
    ranks[np.argsort(prices, kind="stable")] = np.arange(len(prices))
    bins = ranks * min(_PRICE_BINS, len(prices)) // len(prices)
    counts = np.zeros((int(groups.max()) + 1, _PRICE_BINS + 1))
    np.add.at(counts, (groups, bins), 1.0)
    counts[:, -1] = counts.sum(axis=1)
    weighted = counts / np.maximum(counts.sum(axis=0), 1.0)
    weighted[:, -1] *= _PRICE_BINS  # the size of a fold weighs as much as all its price bins together
    order = generator.permutation(len(counts))
    order = order[np.argsort(-counts[order, -1], kind="stable")]
    ties = generator.random((len(counts), k)) * 1e-9
    load = np.zeros((k, _PRICE_BINS + 1))
    folds = np.empty(len(counts), dtype=np.int64)
    for group in order:
        fold = int(np.argmin(load @ weighted[group] + ties[group]))
        folds[group] = fold
        load[fold] += counts[group]
    return folds[groups]


def _grouped(links: Links, rows: int, k: int) -> list[_Candidate]:
    """One candidate per distinct grouping, mildest first; groupings too coarse for k even folds are left out."""
    candidates: list[_Candidate] = []
    for threshold in _THRESHOLDS:
        groups = product_groups(links, threshold)
        if candidates and (groups.max() + 1 < k or np.bincount(groups).max() * k > rows):
            break
        if not candidates or groups.max() != candidates[-1].groups.max():
            candidates.append(_Candidate(threshold, groups, groups))
    return candidates


def _drawn(links: Links, train: Catalog, candidate: _Candidate, k: int, seed: int) -> tuple[Ints, NDArray[np.float64]]:
    """(fold (n,), similarity of each row to the nearest one in the other folds (n,))."""
    assignment = assign(candidate.together, train.known_prices, k, seed)
    return assignment, nearest(links, assignment)


def _distance(links: Links, train: Catalog, candidate: _Candidate, k: int, target: NDArray[np.float64]) -> float:
    """Mean over draws of the absolute difference of the two distributions' quantiles (Wasserstein-1).

    Similarities below FLOOR count as FLOOR.
    """
    levels = (np.arange(200) + 0.5) / 200
    sought = np.quantile(np.maximum(target, FLOOR), levels)
    found = []
    for seed in range(_DRAWS if len(train) <= _MANY_ROWS else 1):
        profile = _drawn(links, train, candidate, k, seed)[1]
        found.append(np.abs(np.quantile(np.maximum(profile, FLOOR), levels) - sought).mean())
    return float(np.mean(found))


def _sentence(threshold: float | None, asked: FoldGroups, overlaps: tuple[float, float, float]) -> str:
    test, random, made = (f"{100 * share:.1f}%" for share in overlaps)
    facts = (
        f"{test} of the test rows have a same-product row in train, {random} of a random fold's rows in the other folds"
    )
    if threshold is None:
        reason = "as asked" if asked == "off" else "as no grouping imitates the test file better"
        return f"{facts}: random folds, {reason}."
    kept = "equal text or picture" if threshold == 1.0 else f"a text similarity of {threshold:.2f} or more"
    return f"{facts}: rows with {kept} stay in one fold, which leaves {made}."


def _check_count(k: int, available: int, what: str) -> None:
    if k < 2:
        raise UserError(
            f"--folds {k}: at least 2 folds are needed",
            code="folds-below-two",
            hint="leave --folds out (5), or give 2 or more",
        )
    if k > available:
        raise UserError(
            f"{k} folds, but only {available} {what}",
            code="folds-too-many",
            hint=f"use --folds {max(2, available)} or fewer, or give more rows",
        )
