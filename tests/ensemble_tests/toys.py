"""Members made by adding seeded errors to true log prices: how good a combination can be is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Floats
from core.store.oof_store import Member
from core.store.workspace import Workspace
from ensemble.matrix.matrix import Matrix
from pricestack.testing.combiners import members, problem, rows

__all__ = ["add_member", "frames", "matrix", "members", "problem", "rows", "save"]

Frames = tuple[pd.DataFrame, pd.DataFrame]


def matrix(
    oof: Floats, prices: Floats, *, test_rows: int = 20, folds: int = 5, groups: NDArray[np.int64] | None = None
) -> Matrix:
    """A matrix of those members; the test rows are the first training rows again, under other ids."""
    height = len(prices)
    labels = np.arange(height, dtype=np.int64) if groups is None else groups
    return Matrix(
        ids=np.array([f"r{row}" for row in range(height)], dtype=object),
        prices=prices,
        groups=labels,
        folds=labels % folds,
        oof=oof,
        test_ids=np.array([f"t{row}" for row in range(test_rows)], dtype=object),
        test=oof[:test_rows],
        names=tuple(f"m{place}" for place in range(oof.shape[1])),
        catalog="toy",
        folds_hash="toy",
        features=np.empty((height, 0)),
        test_features=np.empty((test_rows, 0)),
    )


def add_member(workspace: Workspace, name: str, seed: int = 0, **record: Any) -> Member:
    """A member of the toy workspace: true prices with seeded errors; those of the test rows are drawn from the training rows'."""
    rng = np.random.default_rng(seed)
    oof = workspace.train.known_prices * np.exp(rng.normal(0, 0.3, len(workspace.train)))
    truth = np.random.default_rng(0).choice(workspace.train.known_prices, len(workspace.test))
    test = truth * np.exp(rng.normal(0, 0.3, len(truth)))
    facts = {"catalog": workspace.facts.catalog, "folds": workspace.facts.folds, "seconds": 1.5, **record}
    member = Member(name, oof, test, facts)
    workspace.store.write_member(member)
    return member


def frames(rows: int = 40, test_rows: int = 10) -> Frames:
    oof, prices = members(rows + test_rows, 2)
    ids = [f"{row:04d}" for row in range(rows + test_rows)]
    table = pd.DataFrame({"sample_id": ids, "price": prices, "a": oof[:, 0], "b": oof[:, 1]})
    return table[:rows].copy(), table[rows:].drop(columns="price").reset_index(drop=True)


def save(folder: Path, left: pd.DataFrame, right: pd.DataFrame) -> tuple[Path, Path]:
    left.to_csv(folder / "oof.csv", index=False)
    right.to_csv(folder / "test.csv", index=False)
    return folder / "oof.csv", folder / "test.csv"
