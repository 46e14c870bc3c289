"""Columns that tell the price nearly alone are named, whatever their type; honest columns of real catalogs are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from core.data.catalog import Catalog
from core.data.column_mapping import FieldColumn
from core.data.folds import make_folds
from core.data.reading import read_catalogs
from core.fields.reader import labelled_of
from core.quality.column_leaks import find_column_leaks
from core.quality.leaks import has_few_prices
from tests.leaky import clean
from tests.paths import SHARED

DATA = SHARED / "data"
DRAW = np.random.default_rng(3)
WORDS = ["red", "blue", "oak", "steel"]


def with_column(values: Callable[[float], str]) -> list[str]:
    """Sentences on a column `x` made of each row's price."""
    made = clean()
    prices = made.train.known_prices
    texts = [f"{text}\nx: {values(price)}" for text, price in zip(made.train.texts, prices, strict=True)]
    ids, empty = made.train.ids, np.array([""] * len(texts), dtype=object)
    train = Catalog(ids, np.array(texts, dtype=object), empty, prices, made.train.groups)
    return [leak.sentence for leak in find_column_leaks(train, [FieldColumn("x", "x")], made.folds())]


def band(price: float) -> str:
    return "ABCDEFGH"[min(7, int(np.log2(price + 1)))]


def code(price: float) -> str:
    """The price in cents, by letters alone."""
    return f"k{round(100 * price):06x}".translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda price: f"{1.2 * price:.2f}", id="multiple"),
        pytest.param(lambda price: f"was {price:.2f}", id="first number"),
        pytest.param(lambda price: f"{DRAW.integers(1, 9)} in stock, was {price:.2f}, now less", id="within words"),
        pytest.param(band, id="bands"),
        pytest.param(lambda price: f"{band(price)}{'high' if band(price) > 'D' else 'low'}", id="coarse"),
        pytest.param(code, id="code"),
    ],
)  # fmt: skip
def test_a_column_that_tells_the_price_is_named(values: Callable[[float], str]) -> None:
    (sentence,) = with_column(values)
    assert sentence.startswith("column 'x' tells the price nearly alone: ")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda price: str(DRAW.choice(WORDS)), id="category"),
        pytest.param(lambda price: "dear" if price > 30 and DRAW.random() < 0.5 else "other", id="telling category"),
        pytest.param(lambda price: f"{price * DRAW.lognormal(0, 0.5):.1f}", id="telling number"),
        pytest.param(lambda price: f"{DRAW.integers(1, 90)} x {DRAW.integers(1, 90)} cm", id="sizes"),
        pytest.param(lambda price: f"A{DRAW.integers(1e9)}", id="codes"),
    ],
)
def test_a_column_that_only_helps_is_not(values: Callable[[float], str]) -> None:
    assert with_column(values) == []


@pytest.mark.parametrize("name", ["flipkart", "ikea", "rumah_id", "whisky"])
def test_labelled_lines_of_real_catalogs_give_no_alarm(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"needs {DATA / name}")
    read = read_catalogs(DATA / name / "train.csv", DATA / name / "test.csv", None, drop_bad=True)
    labels = Counter(label for row in labelled_of(read.train) for label in row)
    fields = [FieldColumn(label, label) for label, count in labels.items() if count >= 50]
    assert len(fields) > 1
    assert find_column_leaks(read.train, fields, make_folds(read.train, read.test)[0]) == []


def test_one_or_two_prices_are_few() -> None:
    assert has_few_prices(np.array([9.99] * 5)) and has_few_prices(np.array([9.99, 10.0, 9.99]))
    assert not has_few_prices(np.array([9.0, 10.0, 11.0]))
