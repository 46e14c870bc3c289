"""Toy catalogs and workspaces that several test folders share: real rows through the real reader, small enough for seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants
from hypothesis import settings

from core import console
from core.data.catalog import ID, LINK, PRICE, TEXT
from core.data.folds import FEW_ROWS, make_folds
from core.data.reading import read_catalogs
from core.store.workspace import Workspace, WorkspaceFacts, catalog_fingerprint
from tests.commands import Running, Start

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")
KINDS = {"tea": 4.0, "coffee": 9.0, "saffron": 40.0, "olive oil": 14.0}
BRANDS = {"Acme": 0.8, "Bonita": 1.0, "Corvus": 1.6}


def toy_frame(rows: int, seed: int, first: int = 0) -> pd.DataFrame:
    """Products whose price follows kind, brand and pack count, with 10% noise."""
    rng = np.random.default_rng(seed)
    kinds, brands = rng.choice(list(KINDS), rows), rng.choice(list(BRANDS), rows)
    packs = rng.integers(1, 13, rows)
    prices = [KINDS[kind] * BRANDS[brand] * pack**0.8 for kind, brand, pack in zip(kinds, brands, packs, strict=True)]
    texts = [
        f"Item Name: {brand} {kind} number {row + first}, Pack of {pack}\nBullet Point 1: fine {kind}\n"
        f"Value: {pack}\nUnit: Count\n"
        for row, (kind, brand, pack) in enumerate(zip(kinds, brands, packs, strict=True))
    ]
    return pd.DataFrame(
        {
            ID: [str(row + first) for row in range(rows)],
            TEXT: texts,
            LINK: "",
            PRICE: np.round(np.array(prices) * np.exp(rng.normal(0.0, 0.1, rows)), 2),
        }
    )


def write_toys(folder: Path, rows: int = 120, test_rows: int = 30, seed: int = 0) -> tuple[Path, Path]:
    """Writes train.csv and test.csv and returns their paths."""
    train, test = folder / "train.csv", folder / "test.csv"
    toy_frame(rows, seed).to_csv(train, index=False)
    toy_frame(test_rows, seed + 1, first=100_000).drop(columns=PRICE).to_csv(test, index=False)
    return train, test


@pytest.fixture
def toy_files(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes train.csv and test.csv into the test's folder and returns their paths."""
    return partial(write_toys, tmp_path)


@pytest.fixture
def toy_workspace(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> Workspace:
    """A workspace of 120 training rows in 3 folds, without trials or members."""
    return made_workspace(tmp_path, toy_files())


@pytest.fixture
def larger_workspace(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> Workspace:
    """The same with as many rows as a search needs."""
    return made_workspace(tmp_path, toy_files(rows=FEW_ROWS))


def made_workspace(tmp_path: Path, paths: tuple[Path, Path]) -> Workspace:
    read = read_catalogs(*paths, None)
    folds, report = make_folds(read.train, read.test, k=3, seed=0, fold_groups="off")
    workspace = Workspace(tmp_path / "runs")
    overlap = {"test": report.test_overlap, "random": report.random_overlap, "folds": report.fold_overlap}
    facts = WorkspaceFacts(
        str(paths[0]), str(paths[1]), None, catalog_fingerprint(read.train, read.test), folds.hash, folds.k, "off",
        folds.mode, overlap,
    )  # fmt: skip
    workspace.create(read.train, read.test, folds, facts)
    return workspace


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line in this process: another one would import libraries for a second, or for eight."""

    def run(module: str, *arguments: object, code: int = 0) -> str:
        """Standard output and error of the command, which must end with this exit code."""
        app = import_module(module).app
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        monkeypatch.setattr(
            console.console, "width", console.PIPED_WIDTH
        )  # xdist's workers are told a terminal's width
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            console.run(app)
        said = capsys.readouterr()
        assert ended.value.code == code, said
        return said.out + said.err

    return run


@pytest.fixture
def here(typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A sweep's command line that trains nothing, in this process."""
    import_module("experiments.run")  # now, and not while something waits
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return partial(typed, "experiments.sweep")


@pytest.fixture
def toy_sweep(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> list[object]:
    """Arguments of a sweep of seconds: four trials, two at once, and one member of two folds. Later arguments replace these."""
    train, test = toy_files(150, 40)
    return [
        "--train", train, "--test", test, "--workspace", tmp_path / "runs", "--trials", 4, "--members", 1,
        "--folds", 2, "--max-concurrent", 2,
    ]  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command as a process of its own; it and those that it started are killed at the end."""
    started: list[Running] = []

    def begin(module: str, *arguments: object, **environment: str) -> Running:
        started.append(Running(tmp_path / f"output-{len(started)}.txt", module, *arguments, **environment))
        return started[-1]

    yield begin
    for each in started:
        each.kill()
