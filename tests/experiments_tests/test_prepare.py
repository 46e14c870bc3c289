"""Tests of a workspace's preparation: how its files were read is kept, and a contradiction is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.atomic_files import read_json, write_json
from core.data.catalog_config import CatalogConfig, PriceFormat, TableConfig
from core.store.workspace import Workspace
from experiments.prepare import fill_workspace
from tests.errors import refused
from tests.shop_table import COLUMNS, write_shop

POINTS = PriceFormat.POINT_COMMA


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Prices that can be read in two ways: `1.299` is 1299 with --price-format alone."""
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    rows = [f"{row},thing {row % 7} of {row} kinds,{1 + row % 9}.{100 + row}" for row in range(60)]
    train.write_text("sample_id,catalog_content,price\n" + "\n".join(rows) + "\n")
    test.write_text("sample_id,catalog_content\n" + "\n".join(f"t{row},thing {row}" for row in range(20)) + "\n")
    return train, test


def fill(workspace: Workspace, files: tuple[Path, Path] | None, price_format: PriceFormat | None = None) -> list[str]:
    said: list[str] = []
    train, test = files or (None, None)
    config = CatalogConfig(train=train, test=test, folds=2, table=TableConfig(price_format=price_format))
    fill_workspace(workspace, config if files else config.model_copy(update={"folds": None}), 0, said.append)
    return said


def test_the_price_format_is_kept_and_a_contradiction_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    workspace = Workspace(tmp_path / "runs")
    fill(workspace, files, POINTS)
    assert workspace.train_in_units.known_prices[0] == 1100
    said = fill(workspace, files)  # no work yet: the files are read again
    assert any(line.startswith("--price-format 1.234,56: kept from") for line in said)
    assert (workspace.facts.price_format, workspace.train_in_units.known_prices[0]) == ("1.234,56", 1100)
    workspace.path("trials").mkdir()
    fill(workspace, files)
    fill(workspace, None)
    fill(workspace, None, POINTS)
    for named in (files, None):
        with refused("workspace-other-format-flag") as caught:
            fill(workspace, named, PriceFormat.COMMA_POINT)
        assert "--price-format 1.234,56" in caught.value.what


def test_without_flags_nothing_is_kept(tmp_path: Path, files: tuple[Path, Path]) -> None:
    workspace = Workspace(tmp_path / "runs")
    fill(workspace, files)
    assert not {"sheet", "price_format"} & read_json(workspace.path("workspace.json")).keys()
    workspace.path("trials").mkdir()
    with refused("workspace-other-format-flag"):
        fill(workspace, None, POINTS)
    with refused("workspace-other-catalog"):
        fill(workspace, files, POINTS)


def test_an_older_workspace_goes_on_with_the_flag(tmp_path: Path, files: tuple[Path, Path]) -> None:
    workspace = Workspace(tmp_path / "runs")
    fill(workspace, files, POINTS)
    record = read_json(workspace.path("workspace.json"))
    write_json(workspace.path("workspace.json"), {key: record[key] for key in record if key != "price_format"})
    workspace.path("trials").mkdir()
    fill(Workspace(workspace.folder), files, POINTS)


def test_the_types_of_columns_are_kept_and_reach_the_training_rows(tmp_path: Path) -> None:
    train, test = write_shop(tmp_path)
    workspace = Workspace(tmp_path / "runs")

    def fill_shop(kinds: str | None, named: bool = True) -> None:
        files = {"train": train, "test": test} if named else {}
        fill_workspace(
            workspace,
            CatalogConfig(**files, table=TableConfig(columns=COLUMNS if named else None, kinds=kinds)),
            0,
            print,
        )

    fill_shop("weight_g=category,tags=text")
    assert workspace.train.kinds == {"weight_g": "category", "tags": "short text"}
    assert workspace.train.take(np.arange(9)).kinds == workspace.train.kinds
    fill_shop("weight_g=category", named=False)  # no work yet: other types of the same columns
    assert workspace.train.kinds == {"weight_g": "category"}
    workspace.path("trials").mkdir()
    fill_shop(None)
    fill_shop("weight_g=category", named=False)
    for kinds in ("weight_g=number", "rating=number"):
        for named in (True, False):
            with refused("workspace-other-columns"):
                fill_shop(kinds, named)
