"""Labelled lines as fields: models learn from them, are saved with them, and see no row's own price through them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.architectures import architecture
from core.architectures.boosted import BoostedConfig
from core.classical.target_features import learn_target_features
from core.data.folds import inner_folds
from core.metrics import smape
from core.protocols.architecture import make_config
from tests.core_tests.classical_toys import context, houses, strangers

SMALL: dict[str, dict[str, Any]] = {
    "boosted": {"max_rounds": 60, "learning_rate": 0.1, "bags": 1},
    "lexical": {"model": "kernel"},
}
NETWORK = {
    "text_encoder": "tiny",
    "max_length": 32,
    "regressor_width": 16,
    "epochs": 1,
    "batch_size": 16,
    "categories": 0,
    "precision": "fp32",
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_labelled_lines_are_learnt_and_saved(name: str, tmp_path: Path) -> None:
    kind, train, test = architecture(name), houses(240), houses(60, seed=1)
    scores = {}
    for labelled in (False, True):
        config = make_config(kind.Config, {**SMALL[name], "labelled_fields": labelled})
        model = kind.train(train, None, config, context(tmp_path / str(labelled)))
        scores[labelled] = smape(test.known_prices, model.predict(test))
        model.save(tmp_path / "model")
        loaded = kind.load(tmp_path / "model")
        np.testing.assert_allclose(loaded.predict(test), model.predict(test), rtol=1e-9)
        assert np.isfinite(loaded.predict(strangers())).all()
    assert scores[True] < 0.8 * scores[False]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_members_from_before_the_setting_keep_their_ids(name: str) -> None:
    kind = architecture(name)
    assert "labelled_fields" not in make_config(kind.Config, {}).canonical()
    assert make_config(kind.Config, {"labelled_fields": True}).canonical()["labelled_fields"] is True


def test_a_rows_own_price_never_reaches_its_features(tmp_path: Path) -> None:
    train = houses(120)
    sauna = np.array(["Sauna" in text for text in train.texts])
    train = replace(train, prices=train.known_prices * np.where(sauna, 3.0, 1.0))
    folds = inner_folds(train.product_groups, 5, 0)
    settings = make_config(BoostedConfig, {"labelled_fields": True, "max_terms": 500}).features(seed=0)

    def table(prices: np.ndarray) -> tuple[np.ndarray, list[str]]:
        learnt, features = learn_target_features(replace(train, prices=prices), folds, settings, lambda doing: None)
        return features, learnt.names

    features, names = table(train.known_prices)
    assert {"wohnfläche_m2", "lage_level_1_mean", "ausstattung_items_highest"} <= set(names)
    assert len(names) == features.shape[1] == len(set(names))
    inside = folds == 2
    other = np.where(
        inside, train.known_prices * np.random.default_rng(0).uniform(0.1, 10, len(train)), train.known_prices
    )
    changed, _ = table(other)
    tables = [place for place, name in enumerate(names) if "_level_" in name or "_items_" in name]
    np.testing.assert_array_equal(features[np.ix_(inside, tables)], changed[np.ix_(inside, tables)])
    assert not np.array_equal(features[np.ix_(~inside, tables)], changed[np.ix_(~inside, tables)])


def test_a_networks_branch_reads_labelled_numbers_and_is_saved_with_them(tmp_path: Path) -> None:
    kind, train, test = architecture("text"), houses(40), houses(10, seed=1)
    widths = {}
    for labelled in (False, True):
        config = make_config(kind.Config, {**NETWORK, "labelled_fields": labelled})
        model: Any = kind.train(train, None, config, context(tmp_path / str(labelled)))
        widths[labelled] = model.fields.width
        model.save(tmp_path / "model")
        loaded: Any = kind.load(tmp_path / "model")
        assert loaded.fields.learnt == model.fields.learnt
        np.testing.assert_allclose(loaded.predict(test), model.predict(test), rtol=1e-5)
    assert widths[True] > widths[False]
