"""Classical models on labelled lines: they learn from them, are saved with them, and see no row's own price through them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.architectures import architecture
from core.architectures.boosted import BoostedConfig
from core.classical.target_features import learn_target_features
from core.data.catalog import Catalog
from core.data.folds import inner_folds
from core.metrics import smape
from core.protocols.architecture import make_config
from tests.core_tests.classical_toys import catalog_of, context, strangers

SMALL: dict[str, dict[str, Any]] = {
    "boosted": {"max_rounds": 60, "learning_rate": 0.1, "bags": 1},
    "lexical": {"model": "kernel"},
}


def houses(count: int, seed: int = 0) -> Catalog:
    """Prices follow the area, the district and the number of extras, each in a line of its own; the heading says nothing."""
    rng = np.random.default_rng(seed)
    districts = ["Hafen", "Altstadt", "Westend", "Moor"]
    texts, prices = [], []
    for _ in range(count):
        area, district = int(rng.integers(1_000, 20_000)), int(rng.integers(len(districts)))
        extras = rng.choice(["Garage", "Sauna", "Garten", "Keller"], int(rng.integers(1, 4)), replace=False)
        texts.append(
            f"Haus {rng.integers(10**6)}\nLage: {districts[district]}\nAusstattung: {', '.join(extras)}\n"
            f"Wohnfläche: {f'{area:,}'.replace(',', '.')} m²\nBaujahr: {rng.integers(1900, 2020)}"
        )
        prices.append(0.3 * area**0.9 * 1.5**district * 1.2 ** len(extras) * np.exp(rng.normal(0, 0.05)))
    return catalog_of(texts, np.array(prices))


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
