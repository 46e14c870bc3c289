"""Prediction store: one folder per member with out-of-fold and test predictions, complete or absent.

members/<id>/fold-<k>/{model files, oof.parquet, test.parquet, fit.json}    one training each; fit.json is written last
members/<id>/{oof.parquet, test.parquet, member.json}                       member.json is written last
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.atomic_files import atomic_path, digest_json, read_json, write_json
from core.data.folds import HOLDOUT

CORE_VERSION = "4"
"""Raised when a change in `core` makes the same config learn something else: older members stay what they are."""

EXTERNAL = "external"
"""The `folds` of a member whose predictions were made outside, on unknown folds."""

Prices = NDArray[np.float64]


@dataclass(frozen=True)
class MemberKey:
    """Identity of a member: all that decides its predictions; its hash is the member's id."""

    architecture: str
    config: dict[str, Any]  # canonical
    identity: dict[str, str]  # content of encoders that the config only names
    catalog: str  # fingerprint of train and test
    folds: str  # hash
    seed: int
    core: str = CORE_VERSION

    @property
    def id(self) -> str:
        """Member id: architecture and the hash of the key."""
        return f"{self.architecture}-{digest_json(asdict(self))[:12]}"


@dataclass(frozen=True)
class FoldFit:
    """One training of a member: prices of the rows of its fold and of all test rows, and what it cost."""

    fold: int
    valid: Prices
    test: Prices
    seconds: float
    valid_quantiles: Prices | None = None
    test_quantiles: Prices | None = None


@dataclass(frozen=True)
class Member:
    """A complete member. oof: (n_train,), NaN where no fold covered the row. test: (n_test,).

    record: member.json, with at least `catalog`, `folds` (hashes, as in its key) and `seconds` (of all its trainings).
    """

    id: str
    oof: Prices
    test: Prices
    record: dict[str, Any]


class PredictionStore:
    """Members of one workspace. Safe for several processes: each file is written atomically, markers last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fold_folder(self, member: str, fold: int) -> Path:
        """Folder of the fold's model."""
        return self.folder / member / f"fold-{fold}"

    def has_fit(self, member: str, fold: int) -> bool:
        """True once the fold's training is complete."""
        return (self.fold_folder(member, fold) / "fit.json").exists()

    def write_fit(self, member: str, fit: FoldFit) -> None:
        """Writes predictions and quantiles of one fold, then its marker."""
        folder = self.fold_folder(member, fit.fold)
        for part, prices, quantiles in (
            ("oof", fit.valid, fit.valid_quantiles),
            ("test", fit.test, fit.test_quantiles),
        ):
            write_prices(folder / f"{part}.parquet", prices)
            if quantiles is not None:
                _write_quantiles(folder / f"{part}_quantiles.parquet", quantiles)
        write_json(folder / "fit.json", {"fold": fit.fold, "seconds": round(fit.seconds, 3)})

    def read_fit(self, member: str, fold: int) -> FoldFit:
        """Reads back what `write_fit` wrote."""
        folder = self.fold_folder(member, fold)
        return FoldFit(
            fold,
            read_prices(folder / "oof.parquet"),
            read_prices(folder / "test.parquet"),
            float(read_json(folder / "fit.json")["seconds"]),
            _read_quantiles(folder / "oof_quantiles.parquet"),
            _read_quantiles(folder / "test_quantiles.parquet"),
        )

    def write_member(self, member: Member) -> None:
        """Writes a member's predictions, then its record."""
        folder = self.folder / member.id
        write_prices(folder / "oof.parquet", member.oof)
        write_prices(folder / "test.parquet", member.test)
        write_json(folder / "member.json", member.record)

    def has_member(self, member: str) -> bool:
        """True once the member is complete."""
        return (self.folder / member / "member.json").exists()

    def complete(self) -> list[str]:
        """Ids of complete members, sorted."""
        return sorted(marker.parent.name for marker in self.folder.glob("*/member.json"))

    def discard_lone_fits(self, keep: Collection[str]) -> None:
        """Removes single fold models of configs that became no member and are not among `keep`, the likeliest to become one."""
        for folder in self.folder.glob("*"):
            if folder.name not in keep and len(list(folder.iterdir())) == 1 and self.has_fit(folder.name, HOLDOUT):
                shutil.rmtree(folder)

    def read(self, member: str) -> Member:
        """Reads back what `write_member` wrote."""
        folder = self.folder / member
        return Member(
            member,
            read_prices(folder / "oof.parquet"),
            read_prices(folder / "test.parquet"),
            read_json(folder / "member.json"),
        )

    def quantiles(self, member: str, part: str) -> Prices | None:
        """(n, q) prices at increasing quantiles; `part` is `oof` or `test`; None where the member gave a point only."""
        return _read_quantiles(self.folder / member / f"{part}_quantiles.parquet")

    def write_quantiles(self, member: str, part: str, quantiles: Prices) -> None:
        _write_quantiles(self.folder / member / f"{part}_quantiles.parquet", quantiles)


def geometric_mean(prices: list[Prices]) -> Prices:
    """(n,) or (n, q) from a list of such: the average of the fold models in log space, where their errors are symmetric."""
    return np.exp(np.mean(np.log(np.stack(prices)), axis=0))


def write_prices(path: Path, prices: Prices) -> None:
    """Prices (n,) in a Parquet file, whole or not at all."""
    with atomic_path(path) as temporary:
        pd.DataFrame({"price": prices}).to_parquet(temporary, index=False)


def read_prices(path: Path) -> Prices:
    """Reads back what `write_prices` wrote, (n,)."""
    return pd.read_parquet(path)["price"].to_numpy(np.float64)


def _write_quantiles(path: Path, quantiles: Prices) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame({f"q{column}": quantiles[:, column] for column in range(quantiles.shape[1])}).to_parquet(temporary)


def _read_quantiles(path: Path) -> Prices | None:
    return pd.read_parquet(path).to_numpy(np.float64) if path.exists() else None
