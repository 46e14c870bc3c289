"""`boosted`: learns, is saved whole, and never lets a row's own price into its features."""

from __future__ import annotations

import time
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from core.architectures.boosted import BoostedArchitecture, BoostedConfig, BoostedModel
from core.classical.gradient_boosting import OBJECTIVES, smoothed_smape_objective
from core.classical.neighbours import SHARPNESS, learn_neighbours
from core.classical.neighbours import STATISTICS as NEAR
from core.classical.target_encoding import STATISTICS, learn_targets, targets_from_record
from core.classical.target_features import PRICED, TargetFeatures, learn_target_features
from core.data.catalog import Catalog
from core.data.folds import inner_folds
from core.encoders.loading import identity
from core.errors import OutOfTime
from core.fields.reader import fields_of
from core.metrics import constant_floor, smape
from core.protocols.architecture import LEVELS, make_config
from pricestack.testing.architectures import LAPTOP
from tests.core_tests.classical_toys import catalog_of, context, products, small_encoder, strangers
from tests.errors import refused

BOOSTED = BoostedArchitecture()
SMALL = {"max_rounds": 60, "learning_rate": 0.1, "bags": 1, "min_leaf_rows": 5, "feature_fraction": 0.8}


def fitted(folder: Path, train: Catalog, valid: Catalog | None = None, **settings: object) -> BoostedModel:
    return BOOSTED.train(train, valid, make_config(BoostedConfig, {**SMALL, **settings}), context(folder))


def smoothed_smape(d: np.ndarray) -> np.ndarray:
    return 2 * np.tanh((np.sqrt(d * d + 0.01) - 0.1) / 2)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_beats_the_constant_by_far_and_reads_back_the_same(objective: str, tmp_path: Path) -> None:
    train, test = products(240), products(60, seed=1)
    trained = fitted(tmp_path, train, test, objective=objective)
    predicted = trained.predict(test)
    assert smape(test.known_prices, predicted) < 0.5 * constant_floor(test.known_prices)[1]
    trained.save(tmp_path / "model")
    loaded = BOOSTED.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict(test), predicted, rtol=1e-9)
    strange = loaded.predict(strangers())
    assert np.isfinite(strange).all() and (strange > 0).all()


def test_same_seed_same_prices_with_and_without_the_cache(tmp_path: Path) -> None:
    train, test = products(80), products(40, seed=1)
    first = fitted(tmp_path / "a", train).predict(test)
    fresh = fitted(tmp_path / "b", train, test).predict(test)
    cached = fitted(tmp_path / "a", train).predict(test)
    np.testing.assert_array_equal(first, fresh)
    np.testing.assert_array_equal(first, cached)


def test_deciles_rise_cover_and_are_read_back(tmp_path: Path) -> None:
    train, test = products(240), products(80, seed=1)
    trained = fitted(tmp_path, train, quantiles=True)
    deciles = trained.predict_quantiles(test)
    assert deciles is not None and deciles.shape == (len(test), len(LEVELS))
    assert (np.diff(deciles, axis=1) >= 0).all() and (deciles > 0).all()
    below = (test.known_prices[:, None] < deciles).mean(axis=0)
    assert below[0] < 0.4 and below[-1] > 0.6 and (np.diff(below) >= 0).all()
    trained.save(tmp_path / "model")
    again = BOOSTED.load(tmp_path / "model").predict_quantiles(test)
    np.testing.assert_allclose(again, deciles, rtol=1e-9)
    plain = fitted(tmp_path, train)
    assert plain.predict_quantiles(test) is None
    np.testing.assert_array_equal(plain.predict(test), trained.predict(test))


@pytest.mark.parametrize("objective", ["huber", "smape"])
def test_a_monotone_model_never_falls_with_the_amount(objective: str, tmp_path: Path) -> None:
    trained = fitted(tmp_path, products(160), objective=objective, monotone=True)
    rows = np.repeat(trained.target_features.features(products(20, seed=1)), 30, axis=0)
    for name in ("total_g", "value_g", "amount"):
        swept = rows.copy()
        swept[:, trained.target_features.names.index(name)] = np.tile(np.geomspace(1, 2000, 30), 20)
        answers = np.asarray(trained.boosters[0].predict(swept)).reshape(20, 30)
        assert (np.diff(answers, axis=1) >= -1e-12).all()


def test_monotone_with_l1_is_refused_with_what_to_choose() -> None:
    with refused("config-bad-value"):
        make_config(BoostedConfig, {"objective": "l1", "monotone": True})


def test_states_of_an_encoder_are_features(tmp_path: Path) -> None:
    encoder, train, test = small_encoder(tmp_path / "encoder"), products(120), products(40, seed=1)
    settings = {**SMALL, "frozen_encoder": str(encoder), "embedding_components": 5, "quantiles": False}
    resolution = BOOSTED.resolve(settings, LAPTOP, None)
    assert resolution.notes == (f"frozen encoder: {encoder} (named)",)
    config = make_config(BoostedConfig, resolution.settings)
    assert BOOSTED.identity(config) == {"text": identity(str(encoder), "text")}
    BOOSTED.prepare({"train": train, "test": test}, config, context(tmp_path).cache, drop_bad=False)
    trained = BOOSTED.train(train, None, config, context(tmp_path))
    assert trained.target_features.names[-5:] == [f"state_{place}" for place in range(5)]
    assert len(trained.target_features.names) == trained.target_features.features(test).shape[1]
    trained.save(tmp_path / "model")
    loaded, strange = BOOSTED.load(tmp_path / "model"), strangers()
    # Read once more without the cache, in other batches.
    np.testing.assert_allclose(loaded.predict(test), trained.predict(test), rtol=1e-2)
    assert np.isfinite(loaded.predict(strange)).all()
    (encoder / "config.json").write_text((encoder / "config.json").read_text() + " ")
    with refused("encoder-changed"):
        loaded.predict(products(40, seed=2))


def test_an_encoder_that_says_nothing_is_not_read() -> None:
    settled = BOOSTED.resolve({"frozen_encoder": "tiny"}, LAPTOP, None)
    assert settled.settings["frozen_encoder"] is None and settled.notes[0].startswith("frozen encoder: none")
    assert BOOSTED.identity(make_config(BoostedConfig, settled.settings)) == {}
    with refused("encoder-unknown"):
        BOOSTED.resolve({"frozen_encoder": "nowhere"}, LAPTOP, None)


def test_price_noise_is_not_made_predictable() -> None:
    """Prices are noise per product; every product has a brand of its own, twice. A leak would show as correlation."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=150)
    texts = [f"Item Name: BRAND{place} thing{place} {kind}" for place in range(150) for kind in ("red", "blue")]
    groups = np.repeat(np.arange(150), 2)
    train = catalog_of(texts, np.exp(np.repeat(noise, 2)), groups)
    settings = BoostedConfig(svd_components=4).features(seed=0)
    target_features, table = learn_target_features(train, inner_folds(groups, 5, 0), settings, lambda doing: None)
    priced = table[:, [target_features.names.index(name.replace(" ", "_")) for name in PRICED]]
    varying = priced[:, priced.std(axis=0) > 1e-9]
    correlations = [abs(np.corrcoef(column, np.log(train.known_prices))[0, 1]) for column in varying.T]
    # Means of the other folds correlate slightly negatively with the own price (5 folds of noise); a leak gives 0.5 to 1.
    assert max(correlations) < 0.3
    seen = target_features.features(train)[:, target_features.names.index("brand_mean")]
    assert np.corrcoef(seen, np.log(train.known_prices))[0, 1] > 0.9


def test_own_price_changes_no_own_feature() -> None:
    train = products(80)
    folds = inner_folds(train.product_groups, 5, 0)
    prices = train.known_prices.copy()
    inside = folds == folds[0]
    prices[inside] *= np.exp(np.random.default_rng(0).normal(size=inside.sum()))
    changed = catalog_of(list(train.texts), prices, train.groups)
    settings = BoostedConfig(svd_components=4).features(seed=0)
    tables = [learn_target_features(rows, folds, settings, lambda doing: None) for rows in (train, changed)]
    names = tables[0][0].names
    # The ridge's penalty, one number chosen of five on all rows, is the only thing that these prices may move.
    kept = [place for place, name in enumerate(names) if name != "ridge"]
    np.testing.assert_array_equal(tables[0][1][inside][:, kept], tables[1][1][inside][:, kept])


def test_prices_per_base_unit_are_compared_within_a_dimension() -> None:
    amounts = (", 100 g", ", 200 g", ", 3 count", "")
    fields = fields_of(catalog_of([f"Item Name: ACME tea{amount}" for amount in amounts], None))
    log_prices = np.log([1.0, 4.0, 30.0, 7.0])
    per_unit = learn_targets(fields, log_prices, smoothing=0.0).encode(fields)[:, STATISTICS.index("brand per unit")]
    gram = (np.log(1 / 100) + np.log(4 / 200)) / 2
    np.testing.assert_allclose(per_unit[:3], [gram + np.log(100), gram + np.log(200), np.log(30)])
    assert np.isnan(per_unit[3])


def test_neighbours_say_their_price_per_base_unit() -> None:
    nan = np.nan
    amounts = np.log([[10.0, nan], [20.0, nan], [nan, 5.0], [nan, nan]])
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.9, 0.1], [0.0, 1.0]])
    near = learn_neighbours(vectors, np.log([2.0, 8.0, 50.0, 9.0]), amounts, 3, 100, 0)
    asked = np.log([[40.0, nan], [nan, nan]])
    found = near.statistics(vectors[[0, 0]], asked)
    weights = np.array([1.0, 0.8]) ** SHARPNESS
    ratio = weights @ np.log([4.0, 2.0]) / weights.sum()
    place = NEAR.index("near_per_unit")
    np.testing.assert_allclose(found[0, place : place + 2], [weights @ np.log([8.0, 16.0]) / weights.sum(), ratio])
    assert np.isnan(found[1, place : place + 2]).all() and np.isfinite(found[1, :place]).all()


def test_target_statistics_are_smoothed_means_and_read_back() -> None:
    fields = fields_of(catalog_of(["Item Name: ACME nut", "Item Name: ACME nut", "Item Name: BETA oil"], None))
    targets = learn_targets(fields, np.array([1.0, 3.0, 5.0]), smoothing=2.0)
    encoded = targets.encode(fields)
    assert encoded[0, 0] == pytest.approx((-2.0 + 0.0) / (2 + 2)) and encoded[2, 0] == pytest.approx(2.0 / (1 + 2))
    assert encoded[0, 1] == pytest.approx(np.log1p(2))
    np.testing.assert_array_equal(targets_from_record(targets.record()).encode(fields), encoded)
    unseen = targets.encode(fields_of(catalog_of(["Item Name: GAMMA cup"], None)))
    assert unseen[0, :2].tolist() == [0.0, 0.0]


def at_zero(rows: int) -> lightgbm.Dataset:
    return lightgbm.Dataset(np.zeros((rows, 1)), label=np.zeros(rows))


def test_the_objectives_gradient_is_the_losses() -> None:
    difference, step = np.linspace(-6, 6, 241) + 0.003, 1e-5

    slope, curvature = smoothed_smape_objective(difference, at_zero(len(difference)))
    np.testing.assert_allclose(
        slope, (smoothed_smape(difference + step) - smoothed_smape(difference - step)) / (2 * step), atol=1e-6
    )
    assert (curvature > 0).all()
    np.testing.assert_allclose(smoothed_smape(difference), 2 * np.tanh(np.abs(difference) / 2), atol=0.1)


def test_the_curvature_bounds_the_loss_from_above() -> None:
    points = np.linspace(-5, 5, 101)
    for at in points:
        slope, curvature = (float(part[0]) for part in smoothed_smape_objective(np.array([at]), at_zero(1)))
        parabola = smoothed_smape(np.array([at])) + slope * (points - at) + curvature * np.square(points - at) / 2
        assert (parabola >= smoothed_smape(points) - 1e-9).all()


def test_constant_prices_stay_constant(tmp_path: Path) -> None:
    train = products(40)
    flat = catalog_of(list(train.texts), np.full(len(train), 7.0), train.groups)
    np.testing.assert_allclose(fitted(tmp_path, flat).predict(strangers()), 7.0, rtol=1e-3)


def test_the_deadline_ends_a_training_and_leaves_no_half_cache(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        BOOSTED.train(products(40), None, BoostedConfig(), context(tmp_path, deadline=time.time() - 1))
    assert [path.suffix for path in (tmp_path / "cache" / "boosted").iterdir()] == [".lock"]


def test_models_of_one_fold_share_what_they_know_and_make_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, rows = products(120), products(40, seed=1)
    loaded = []
    for objective in ("huber", "l2"):
        fitted(tmp_path / objective, train, objective=objective).save(tmp_path / objective / "model")
        loaded.append(BOOSTED.load(tmp_path / objective / "model"))
    assert loaded[0].target_features is loaded[1].target_features
    made: list[int] = []
    features = TargetFeatures._features
    monkeypatch.setattr(TargetFeatures, "_features", lambda self, view: made.append(1) or features(self, view))
    alone = [model.predict(rows) for model in loaded]
    asked = rows.with_memory()
    np.testing.assert_array_equal([model.predict(asked) for model in loaded], alone)
    assert len(made) == 3
