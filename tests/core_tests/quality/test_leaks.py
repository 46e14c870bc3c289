from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.data.catalog import Catalog
from core.data.catalog_config import CatalogConfig
from core.data.folds import Folds, make_folds
from core.data.reading import read_catalogs
from core.data.vocabulary import read_vocabulary, shape
from core.demo import make_demo
from core.quality.leaks import LeakKind, find_leaks, read_leak_notes, variance_explained_by_digits
from core.store.workspace import Workspace
from experiments.prepare import fill_workspace
from tests.leaky import Made, clean, strings
from tests.paths import SHARED

DATA = SHARED / "data"


def kinds(made: Made) -> list[LeakKind]:
    return [leak.kind for leak in find_leaks(made.train, made.test, made.folds())]


def coded(prices: np.ndarray) -> list[str]:
    return [str(round(100 * price)) for price in prices]


def ranked(train: Catalog) -> list[str]:
    return [f"item-7-{rank:05d}" for rank in np.argsort(np.argsort(train.known_prices))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("copies", [1, 3])
def test_clean_catalogs_give_no_alarm(seed: int, copies: int) -> None:
    assert kinds(clean(seed=seed, copies=copies)) == []


@pytest.mark.parametrize("name", ["ikea", "whisky", "grocery"])
def test_real_catalogs_give_no_alarm(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"needs {DATA / name}")
    read = read_catalogs(DATA / name / "train.csv", DATA / name / "test.csv", None, drop_bad=True)
    folds, _ = make_folds(read.train, read.test)
    assert find_leaks(read.train, read.test, folds) == []


def test_the_demo_gives_no_alarm(tmp_path: Path) -> None:
    demo = make_demo(tmp_path, 600, 0, lambda done, total: None)
    read = read_catalogs(demo.train, demo.test, None)
    assert find_leaks(read.train, read.test, make_folds(read.train, read.test)[0]) == []


@pytest.mark.parametrize("encode", ["cents", "reversed", "rank"])
def test_ids_that_tell_the_price_are_named(encode: str) -> None:
    made = clean()
    prices = made.train.known_prices
    ids = {
        "cents": [f"B0-{code}" for code in coded(prices)],
        "reversed": [f"x{code.zfill(6)[::-1]}" for code in coded(prices)],
        "rank": ranked(made.train),
    }[encode]
    assert kinds(replace(made, train=replace(made.train, ids=strings(ids)))) == [LeakKind.IDS]


def test_a_file_sorted_by_price_is_named() -> None:
    made = clean()
    (found,) = find_leaks((train := made.train.take(np.argsort(made.train.known_prices))), made.test, made.folds())
    assert found.kind == LeakKind.ORDER
    assert "of the variance" in found.note and len(train) == 360


def test_a_word_of_one_file_alone_is_named_with_its_shares() -> None:
    made = clean()
    test = list(made.test.texts)
    codes = [
        f"{text}\nRef: zq{code}" for text, code in zip(made.train.texts, coded(made.train.known_prices), strict=True)
    ]
    leaky = made.retexted(codes, test)
    (first, *others) = find_leaks(leaky.train, leaky.test, leaky.folds())
    assert first.kind == LeakKind.ONE_SIDED
    assert "in 100% of the training rows and 0% of the test rows" in first.note
    assert [each.kind for each in others] == [LeakKind.NUMBER]
    refurbished = made.retexted(list(made.train.texts), [f"{text} refurbished" for text in test])
    marked = made.retexted([f"{text} {'#' * (row % 2)}" for row, text in enumerate(made.train.texts)], test)
    assert kinds(refurbished) == kinds(marked) == [LeakKind.ONE_SIDED]


def test_a_number_that_tells_the_price_is_named_with_its_word() -> None:
    made = clean()
    train, test = (
        [f"{text}\nTag zq-{code}" for text, code in zip(texts, coded(prices), strict=True)]
        for texts, prices in ((made.train.texts, made.train.known_prices), (made.test.texts, made.prices))
    )
    leaky = made.retexted(train, test)
    (found,) = find_leaks(leaky.train, leaky.test, leaky.folds())
    assert found.kind == LeakKind.NUMBER and "'zq'" in found.note


def test_codes_that_tie_folds_but_not_the_test_file_are_named() -> None:
    made = clean(copies=3)
    rng = np.random.default_rng(0)
    codes = {price: f"sku{rng.integers(1e8)}" for price in made.train.known_prices}
    train = [
        f"{text}\nRef: {codes[price]}" for text, price in zip(made.train.texts, made.train.known_prices, strict=True)
    ]
    strange = made.retexted(train, [f"{text}\nRef: sku{rng.integers(1e8)}" for text in made.test.texts])
    (found,) = find_leaks(strange.train, strange.test, strange.folds())
    assert found.kind == LeakKind.CODE and "'sku" in found.note
    known = list(codes.values())
    shared = made.retexted(train, [f"{text}\nRef: {known[rng.integers(len(known))]}" for text in made.test.texts])
    assert (
        kinds(shared) == []
    )  # test rows are tied to training rows as folds are to each other: the score can be trusted


def test_few_rows_prove_nothing() -> None:
    made = clean(30, 10)
    assert kinds(replace(made, train=replace(made.train, ids=strings(ranked(made.train))))) == []


def test_texts_without_words_are_no_leak() -> None:
    made = clean(80, 20)
    folds = Folds(np.arange(80) % 3, np.arange(80), "random")
    texts = list(made.train.texts), list(made.test.texts)
    for train, test, found in (
        ([""] * 80, [""] * 20, []),
        ([" "] * 80, texts[1], []),
        (texts[0], [""] * 20, [LeakKind.ONE_SIDED]),
    ):
        leaky = made.retexted(train, test)
        assert [leak.kind for leak in find_leaks(leaky.train, leaky.test, folds)] == found


def test_digits_tell_by_size_or_by_place_and_noise_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    logs, groups = rng.normal(2.6, 1.0, 400), np.arange(400)
    inside = [f"{rng.integers(10)}{int(100 * log) + 500:04d}{rng.integers(100):02d}" for log in logs]
    assert variance_explained_by_digits([f"{np.exp(log):.2f}" for log in logs], logs, groups) > 0.95
    assert variance_explained_by_digits(inside, logs, groups) > 0.7
    assert variance_explained_by_digits([str(number) for number in rng.integers(0, 10**6, 400)], logs, groups) < 0.1
    assert variance_explained_by_digits([str(log) for log in logs[:20]], logs[:20], groups[:20]) == 0.0


def test_rows_of_one_product_are_no_proof() -> None:
    rng = np.random.default_rng(0)
    logs, groups = np.repeat(rng.normal(2.6, 1.0, 60), 5), np.repeat(np.arange(60), 5)
    numbers = [str(number) for number in np.repeat(rng.integers(0, 10**6, 60), 5)]
    by_product, by_row = (variance_explained_by_digits(numbers, logs, each) for each in (groups, np.arange(300)))
    assert by_product < 0.1 < by_row


def test_vocabulary_knows_words_and_shapes_of_rows() -> None:
    words = read_vocabulary(["Red SKU-12, red.", "sku-99 (blue)", ""])
    assert words.names[words.words[0]] in {"red", "sku-12"} and len(words.rows) == 4
    shares = {what: dict(zip(names, table.tolist(), strict=True)) for what, names, table in words.shares(1, 2)}
    assert shares["the word"]["red"] == [1.0, 0.0] and shares["the word"]["sku-99"] == [0.0, 0.5]
    assert shares["words like"]["a-#"] == [1.0, 0.5]
    assert [shape(word) for word in ("b2b", "12.5", "größe", "a_1")] == ["a#a", "#.#", "a", "a_#"]


def test_preparing_a_sweep_logs_and_stores_leaks(tmp_path: Path) -> None:
    made = clean()
    train = replace(made.train, ids=strings(ranked(made.train)))
    for name, catalog in (("train", train), ("test", made.test)):
        catalog.save(tmp_path / "rows.parquet")
        pd.read_parquet(tmp_path / "rows.parquet").to_csv(tmp_path / f"{name}.csv", index=False)
    workspace = Workspace(tmp_path / "runs")
    logged: list[str] = []
    files = CatalogConfig(train=tmp_path / "train.csv", test=tmp_path / "test.csv")
    fill_workspace(workspace, files, 0, logged.append)
    (note,) = [line for line in logged if line.startswith("possible leak")]
    assert "the number at place 2 of the ids" in note
    assert read_leak_notes(workspace) == (note,)
    assert read_leak_notes(Workspace(tmp_path)) == ()
