"""Workspace folder: its catalog, folds, lock, paths and free space.

workspace.json              where the catalog came from, fingerprints, fold settings; written last when it is made
catalog/{train,test,folds}.parquet
catalog/test-prices.parquet where the test file has prices: for the final score alone
cache/                      what is computed once (`core.cache`), shared by all trials
trials/<id>/trial.json      finished trials, their prices of the holdout fold in holdout.parquet
members/                    the prediction store
optuna.db  mlflow.db  mlartifacts/  ray/
history.json  stack.json  stack/  submission.csv  report.html  bundles/
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.arrays import Floats
from core.atomic_files import atomic_path, digest, read_json, write_json
from core.cache import Cache
from core.data.catalog import PRICE, Catalog, load_catalog
from core.data.column_mapping import TableColumns, columns_from
from core.data.folds import Folds, load_folds
from core.data.price_scale import UNSCALED, to_scale, to_units
from core.errors import UserError
from core.store.oof_store import PredictionStore

DEFAULT = "runs"
TEST_PRICES = "test-prices.parquet"
"""Beside the catalog, and not a part of it: only the final score reads it."""
ENVIRONMENT = "PRICESTACK_WORKSPACE"
FORMAT = 1
_NEEDED_BYTES = 64 * 2**20
_LOCK_TRIES = 5


@dataclass(frozen=True)
class WorkspaceFacts:
    """Facts about the catalog that a workspace was made for (`workspace.json`).

    labelled_fields: whether its trainings read labelled lines of any name as fields; workspaces from before that go on without.
    fold_seed: by which the folds were drawn; None in workspaces from before it was recorded. columns: record of the
    `TableColumns` by which the files were read; None for native columns alone. scale: power of ten that prices are divided by
    before anything learns (`core.data.price_scale`). sheet, price_format: as `--sheet` and `--price-format` named them.
    """

    train: str
    test: str
    images: str | None
    catalog: str
    folds: str
    k: int
    fold_groups: str
    fold_mode: str
    overlap: dict[str, float]
    labelled_fields: bool = False
    fold_seed: int | None = None
    columns: dict[str, Any] | None = None
    scale: float = UNSCALED
    sheet: str | None = None
    price_format: str | None = None
    format: int = FORMAT

    @property
    def record(self) -> dict[str, Any]:
        """Content of `workspace.json`; later fields are not written where they say nothing."""
        unsaid = {"scale": UNSCALED, "sheet": None, "price_format": None}
        return {name: value for name, value in asdict(self).items() if name not in unsaid or value != unsaid[name]}


def default_folder() -> Path:
    """`PRICESTACK_WORKSPACE`, or `runs` in the current folder."""
    return Path(os.environ.get(ENVIRONMENT, DEFAULT))


def catalog_fingerprint(train: Catalog, test: Catalog) -> str:
    """One name for the rows to learn from and the rows to price."""
    return digest(train.fingerprint, test.fingerprint)


class Workspace:
    """Paths and contents of one workspace folder. Opening reads nothing; contents are read when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    @property
    def exists(self) -> bool:
        """True once a catalog was put into the workspace."""
        return self.path("workspace.json").exists()

    @property
    def has_work(self) -> bool:
        """True once something was trained here."""
        return self.path("trials").exists() or self.path("members").exists()

    @cached_property
    def facts(self) -> WorkspaceFacts:
        """Raises UserError where no catalog has been put into this workspace yet."""
        if not self.exists:
            raise UserError(
                f"{self.folder} is not a workspace: it has no workspace.json",
                code="workspace-missing",
                hint="run `python -m experiments.sweep` first, or name another folder with --workspace",
            )
        record: dict[str, Any] = read_json(self.path("workspace.json"))
        if record.get("format") != FORMAT:
            raise UserError(
                f"{self.folder} was written by another version of Pricestack (format {record.get('format')}, not {FORMAT})",
                code="workspace-other-format",
                hint="use a new folder with --workspace",
            )
        return WorkspaceFacts(**record)

    @cached_property
    def folds(self) -> Folds:
        """Folds of the training rows."""
        return load_folds(self.path("catalog", "folds.parquet"))

    @cached_property
    def train(self) -> Catalog:
        """Training rows, with their groups, at scaled prices: what all that learns and all predictions in the workspace go by."""
        rows = self.train_in_units
        return replace(rows, prices=to_scale(rows.known_prices, self.facts.scale))

    @cached_property
    def train_in_units(self) -> Catalog:
        """Training rows, with their groups, at the prices of their file: what people and files outside are shown."""
        images = Path(self.facts.images) if self.facts.images else None
        rows = load_catalog(self.path("catalog", "train.parquet"), images).with_groups(self.folds.groups)
        return replace(rows, kinds=self.table_columns.asked_kinds)

    def in_units(self, prices: Floats) -> Floats:
        """Scaled prices of any shape, as the workspace's predictions are, in the units of its files."""
        return to_units(prices, self.facts.scale)

    @cached_property
    def test(self) -> Catalog:
        """Test rows."""
        images = Path(self.facts.images) if self.facts.images else None
        return load_catalog(self.path("catalog", "test.parquet"), images)

    @property
    def table_columns(self) -> TableColumns:
        """Columns by which the catalog's files were read."""
        return columns_from(self.facts.columns)

    def test_prices(self) -> Floats | None:
        """(t,) prices that the test file had, NaN where unknown: for a final score. None where it had none."""
        path = self.path("catalog", TEST_PRICES)
        return pd.read_parquet(path)[PRICE].to_numpy(dtype=np.float64) if path.exists() else None

    def save_test_prices(self, prices: Floats | None) -> None:
        """Stores the prices of the test file beside the catalog, or removes those of an earlier file."""
        path = self.path("catalog", TEST_PRICES)
        if prices is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            pd.DataFrame({PRICE: prices}).to_parquet(temporary, index=False)

    @property
    def store(self) -> PredictionStore:
        """Predictions of all members."""
        return PredictionStore(self.path("members"))

    def cache(self, limit: int | None = None) -> Cache:
        """Cache shared by all trainings of this workspace.

        limit: bytes that it may take on the disk; None: half of what would be free there without it, which stays the same
        while it fills up.
        """
        folder = self.path("cache")
        if limit is None:
            there = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
            taken = sum(entry.size for entry in Cache(folder).entries())
            limit = (shutil.disk_usage(there).free + taken) // 2
        return Cache(folder, limit)

    def check_writable(self) -> None:
        """Raises UserError for a folder that cannot be made or written, and for a nearly full disk."""
        probe = self.path(".write-probe")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"the workspace {self.folder} cannot be written: {error.strerror}",
                code="workspace-unwritable",
                hint="make the folder writable, or name another one with --workspace",
            ) from None
        if (free := shutil.disk_usage(self.folder).free) < _NEEDED_BYTES:
            raise UserError(
                f"only {free / 2**20:.0f} MiB are free on the disk of {self.folder}; "
                f"a run needs {_NEEDED_BYTES // 2**20} MiB at least",
                code="workspace-disk-full",
                hint="free some space, or name a folder on another disk with --workspace",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One writer at a time: a second sweep in the same workspace is refused. The lock dies with its process."""
        with self.path(".lock").open("a") as handle:
            for tries_left in reversed(range(_LOCK_TRIES)):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if tries_left:
                        time.sleep(0.1)  # a process may only be looking: see `locked`
                        continue
                    raise UserError(
                        f"another sweep is running in {self.folder}",
                        code="workspace-locked",
                        hint="wait for it or stop it with Ctrl-C, or use another folder with --workspace",
                    ) from None
            yield

    @property
    def locked(self) -> bool:
        """True while a process holds the lock. Looking takes a shared lock for an instant, which `lock` outwaits."""
        try:
            with self.path(".lock").open("rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def create(self, train: Catalog, test: Catalog, folds: Folds, facts: WorkspaceFacts) -> None:
        """Writes the catalog at its files' prices, and its folds; `workspace.json` last, so that half a workspace is none."""
        train.save(self.path("catalog", "train.parquet"))
        test.save(self.path("catalog", "test.parquet"))
        folds.save(self.path("catalog", "folds.parquet"))
        write_json(self.path("workspace.json"), facts.record)
        for stale in ("facts", "folds", "train", "train_in_units", "test"):
            self.__dict__.pop(stale, None)
