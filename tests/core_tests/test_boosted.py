"""`boosted`: learns, is saved whole, and never lets a row's own price into its features."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from core.architectures.base import make_config
from core.architectures.boosted import BoostedArchitecture, BoostedConfig
from core.errors import OutOfTime
from core.light.boosting import OBJECTIVES, smape_slopes
from core.light.inner import inner_folds
from core.light.knowledge import PRICED, learn_knowledge
from core.light.store import fields_of
from core.light.targets import learn_targets, targets_from_record
from core.metrics import constant_floor, smape
from tests.core_tests.light_toys import catalog_of, context, products, strangers

BOOSTED = BoostedArchitecture()
SMALL = {"max_rounds": 60, "learning_rate": 0.1, "bags": 1, "min_leaf_rows": 5, "feature_fraction": 0.8}


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_beats_the_constant_by_far_and_reads_back_the_same(objective: str, tmp_path: Path) -> None:
    train, test = products(240), products(60, seed=1)
    config = make_config(BoostedConfig, {**SMALL, "objective": objective})
    trained = BOOSTED.train(train, test, config, context(tmp_path))
    predicted = trained.predict(test)
    assert smape(test.known_prices, predicted) < 0.5 * constant_floor(test.known_prices)[1]
    trained.save(tmp_path / "model")
    loaded = BOOSTED.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict(test), predicted, rtol=1e-9)
    strange = loaded.predict(strangers())
    assert np.isfinite(strange).all() and (strange > 0).all()


def test_same_seed_same_prices_with_and_without_the_cache(tmp_path: Path) -> None:
    train, test, config = products(80), products(40, seed=1), make_config(BoostedConfig, SMALL)
    first = BOOSTED.train(train, None, config, context(tmp_path / "a")).predict(test)
    fresh = BOOSTED.train(train, test, config, context(tmp_path / "b")).predict(test)
    cached = BOOSTED.train(train, None, config, context(tmp_path / "a")).predict(test)
    np.testing.assert_array_equal(first, fresh)
    np.testing.assert_array_equal(first, cached)


def test_price_noise_is_not_made_predictable() -> None:
    """Prices are noise per product; every product has a brand of its own, twice. A leak would show as correlation."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=150)
    texts = [f"Item Name: BRAND{place} thing{place} {kind}" for place in range(150) for kind in ("red", "blue")]
    groups = np.repeat(np.arange(150), 2)
    train = catalog_of(texts, np.exp(np.repeat(noise, 2)), groups)
    settings = BoostedConfig(svd_components=4).features(seed=0)
    knowledge, table = learn_knowledge(train, inner_folds(groups, 5, 0), settings, lambda doing: None)
    priced = table[:, [knowledge.names.index(name.replace(" ", "_")) for name in PRICED]]
    varying = priced[:, priced.std(axis=0) > 1e-9]
    correlations = [abs(np.corrcoef(column, np.log(train.known_prices))[0, 1]) for column in varying.T]
    # Means of the other folds correlate slightly negatively with the own price (5 folds of noise); a leak gives 0.5 to 1.
    assert max(correlations) < 0.3
    seen = knowledge.features(train)[:, knowledge.names.index("brand_mean")]
    assert np.corrcoef(seen, np.log(train.known_prices))[0, 1] > 0.9


def test_own_price_changes_no_own_feature() -> None:
    train = products(80)
    folds = inner_folds(train.product_groups, 5, 0)
    prices = train.known_prices.copy()
    inside = folds == folds[0]
    prices[inside] *= np.exp(np.random.default_rng(0).normal(size=inside.sum()))
    changed = catalog_of(list(train.texts), prices, train.groups)
    settings = BoostedConfig(svd_components=4).features(seed=0)
    tables = [learn_knowledge(rows, folds, settings, lambda doing: None) for rows in (train, changed)]
    names = tables[0][0].names
    # The ridge's penalty, one number chosen of five on all rows, is the only thing that these prices may move.
    kept = [place for place, name in enumerate(names) if name != "ridge"]
    np.testing.assert_array_equal(tables[0][1][inside][:, kept], tables[1][1][inside][:, kept])


def test_target_statistics_are_smoothed_means_and_read_back() -> None:
    fields = fields_of(catalog_of(["Item Name: ACME nut", "Item Name: ACME nut", "Item Name: BETA oil"], None))
    targets = learn_targets(fields, np.array([1.0, 3.0, 5.0]), smoothing=2.0)
    encoded = targets.encode(fields)
    assert encoded[0, 0] == pytest.approx((-2.0 + 0.0) / (2 + 2)) and encoded[2, 0] == pytest.approx(2.0 / (1 + 2))
    assert encoded[0, 1] == pytest.approx(np.log1p(2))
    np.testing.assert_array_equal(targets_from_record(targets.record()).encode(fields), encoded)
    unseen = targets.encode(fields_of(catalog_of(["Item Name: GAMMA cup"], None)))
    assert unseen[0, :2].tolist() == [0.0, 0.0]


def test_the_objectives_gradient_is_the_losses() -> None:
    difference, step = np.linspace(-6, 6, 241) + 0.003, 1e-5

    def loss(d: np.ndarray) -> np.ndarray:
        return 2 * np.tanh((np.sqrt(d * d + 0.01) - 0.1) / 2)

    slope, curvature = smape_slopes(difference)
    np.testing.assert_allclose(slope, (loss(difference + step) - loss(difference - step)) / (2 * step), atol=1e-6)
    assert (curvature > 0).all()
    np.testing.assert_allclose(loss(difference), 2 * np.tanh(np.abs(difference) / 2), atol=0.1)


def test_the_curvature_bounds_the_loss_from_above() -> None:
    def loss(d: np.ndarray) -> np.ndarray:
        return 2 * np.tanh((np.sqrt(d * d + 0.01) - 0.1) / 2)

    points = np.linspace(-5, 5, 101)
    for at in points:
        slope, curvature = (float(part[0]) for part in smape_slopes(np.array([at])))
        parabola = loss(np.array([at])) + slope * (points - at) + curvature * np.square(points - at) / 2
        assert (parabola >= loss(points) - 1e-9).all()


def test_constant_prices_stay_constant(tmp_path: Path) -> None:
    train = products(40)
    flat = catalog_of(list(train.texts), np.full(len(train), 7.0), train.groups)
    predicted = BOOSTED.train(flat, None, make_config(BoostedConfig, SMALL), context(tmp_path)).predict(strangers())
    np.testing.assert_allclose(predicted, 7.0, rtol=1e-3)


def test_the_deadline_ends_a_training_and_leaves_no_half_cache(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        BOOSTED.train(products(40), None, BoostedConfig(), context(tmp_path, deadline=time.time() - 1))
    assert [path.suffix for path in (tmp_path / "cache" / "boosted").iterdir()] == [".lock"]
