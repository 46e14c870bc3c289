from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.catalog import Catalog
from core.data.folds import assign, make_folds
from core.data.reading import read_catalogs
from tests.errors import refused
from tests.paths import SHARED

DATA = SHARED / "data"


def products(first: int, count: int, copies: int = 1) -> Catalog:
    """Distinct products, each `copies` times with another last word; prices rise with the product's number."""
    numbers = np.repeat(np.arange(first, first + count), copies)
    texts = [
        " ".join(f"{number}w{word}" for word in range(40)) + f" v{place % copies}"
        for place, number in enumerate(numbers)
    ]
    ids = np.array([f"{first}-{row}" for row in range(len(texts))], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), np.array([""] * len(texts), dtype=object), 1.0 + numbers)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=20, max_size=200),
    k=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_assignment_is_a_deterministic_partition_with_whole_groups(groups: list[int], k: int, seed: int) -> None:
    labels = np.unique(groups, return_inverse=True)[1]
    k = min(k, labels.max() + 1)
    if k < 2:
        return
    prices = np.random.default_rng(0).lognormal(size=len(labels))
    folds = assign(labels, prices, k, seed)
    assert set(folds) == set(range(k))
    assert all(len(set(folds[labels == group])) == 1 for group in set(labels.tolist()))
    assert (folds == assign(labels, prices, k, seed)).all()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(50, 400), k=st.integers(2, 10), seed=st.integers(0, 100))
def test_single_rows_are_balanced_in_size_and_price(count: int, k: int, seed: int) -> None:
    prices = np.random.default_rng(seed).lognormal(3.0, 1.5, count)
    folds = assign(np.arange(count), prices, k, seed)
    sizes = np.bincount(folds, minlength=k)
    assert sizes.max() - sizes.min() <= 2
    upper = np.bincount(folds[prices > np.median(prices)], minlength=k)
    assert np.abs(upper - sizes / 2).max() <= 5


def test_groups_of_uneven_sizes_are_balanced() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(300), generator.integers(1, 12, 300))
    prices = np.exp(labels / 50.0)
    folds = assign(labels, prices, 5, 0)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 0.02 * len(labels)
    means = [np.log(prices[folds == fold]).mean() for fold in range(5)]
    assert max(means) - min(means) < 0.1 * np.log(prices).std()


def test_groups_stay_whole_where_the_test_file_shares_no_product() -> None:
    train, test = products(0, 60, copies=3), products(1000, 30)
    folds, report = make_folds(train, test)
    assert folds.mode == "groups"
    assert len(set(folds.groups)) == 60
    assert all(len(set(folds.assignment[start : start + 3])) == 1 for start in range(0, 180, 3))
    assert (report.test_overlap, report.fold_overlap) == (0.0, 0.0)
    assert report.random_overlap > 0.9
    assert "stay in one fold" in report.sentence


def test_folds_are_random_where_the_test_file_shares_products_as_random_folds_do() -> None:
    everything = products(0, 80, copies=3)
    inside = np.random.default_rng(0).random(len(everything)) < 0.75
    folds, report = make_folds(everything.take(inside), everything.take(~inside).without_prices())
    assert folds.mode == "random"
    assert report.fold_overlap == report.random_overlap > 0.7
    assert report.test_overlap > 0.7
    assert "random folds" in report.sentence


def test_on_and_off_are_obeyed_and_groups_are_always_there() -> None:
    train, test = products(0, 60, copies=2), products(0, 60).without_prices()
    assert make_folds(train, test, fold_groups="on")[0].mode == "groups"
    folds, report = make_folds(train, products(1000, 30), fold_groups="off")
    assert folds.mode == "random"
    assert report.threshold is None
    assert len(folds.groups) == len(train)


def test_seeds_and_counts_change_the_hash_and_nothing_else_does() -> None:
    train, test = products(0, 50), products(100, 20)
    first = make_folds(train, test)[0]
    assert first.hash == make_folds(train, test)[0].hash
    assert first.hash == make_folds(train, test.without_prices())[0].hash
    assert len({first.hash, make_folds(train, test, seed=1)[0].hash, make_folds(train, test, k=10)[0].hash}) == 3


@pytest.mark.parametrize(("k", "code"), [(1, "folds-below-two"), (0, "folds-below-two"), (21, "folds-too-many")])
def test_impossible_counts(k: int, code: str) -> None:
    with refused(code):
        make_folds(products(0, 20), products(100, 5), k=k)


def test_more_folds_than_products_names_both() -> None:
    train = products(0, 3).take(np.repeat(np.arange(3), 10))
    with refused("folds-too-many") as caught:
        make_folds(train, products(100, 5))
    assert "5 folds, but only 3 products" in caught.value.what


@pytest.mark.skipif(not DATA.exists(), reason="the real catalogs of ../shared/data are not there")
def test_folds_of_a_real_catalog_see_its_near_duplicates() -> None:
    result = read_catalogs(DATA / "ikea" / "train.csv", DATA / "ikea" / "test.csv", None)
    folds, report = make_folds(result.train, result.test)
    assert folds.mode == "groups"
    assert report.random_overlap > 2 * report.test_overlap
    sizes = np.bincount(folds.assignment)
    assert sizes.max() - sizes.min() <= 5
