"""`lexical`: learns, is saved whole, keeps its promises on strange rows; its net's gradient is the loss's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from core.architectures.lexical import LexicalArchitecture, LexicalConfig
from core.classical import mlp
from core.classical.linear import fit_huber, fit_ridge
from core.data.folds import inner_folds
from core.errors import OutOfTime
from core.metrics import constant_floor, smape
from core.protocols.architecture import make_config
from tests.core_tests.classical_toys import catalog_of, context, products, small_encoder, strangers
from tests.errors import refused

LEXICAL = LexicalArchitecture()
SMALL = {"model": "blend", "hidden": 16, "nets": 1}


def config(**settings: object) -> LexicalConfig:
    return make_config(LexicalConfig, settings)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        *((SMALL | {"model": model}, 0.5) for model in ("ridge", "mlp", "blend", "neighbours", "kernel")),
        ({"model": "ridge", "linear_loss": "huber"}, 0.7),
        ({"model": "mlp", "net_inputs": "both", "nets": 2, "hidden": 16}, 0.7),
        ({"model": "neighbours", "per_unit": False}, 0.7),
        ({"model": "kernel", "kernel_rows": 40, "kernel_samples": 1, "kernel_sample_rows": 60}, 0.7),
    ],
)
def test_beats_the_constant_by_far_and_reads_back_the_same(
    settings: dict[str, object], share: float, tmp_path: Path
) -> None:
    train, test = products(240), products(60, seed=1)
    reports: dict[int, Mapping[str, float]] = {}
    trained = LEXICAL.train(train, test, config(**settings), context(tmp_path, report=reports.__setitem__))
    predicted = trained.predict(test)
    assert smape(test.known_prices, predicted) < share * constant_floor(test.known_prices)[1]
    assert list(reports) == [1] and reports[1]["smape"] == pytest.approx(smape(test.known_prices, predicted))
    np.testing.assert_allclose(trained.predict(test.take(np.array([7]))), predicted[[7]], rtol=1e-6)
    trained.save(tmp_path / "model")
    loaded = LEXICAL.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(test), predicted)
    assert not list((tmp_path / "model").glob("*.pkl"))
    strange = loaded.predict(strangers())
    assert np.isfinite(strange).all() and (strange > 0).all()


@pytest.mark.parametrize("model", ["neighbours", "kernel"])
def test_texts_are_compared_by_an_encoder_where_one_is_given(model: str, tmp_path: Path) -> None:
    encoder, train, test = small_encoder(tmp_path / "encoder"), products(80), products(20, seed=1)
    plain, read = (config(model=model, kernel_samples=1, frozen_encoder=name) for name in (None, str(encoder)))
    assert LEXICAL.identity(plain) == {} and set(LEXICAL.identity(read)) == {"text"}
    trained = LEXICAL.train(train, None, read, context(tmp_path))
    predicted = trained.predict(test)
    assert not np.allclose(predicted, LEXICAL.train(train, None, plain, context(tmp_path)).predict(test), rtol=1e-6)
    trained.save(tmp_path / "model")
    np.testing.assert_allclose(LEXICAL.load(tmp_path / "model").predict(test), predicted, rtol=1e-2)


@pytest.mark.parametrize(
    ("changed", "models_that_heed_it"),
    [
        ({"hidden": 64}, {"mlp", "blend"}),
        ({"number_weight": 0.2}, {"ridge", "blend", "neighbours"}),
        ({"frozen_encoder": "any"}, {"neighbours", "kernel"}),
        ({"mlp_weight": 0.9}, {"blend"}),
    ],
)
def test_settings_without_effect_are_left_out(changed: dict[str, object], models_that_heed_it: set[str]) -> None:
    models = ("ridge", "mlp", "blend", "neighbours", "kernel")
    heed = {each for each in models if config(model=each).canonical() != config(model=each, **changed).canonical()}
    assert heed == models_that_heed_it
    assert LEXICAL.identity(config(model="ridge", **changed)) == {}


def test_hubers_loss_is_not_moved_by_one_absurd_price() -> None:
    rng = np.random.default_rng(0)
    inputs = sp.csr_matrix(rng.normal(size=(200, 5)))
    log_prices = inputs @ np.arange(5.0)
    log_prices[0] += 1000.0
    far, near = (
        np.abs(fit(inputs, log_prices, 0.1).coefficients - np.arange(5.0)).max() for fit in (fit_ridge, fit_huber)
    )
    assert near < 0.05 < far


def test_valid_rows_change_nothing(tmp_path: Path) -> None:
    train, test = products(80), products(40, seed=1)
    alone = LEXICAL.train(train, None, config(**SMALL), context(tmp_path / "a")).predict(test)
    watched = LEXICAL.train(train, test, config(**SMALL), context(tmp_path / "b")).predict(test)
    np.testing.assert_array_equal(alone, watched)


@pytest.mark.parametrize("texts", [["🍫"] * 4, ["same text"] * 4, ["", "a", "b c", "Item Name: d 2 oz"]])
def test_hardly_any_text(texts: list[str], tmp_path: Path) -> None:
    train = catalog_of(texts, np.full(4, 5.0))
    predicted = LEXICAL.train(train, None, LexicalConfig(), context(tmp_path)).predict(strangers())
    np.testing.assert_allclose(predicted, 5.0, rtol=0.2)


def test_the_deadline_ends_a_training(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="reading the text"):
        LEXICAL.train(products(40), None, LexicalConfig(), context(tmp_path, deadline=time.time() - 1))


def test_one_row_is_too_few(tmp_path: Path) -> None:
    with refused("lexical-too-few-rows"):
        LEXICAL.train(products(40).take(np.array([0])), None, LexicalConfig(), context(tmp_path))


def test_the_size_of_numbers_changes_no_kernel_and_no_net(tmp_path: Path) -> None:
    """It is left out of the config's name there."""
    for model in ("kernel", "mlp"):
        prices = []
        for weight in (0.05, 0.2):
            settings = config(model=model, number_weight=weight, epochs=2)
            trained = LEXICAL.train(products(60), None, settings, context(tmp_path / f"{model}{weight}"))
            prices.append(trained.predict(products(60)))
        np.testing.assert_allclose(prices[0], prices[1], rtol=1e-3)


@pytest.mark.parametrize("smape_weight", [0.0, 0.4, 1.0])
def test_the_nets_slope_is_the_losses(smape_weight: float) -> None:
    difference, step = np.linspace(-4, 4, 41, dtype=np.float32) + np.float32(0.013), 1e-3

    def loss(d: np.ndarray) -> np.ndarray:
        huber = np.where(np.abs(d) <= 0.5, d * d / 2, 0.5 * (np.abs(d) - 0.25))
        return (1 - smape_weight) * huber + smape_weight * 2 * np.tanh(np.abs(d) / 2)

    exact = difference.astype(np.float64)
    numeric = (loss(exact + step) - loss(exact - step)) / (2 * step)
    np.testing.assert_allclose(mlp.loss_slope(difference, smape_weight), numeric, atol=1e-3)


def test_backpropagation_agrees_with_differences() -> None:
    rng = np.random.default_rng(0)
    inputs = sp.csr_matrix(rng.random((12, 6), dtype=np.float32))
    target = rng.normal(size=12).astype(np.float32)
    recipe = mlp.MlpSettings((5, 4), 1, 12, 0.01, 0.0, 0.0, 0.0)
    net = mlp.train_net(inputs, target.astype(np.float64), recipe, seed=1)
    slopes = mlp._slopes(net, inputs, target, recipe, rng)

    def loss() -> float:
        d = net.predict(inputs) - target
        return float(np.where(np.abs(d) <= 0.5, d * d / 2, 0.5 * (np.abs(d) - 0.25)).mean())

    for parameter, slope in zip(net.weights + net.biases, slopes, strict=True):
        place = np.unravel_index(int(np.abs(slope).argmax()), slope.shape)
        before, step = parameter[place], np.float32(1e-2)
        parameter[place] = before + step
        up = loss()
        parameter[place] = before - step
        down = loss()
        parameter[place] = before
        assert slope[place] == pytest.approx((up - down) / (2 * step), rel=0.05, abs=1e-4)


def test_inner_folds_keep_groups_whole_and_even() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 200)
    folds = inner_folds(groups, 5, seed=1)
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 10
    np.testing.assert_array_equal(folds, inner_folds(groups, 5, seed=1))
    assert set(inner_folds(np.zeros(6, dtype=np.int64), 3, seed=0)) == {0, 1, 2}
