"""Figures of the catalog: counts, duplicates, adversarial validation, univariate power, label noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.data.catalog import ID, Catalog
from core.quality.label_noise import LabelNoise, SuspectLabel
from core.store.workspace import Workspace
from reports.figures.adversarial_validation import SOME, STRONG, adversarial_validation
from reports.figures.catalog_figures import data_figures, univariate_power
from reports.figures.data_quality import conflicts, suggested_corrections, too_good, write_suggested
from reports.figures.report_inputs import MOST_FIELD_ROWS, read_tables


def figures(workspace: Workspace) -> dict[str, Any]:
    tables = read_tables(workspace.train, workspace.test)
    return data_figures(workspace.train, workspace.test, workspace.folds, workspace.facts, None, tables)


def test_data_figures_count_rows_products_and_links(toy_workspace: Workspace) -> None:
    found = figures(toy_workspace)
    assert found["rows"] == {"train": 120, "test": 30}
    assert sum(fold["rows"] for fold in found["folds"]) == 120
    assert found["price"]["median"] == pytest.approx(np.median(toy_workspace.train.known_prices))
    assert found["links"] == {"train": 0.0, "test": 0.0} and found["pictures"] is None


def test_duplicates_are_counted_within_and_between_the_files(toy_workspace: Workspace) -> None:
    train = toy_workspace.train
    texts = train.texts.copy()
    texts[1] = texts[0].upper() + "  "
    test = toy_workspace.test
    others = test.texts.copy()
    others[0], others[1] = texts[5], others[2]
    workspace = Workspace(toy_workspace.folder)
    workspace.create(replace(train, texts=texts), replace(test, texts=others), workspace.folds, workspace.facts)
    found = figures(workspace)["duplicates"]
    assert (found["train"], found["test"], found["both"]) == (1, 1, 1)


def test_like_files_are_not_separated_and_a_marked_one_is(toy_workspace: Workspace) -> None:
    train, test = toy_workspace.train, toy_workspace.train.take(np.arange(0, 120, 2))
    tables = read_tables(train, test)
    alike = adversarial_validation(*tables.validation_sample(train, test))
    assert alike is not None and alike["auc"] < STRONG
    marked = replace(test, texts=np.array([f"{text} refurbished" for text in test.texts], dtype=object))
    apart = adversarial_validation(*read_tables(train, marked).validation_sample(train, marked))
    assert apart is not None and apart["auc"] > 0.95
    assert "word: refurbished" in [each["name"] for each in apart["columns"]]


def test_products_on_one_side_do_not_separate_the_files() -> None:
    """Five variants of each product from one population, every product whole in one file."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(2_000)]
    texts = []
    for _ in range(240):
        own = " ".join(rng.choice(words, 30))
        texts.append([f"Item Name: {own}, size {size}" for size in "SMLXY"])

    def catalog(products: list[list[str]]) -> Catalog:
        rows = np.array([text for product in products for text in product], dtype=object)
        return Catalog(
            np.array([str(row) for row in range(len(rows))], dtype=object), rows, np.full(len(rows), "", dtype=object)
        )

    train, test = catalog(texts[:160]), catalog(texts[160:])
    found = adversarial_validation(*read_tables(train, test).validation_sample(train, test))
    assert found is not None and found["auc"] < SOME


def test_few_rows_are_not_validated(toy_workspace: Workspace) -> None:
    train, few = toy_workspace.train, toy_workspace.test.take(np.arange(10))
    assert adversarial_validation(*read_tables(train, few).validation_sample(train, few)) is None


def test_a_field_that_predicts_the_price_is_suspicious(toy_workspace: Workspace) -> None:
    train = toy_workspace.train
    fields = read_tables(train, train).train
    prices = np.exp(np.random.default_rng(0).normal(3, 1, len(train)))
    clean_members = univariate_power(fields, prices, np.arange(len(train)), np.ones(len(train)))
    assert not any(each["suspicious"] for each in clean_members)
    reported = univariate_power(fields, prices, np.arange(len(train)), 100 * np.log(prices) + 1000)
    assert reported[0]["name"] == "characters of text" and reported[0]["suspicious"]


def test_of_many_rows_some_are_drawn_the_same_ones_each_time() -> None:
    count = MOST_FIELD_ROWS + 5
    texts = np.array(["Item Name: tea"] * count, dtype=object)
    train = Catalog(np.array([str(row) for row in range(count)], dtype=object), texts, np.full(count, "", dtype=object))
    first, again = read_tables(train, train.take(np.arange(3))), read_tables(train, train.take(np.arange(3)))
    assert len(first.train) == MOST_FIELD_ROWS and (first.train_rows == again.train_rows).all()
    assert (np.diff(first.train_rows) > 0).all() and len(first.test) == 3


def finding(row: str, kind: str, times: float = 3.0, others: tuple[str, ...] = ()) -> SuspectLabel:
    return SuspectLabel(row, kind, times, 0.5, 1.0, f"{times:g} times", others)


def test_rows_are_suggested_for_two_reasons_or_one_strong_one(toy_workspace: Workspace, tmp_path: Path) -> None:
    findings = [
        finding("7", LabelNoise.OUTLIER),
        finding("8", LabelNoise.OUTLIER),
        finding("8", LabelNoise.CONSENSUS),
        finding("9", LabelNoise.CONFLICT, times=6.0),
    ]
    suggested = suggested_corrections(findings)
    assert list(suggested) == ["8", "9"]
    write_suggested(tmp_path / "rows.csv", suggested, toy_workspace.train)
    table = pd.read_csv(tmp_path / "rows.csv", dtype={ID: str})
    assert table[ID].tolist() == ["8", "9"] and table["reasons"][0] == "3 times; 3 times"


def test_a_conflict_is_shown_once_with_the_cheaper_row_first(toy_workspace: Workspace) -> None:
    train = toy_workspace.train
    prices = train.known_prices.copy()
    prices[[3, 4]] = 20.0, 5.0
    train = replace(train, prices=prices)
    pair = [
        finding("3", LabelNoise.CONFLICT, others=("4",)),
        finding("4", LabelNoise.CONFLICT, others=("3", "unknown")),
    ]
    [found] = conflicts(pair, train)
    assert (found["ids"], found["prices"], found["times"]) == (["4", "3"], [5.0, 20.0], 4.0)


def test_a_member_much_better_than_its_kind_is_named() -> None:
    def member(name: str, smape: float, kind: str = "text") -> dict[str, Any]:
        return {"id": name, "architecture": kind, "smape": smape, "rows": 10}

    usual = [member("a", 30.0), member("b", 32.0), member("c", 28.0)]
    assert too_good(usual) == []
    [found] = too_good([*usual, member("d", 12.0)])
    assert (found["id"], found["usual"], found["of"]) == ("d", 30.0, "text")
    assert [each["of"] for each in too_good([*usual, member("e", 5.0, "imported")])] == ["all"]
