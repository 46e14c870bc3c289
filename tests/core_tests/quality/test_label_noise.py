from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.architectures import architecture
from core.classical.tfidf_inputs import learn_inputs
from core.data.catalog import Catalog
from core.data.catalog_config import CatalogConfig
from core.data.near_duplicates import find_links
from core.data.reading import read_catalogs
from core.data.vocabulary import read_vocabulary
from core.labels import main
from core.metrics import smape
from core.protocols.architecture import make_config
from core.quality.label_noise import (
    FILE,
    LabelNoise,
    SuspectLabel,
    find_against_members,
    find_conflicts,
    find_label_noise,
    row_weights,
    summary,
    without_suspects,
    write_findings,
)
from core.store.oof_store import Member
from core.store.workspace import Workspace
from experiments.prepare import fill_workspace
from tests.conftest import toy_frame
from tests.core_tests.classical_toys import catalog_of, context
from tests.errors import refused
from tests.leaky import clean

LONG = " ".join(f"word{place}" for place in range(40))


def conflicts(texts: list[str], prices: list[float]) -> list[SuspectLabel]:
    return find_conflicts(catalog_of(texts, np.array(prices)), find_links(texts, [""] * len(texts)))


def test_equal_texts_with_prices_more_than_twofold_apart_conflict() -> None:
    texts = [
        "Item Name: Fine tea, 100 g",
        "item name: fine  TEA, 100 g",
        "Item Name: Fine tea, 100 g",
        "Item Name: Coffee",
    ]
    first, second, *others = sorted(conflicts(texts, [4.0, 4.2, 10.0, 99.0]), key=lambda each: each.sample_id)
    assert (first.sample_id, second.sample_id, others) == ("p0", "p2", [])
    assert (
        first.kind == LabelNoise.CONFLICT
        and first.others == ("p2",)
        and (first.low, first.high) == pytest.approx((10, 10))
    )
    assert first.reason == "2.5 times below what the same product costs in row p2"
    assert second.sentence == "p2 costs 10, expected 4 to 4: 2.5 times what the same product costs in row p0"
    assert conflicts(texts[:3], [4.0, 4.2, 7.9]) == []


def test_nearly_equal_texts_conflict_unless_their_numbers_differ() -> None:
    assert {each.sample_id for each in conflicts([f"{LONG} red", f"{LONG} blue"], [4.0, 9.0])} == {"p0", "p1"}
    assert conflicts([f"{LONG} model 7", f"{LONG} model 8"], [4.0, 9.0]) == []


@pytest.mark.parametrize(
    ("amounts", "prices", "found"),
    [
        ((100, 600), (4.0, 20.0), False),  # five times the price for six times the amount
        ((100, 600), (4.0, 60.0), True),  # fifteen times the price
        ((100, 600), (20.0, 8.0), True),  # more for less
        ((100, 600), (4.0, 4.0), False),
        ((100, 100), (4.0, 9.0), True),
    ],
)
def test_amounts_are_considered(amounts: tuple[int, int], prices: tuple[float, float], found: bool) -> None:
    texts = [f"Item Name: Tea, {amount} g\n{LONG}\nValue: {amount}\nUnit: gram" for amount in amounts]
    assert bool(conflicts(texts, list(prices))) == found


def test_amounts_of_different_dimensions_explain_nothing() -> None:
    texts = [f"Item Name: Tea, {amount}\n{LONG}" for amount in ("500 g", "4 count")]
    assert conflicts(texts, [40.0, 4.0]) == [] and conflicts(texts, [4.0, 40.0]) == []  # other numbers, other products
    texts = [f"Item Name: Tea, {amount}\n{LONG}" for amount in ("500 g", "500 ml")]
    assert conflicts(texts, [40.0, 4.0])


def labels_of(catalog: Catalog) -> list[SuspectLabel]:
    links = find_links(list(catalog.texts), [""] * len(catalog))
    return find_label_noise(catalog, links, read_vocabulary(list(catalog.texts)))


def test_injected_errors_are_found_among_similar_rows_and_little_else() -> None:
    train = clean(600).train
    rng = np.random.default_rng(0)
    bad = np.sort(rng.choice(600, 12, replace=False))
    prices = train.known_prices.copy()
    prices[bad] *= np.where(rng.random(12) < 0.5, 20.0, 0.05)
    found = labels_of(replace(train, prices=prices))
    named = {each.sample_id for each in found}
    assert len(named & set(train.ids[bad])) >= 7
    assert len(named - set(train.ids[bad])) <= 3
    assert all(each.kind == LabelNoise.OUTLIER and len(each.others) == 8 for each in found)
    assert all(each.price > each.high or each.price < each.low for each in found)
    assert [each.times for each in found] == sorted((each.times for each in found), reverse=True)
    assert labels_of(train.take(np.arange(30))) == []


@pytest.mark.parametrize("text", ["", "the same for all", "🍫"])
def test_texts_that_tell_nothing_give_no_outlier(text: str) -> None:
    prices = np.exp(np.random.default_rng(0).normal(2.6, 0.2, 60))
    found = labels_of(catalog_of([text] * 60, prices))
    assert {each.kind for each in found} == ({LabelNoise.CONFLICT} if text.startswith("the same") else set())
    assert labels_of(catalog_of([f"u{row}x" for row in range(60)], prices)) == []


def test_rows_outside_of_all_members_prices_are_found() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 400))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (400, 3)))
    oof[5] = np.nan
    oof[7, 0] = np.nan
    given = prices.copy()
    given[[3, 7]] *= [12.0, 1 / 12]
    ids = np.array([f"r{row}" for row in range(400)], dtype=object)
    first, second = find_against_members(ids, given, oof)
    assert {first.sample_id, second.sample_id} == {"r3", "r7"}
    assert first.kind == LabelNoise.CONSENSUS and "models say that have not seen it (3 members)" in first.reason
    assert find_against_members(ids, prices, oof) == []


def test_findings_are_a_table_and_a_few_lines(tmp_path: Path) -> None:
    found = [
        SuspectLabel("b", LabelNoise.CONFLICT, 9.0, 3.0, 4.0, "far", ("c", "d")),
        SuspectLabel("b", LabelNoise.OUTLIER, 9.0, 1.0, 5.0, "too far"),
    ]
    write_findings(tmp_path / "labels.csv", found)
    table = pd.read_csv(tmp_path / "labels.csv")
    columns = ["sample_id", "kind", "price", "expected_low", "expected_high", "reason", "other_rows"]
    assert table.columns.tolist() == columns
    assert table.iloc[0].tolist() == ["b", LabelNoise.CONFLICT, 9.0, 3.0, 4.0, "far", "c; d"]
    lines = summary(found, tmp_path / "labels.csv", worst=1)
    assert lines[0].startswith(
        "labels: 1 training rows have a price that looks wrong (1 conflict with the same product, 1 far"
    )
    assert lines[1:] == ["  b costs 9, expected 3 to 4: far"]
    assert summary([], tmp_path) == []


def test_a_sweep_logs_label_noise_and_the_command_adds_that_of_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = toy_frame(200, 0)
    frame.loc[[11, 12], "catalog_content"] = "Item Name: Acme tea, Pack of 2\nValue: 2\nUnit: Count"
    frame.loc[[11, 12], "price"] = [5.0, 50.0]
    frame.to_csv(tmp_path / "train.csv", index=False)
    toy_frame(30, 1, first=1000).drop(columns="price").to_csv(tmp_path / "test.csv", index=False)
    workspace = Workspace(tmp_path / "runs")
    files = CatalogConfig(train=tmp_path / "train.csv", test=tmp_path / "test.csv")
    logged: list[str] = []
    fill_workspace(workspace, files, 0, logged.append)
    assert any(line.startswith("labels: 2 training rows have a price that looks wrong") for line in logged)
    assert set(pd.read_csv(workspace.path(FILE))["sample_id"]) == {11, 12}
    oof = workspace.train.known_prices * np.exp(np.random.default_rng(0).normal(0, 0.1, 200))
    oof[[12, 40]] = [5.0, oof[40] * 30]
    workspace.store.write_member(Member("text-a", oof, np.ones(30), {}))
    main(workspace.folder, 5, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert set(table["sample_id"]) == {11, 12, 40}
    assert set(table.loc[table["kind"] == LabelNoise.CONSENSUS, "sample_id"]) == {12, 40}
    assert f"all are in {tmp_path / 'out.csv'}" in capsys.readouterr().out
    with refused("workspace-missing"):
        main(tmp_path / "none")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), suspects=st.sampled_from(["keep", "downweight", "drop"]))
def test_weights_lie_between_0_and_1_and_most_are_1(seed: int, suspects: str) -> None:
    train = clean(120, 10, seed=seed).train
    logs = np.log(train.known_prices)
    matrix = learn_inputs(train, 1000, 0.1).matrix(train)
    weights = row_weights(matrix, logs, np.arange(120), suspects, 0)  # type: ignore[arg-type]
    assert weights.shape == (120,) and (weights >= 0).all() and (weights <= 1).all()
    assert (weights == 1).mean() > 0.8
    assert suspects != "keep" or (weights == 1).all()
    logs[3] += np.log(50)
    doubted = row_weights(matrix, logs, np.arange(120), suspects, 0)[3]  # type: ignore[arg-type]
    assert doubted == 1 if suspects == "keep" else doubted == 0 if suspects == "drop" else doubted < 0.6


@pytest.mark.parametrize("suspects", ["downweight", "drop"])
def test_wrong_labels_cost_a_ridge_less_and_held_out_prices_are_never_seen(suspects: str, tmp_path: Path) -> None:
    kind, made = architecture("lexical"), clean(480, 240)
    settings = {"model": "ridge", "alpha": 0.3}
    rng = np.random.default_rng(1)
    prices = made.train.known_prices * np.where(rng.random(480) < 0.05, 10.0 ** rng.choice([-1, 1], 480), 1.0)
    train = replace(made.train, prices=prices)
    keep, doubt = (
        kind.train(train, None, make_config(kind.Config, {**settings, "suspects": each}), context(tmp_path))
        for each in ("keep", suspects)
    )
    assert smape(made.prices, doubt.predict(made.test)) < smape(made.prices, keep.predict(made.test)) - 2
    config = make_config(kind.Config, {**settings, "suspects": suspects})
    one, two = (
        kind.train(train, replace(made.test, prices=each), config, context(tmp_path)).predict(made.test)
        for each in (made.prices, made.prices[::-1].copy())
    )
    assert np.array_equal(one, two)


def test_boosted_drops_what_the_training_rows_alone_contradict(tmp_path: Path) -> None:
    kind, train = architecture("boosted"), clean(400).train
    bad = np.zeros(400, dtype=bool)
    bad[::40] = True
    train = replace(train, prices=train.known_prices * np.where(bad, 30.0, 1.0))
    left = without_suspects(train, 1000, 0.1, seed=3)
    dropped = ~np.isin(train.ids, left.ids)
    assert (dropped & bad).sum() >= 8 and (dropped & ~bad).sum() <= 4
    settings: dict[str, Any] = {"max_rounds": 20, "bags": 1, "svd_components": 2, "max_terms": 1000}
    one = kind.train(train, None, make_config(kind.Config, {**settings, "suspects": "drop"}), context(tmp_path))
    two = kind.train(left, None, make_config(kind.Config, settings), context(tmp_path))
    assert np.array_equal(one.predict(train), two.predict(train))


def test_an_amount_explains_a_price_among_neighbours(toy_files: Callable[..., tuple[Path, Path]]) -> None:
    read = read_catalogs(*toy_files(400, 30), None)
    assert labels_of(read.train) == []
