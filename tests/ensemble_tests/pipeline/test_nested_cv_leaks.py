"""What leaks a price must not better the nested score, or is named by `core.quality.leaks` before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from core.architectures import architecture
from core.architectures.boosted import BoostedConfig
from core.cache import Cache
from core.classical.target_features import learn_target_features
from core.data.catalog import Catalog
from core.data.folds import Folds, inner_folds
from core.metrics import smape
from core.protocols.architecture import Context, make_config
from core.quality.leaks import LeakKind, find_leaks
from ensemble.pipeline.nested_cv import validate
from tests.ensemble_tests.toys import matrix
from tests.leaky import NOTES, Made, clean, strings

MEMBERS = {
    "lexical": {"model": "ridge", "alpha": 0.3},
    "boosted": {"max_rounds": 60, "learning_rate": 0.15, "bags": 1, "svd_components": 4, "inner_folds": 3},
}
NOISE = 1.5
"""Points of SMAPE by which scores of equally good catalogs of this size may differ."""


@dataclass(frozen=True)
class Scores:
    """SMAPE of each member out of fold, of the stack by nested validation, and of its submission; kinds of leaks named."""

    members: dict[str, float]
    nested: float
    test: float
    leaks: list[LeakKind]


def oof_prices(name: str, made: Made, folds: Folds, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    kind, train = architecture(name), made.train.with_groups(folds.groups)
    config = make_config(kind.Config, MEMBERS[name])
    oof, test = np.empty(len(train)), []
    for fold in range(folds.k):
        others, inside = folds.split(fold)
        context = Context(seed=0, cache=Cache(folder / "cache"), folder=folder / f"{name}-{fold}")
        model = kind.train(train.take(others), None, config, context)
        oof[inside] = model.predict(train.take(inside).without_prices())
        test.append(model.predict(made.test))
    return oof, np.exp(np.mean(np.log(test), axis=0))


def scores(made: Made, folder: Path) -> Scores:
    folds = made.folds()
    pairs = [oof_prices(name, made, folds, folder) for name in MEMBERS]
    oof, test = (np.column_stack(part) for part in zip(*pairs, strict=True))
    prices = made.train.known_prices
    data = replace(
        matrix(oof, prices, groups=folds.groups), folds=folds.assignment, test=test, test_features=np.empty((len(test), 0)),
        test_ids=made.test.ids,
    )  # fmt: skip
    found = validate(data, methods=["geometric", "simplex-log", "single"])
    members = {name: smape(prices, column) for name, column in zip(MEMBERS, oof.T, strict=True)}
    submitted = smape(made.prices, found.final.predict(data.test_rows))
    leaks = [leak.kind for leak in find_leaks(made.train, made.test, folds)]
    return Scores(members, smape(prices, found.nested), submitted, leaks)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    return scores(clean(), tmp_path_factory.mktemp("clean"))


def test_on_a_clean_catalog_the_nested_score_is_that_of_the_test(usual: Scores) -> None:
    assert usual.leaks == []
    assert usual.nested == pytest.approx(usual.test, abs=4)
    assert 25 < usual.nested < 45


def test_ids_that_encode_the_price_change_no_score(usual: Scores, tmp_path: Path) -> None:
    made = clean()
    ids = strings([str(round(100 * price)) for price in made.train.known_prices])
    found = scores(replace(made, train=replace(made.train, ids=ids)), tmp_path)
    assert found.members == usual.members and found.nested == usual.nested and found.test == usual.test
    assert found.leaks == [LeakKind.IDS]


def test_a_file_sorted_by_price_betters_no_score(usual: Scores, tmp_path: Path) -> None:
    made = clean()
    found = scores(replace(made, train=made.train.take(np.argsort(made.train.known_prices))), tmp_path)
    for name, score in found.members.items():
        assert score > usual.members[name] - NOISE
    assert found.nested > usual.nested - NOISE
    assert found.leaks == [LeakKind.ORDER]


def test_a_code_for_the_price_in_training_rows_alone_is_named(usual: Scores, tmp_path: Path) -> None:
    made = clean()
    train = [
        text.replace("Item Name:", f"Item Name: zq{100 * price:06.0f}")
        for text, price in zip(made.train.texts, made.train.known_prices, strict=True)
    ]
    found = scores(made.retexted(train, list(made.test.texts)), tmp_path)
    assert found.nested < usual.nested - 2 * NOISE < found.test  # what happens to who does not read the note
    assert found.leaks[0] == LeakKind.ONE_SIDED


def test_codes_shared_by_the_rows_of_a_product_are_named(tmp_path: Path) -> None:
    made = clean(copies=3)
    rng = np.random.default_rng(0)
    codes = {price: f"sku{rng.integers(1e8)}" for price in made.train.known_prices}
    train = [
        f"{text}\nRef: {codes[price]}" for text, price in zip(made.train.texts, made.train.known_prices, strict=True)
    ]
    leaky = made.retexted(train, [f"{text}\nRef: sku{rng.integers(1e8)}" for text in made.test.texts])
    found = scores(leaky, tmp_path)
    assert found.nested < found.test - 2 * NOISE
    assert LeakKind.CODE in found.leaks


@pytest.mark.parametrize("where", ["train", "both"])
def test_near_duplicates_are_scored_as_the_test_file_is(where: str, tmp_path: Path) -> None:
    """Rows that differ in a word stay in one fold unless as many of the test rows have such a twin in the training file."""
    made, rng = clean(240, 120, seed=1), np.random.default_rng(0)
    twin = lambda text: f"{text} {rng.choice(NOTES)}"  # noqa: E731
    train = made.train
    texts = [twin(text) for _ in range(2) for text in train.texts]
    doubled = Catalog(
        strings([f"{identifier}-{row}" for row in range(2) for identifier in train.ids]),
        strings(texts),
        strings([""] * len(texts)),
        np.tile(train.known_prices, 2),
    )
    if where == "both":
        rows = rng.integers(0, len(train), 120)
        test = replace(made.test, texts=strings([twin(train.texts[row]) for row in rows]))
        made = Made(doubled, test, train.known_prices[rows])
    else:
        made = replace(made, train=doubled)
    found = scores(made, tmp_path)
    assert made.folds().mode == "groups" or where == "both"
    assert found.leaks == []
    assert found.nested > found.test - 4
    assert (found.test < 20) == (where == "both")


@pytest.mark.parametrize("name", MEMBERS)
def test_ids_are_no_features(name: str, tmp_path: Path) -> None:
    made = clean(150, 30)
    folds = made.folds()
    other = replace(made, train=replace(made.train, ids=made.train.ids[::-1].copy()))
    for one, two in zip(
        oof_prices(name, made, folds, tmp_path / "one"), oof_prices(name, other, folds, tmp_path / "two"), strict=True
    ):
        assert np.array_equal(one, two)


def test_the_order_of_rows_is_no_feature(tmp_path: Path) -> None:
    made = clean(150, 30)
    folds = made.folds()
    order = np.random.default_rng(0).permutation(150)
    mixed = replace(made, train=made.train.take(order))
    moved = Folds(folds.assignment[order], folds.groups[order], folds.mode)
    one, two = (
        oof_prices("lexical", each, parts, tmp_path / str(place))
        for place, (each, parts) in enumerate(((made, folds), (mixed, moved)))
    )
    assert two[0] == pytest.approx(one[0][order], rel=1e-2) and two[1] == pytest.approx(one[1], rel=1e-2)
    settings = BoostedConfig(inner_folds=3, svd_components=0).features(0)
    parts = inner_folds(folds.groups, 3, 0)
    here = learn_target_features(made.train, parts, settings, lambda doing: None)[1]
    there = learn_target_features(mixed.train, parts[order], settings, lambda doing: None)[1]
    assert there == pytest.approx(here[order], rel=1e-2, abs=1e-2, nan_ok=True)
