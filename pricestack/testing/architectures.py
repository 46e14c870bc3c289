"""Contract suite of architectures, generated from the registry: prices, quantiles, saving, seeds, deadlines, plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.architectures import ARCHITECTURES, architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.errors import OutOfTime, UserError
from core.hardware import Machine
from core.protocols.architecture import Architecture, Context, Model, make_config

LAPTOP = Machine(cores=2, memory=8 * 2**30, device="cpu", gpus=0)

_SMALL_NETWORK: dict[str, Any] = {
    "text_encoder": "tiny",
    "vision_encoder": "tiny-vision",
    "learning_rate": 2e-3,
    "batch_size": 16,
    "epochs": 2,
    "regressor_width": 16,
}


def small_settings(name: str) -> dict[str, Any]:
    """Settings with which that architecture trains in a second or two; the defaults where it is no network."""
    if not ARCHITECTURES[name].is_network:
        return {}
    known = architecture(name).Config.model_fields
    return {key: value for key, value in _SMALL_NETWORK.items() if key in known}


def architecture_suites(base: type[ArchitectureContract] | None = None, *names: str) -> dict[str, type]:
    """One test class for each registered architecture, or for `names`, to be put into a test module's `globals()`.

    base: the suite, or a subclass that adds to it.
    """
    suite = base or ArchitectureContract
    return {
        f"Test{suite.__name__}_{name}": type(f"Test{suite.__name__}_{name}", (suite,), {"name": name})
        for name in names or ARCHITECTURES
    }


def toy_catalog(folder: Path, rows: int = 60) -> Catalog:
    """Products whose price follows kind and pack size; every third has a picture."""
    random = np.random.default_rng(0)
    kinds, packs = random.integers(0, 4, rows), random.integers(1, 13, rows)
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for i in range(rows):
        if i % 3 == 0:
            Image.new("RGB", (40, 30), (int(20 * packs[i]), 60, 90)).save(folder / f"{i}.png")
        links.append(f"https://images.example.com/{i}.png" if i % 3 == 0 else "")
    names = ("Green tea", "Oak table", "Malt whisky", "Paper cup")
    texts = [
        f"Item Name: {names[kind]} No {i}, Pack of {pack}\nValue: {pack}\nUnit: Count"
        for i, (kind, pack) in enumerate(zip(kinds, packs, strict=True))
    ]
    prices = np.exp(1.0 + kinds + 0.5 * np.log(packs) + random.normal(0, 0.1, rows))
    ids = np.array([f"p{i}" for i in range(rows)], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), np.array(links, dtype=object), prices, images=folder)


class ArchitectureContract:
    """Contract of one architecture: `architecture_suites` gives each its `name`."""

    name: str

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(self.name)

    @pytest.fixture(scope="class")
    def catalog(self, place: Path) -> Catalog:
        return toy_catalog(place / "images")

    @pytest.fixture(scope="class")
    def trained(self, place: Path, catalog: Catalog) -> Model:
        return self.train(place / "trained", catalog)

    @property
    def made(self) -> Architecture:
        return architecture(self.name)

    @property
    def config(self) -> Any:
        return make_config(self.made.Config, small_settings(self.name))

    def train(self, folder: Path, catalog: Catalog, **context: Any) -> Model:
        rows = np.arange(len(catalog))
        where = Context(context.pop("seed", 7), Cache(folder.parent / "cache"), folder, **context)
        return self.made.train(catalog.take(rows[:48]), catalog.take(rows[48:]), self.config, where)

    def test_it_is_registered_under_its_name_with_a_summary(self) -> None:
        assert self.made.name == self.name
        assert self.made.summary

    def test_the_registry_says_what_the_class_declares(self) -> None:
        registered, made = ARCHITECTURES[self.name], self.made
        assert (registered.is_network, registered.reads_images) == (made.is_network, made.reads_images)
        assert set(registered.encoder_choices) <= set(made.Config.model_fields)
        assert set(made.encoder_settings) <= set(made.Config.model_fields)

    def test_prices_are_finite_and_positive(self, trained: Model, catalog: Catalog) -> None:
        prices = trained.predict(catalog)
        assert prices.shape == (len(catalog),)
        assert prices.dtype == np.float64
        assert np.isfinite(prices).all()
        assert (prices > 0).all()
        assert trained.best_epoch >= 1

    def test_quantiles_increase_where_there_are_any(self, trained: Model, catalog: Catalog) -> None:
        quantiles = trained.predict_quantiles(catalog)
        if quantiles is not None:
            assert len(quantiles) == len(catalog)
            assert (np.diff(quantiles, axis=1) >= 0).all()
            assert (quantiles > 0).all()

    def test_it_needs_no_prices_to_predict(self, trained: Model, catalog: Catalog) -> None:
        np.testing.assert_array_equal(trained.predict(catalog.without_prices()), trained.predict(catalog))

    def test_a_row_depends_on_itself_alone(self, trained: Model, catalog: Catalog) -> None:
        together = trained.predict(catalog)
        chosen = np.array([41, 3, 17])
        np.testing.assert_allclose(trained.predict(catalog.take(chosen)), together[chosen], rtol=1e-4)
        np.testing.assert_allclose(trained.predict(catalog.take(chosen[:1])), together[chosen[:1]], rtol=1e-4)

    def test_strange_texts_get_a_price(self, trained: Model, catalog: Catalog) -> None:
        texts = ["", "Ωμέγα 目覚まし時計 🕰", "x" * 100_000, " \n\t", "<b></b>&nbsp;", "1e309 Pack of 0"]
        ids = np.array([f"s{i}" for i in range(len(texts))], dtype=object)
        links = np.array(["", "https://images.example.com/absent.png", "", "", "", ""], dtype=object)
        prices = trained.predict(Catalog(ids, np.array(texts, dtype=object), links, images=catalog.images))
        assert np.isfinite(prices).all()
        assert (prices > 0).all()

    def test_a_saved_model_predicts_the_same(self, trained: Model, catalog: Catalog, place: Path) -> None:
        trained.save(place / "saved")
        loaded = self.made.load(place / "saved")
        np.testing.assert_allclose(loaded.predict(catalog), trained.predict(catalog), rtol=1e-6)
        assert loaded.best_epoch == trained.best_epoch
        for path in (place / "saved").rglob("*"):
            assert path.suffix not in {".pkl", ".pickle", ".joblib", ".pt", ".bin"}

    def test_the_same_seed_gives_the_same_prices(self, trained: Model, catalog: Catalog, place: Path) -> None:
        again = self.train(place / "again", catalog)
        np.testing.assert_allclose(again.predict(catalog), trained.predict(catalog), rtol=1e-6)

    def test_every_report_holds_the_validation_smape(self, catalog: Catalog, place: Path) -> None:
        reports: list[tuple[int, Mapping[str, float]]] = []
        self.train(place / "reported", catalog, report=lambda epoch, metrics: reports.append((epoch, metrics)))
        assert [epoch for epoch, _ in reports] == list(range(1, len(reports) + 1))
        assert reports
        assert all(0 <= metrics["smape"] <= 200 for _, metrics in reports)

    def test_it_refits_without_validation_rows(self, catalog: Catalog, place: Path) -> None:
        config = self.made.refit_config(self.config, 1)
        model = self.made.train(catalog, None, config, Context(0, Cache(place / "cache"), place / "refit"))
        assert np.isfinite(model.predict(catalog)).all()

    def test_no_time_is_an_orderly_end(self, catalog: Catalog, place: Path) -> None:
        with pytest.raises(OutOfTime):
            self.train(place / "late", catalog, deadline=0.0)

    def test_an_unknown_setting_is_answered_with_the_nearest(self) -> None:
        known = next(iter(self.made.Config.model_fields))
        with pytest.raises(UserError) as caught:
            make_config(self.made.Config, {known + "x": 1})
        assert caught.value.code == "config-unknown-setting"
        assert known in caught.value.hint

    def test_the_canonical_config_makes_the_same_config(self) -> None:
        canonical = self.config.canonical()
        assert make_config(self.made.Config, json.loads(json.dumps(canonical))).canonical() == canonical

    def test_plans(self, catalog: Catalog) -> None:
        resolution = self.made.resolve(small_settings(self.name), LAPTOP, 5.0)
        config = make_config(self.made.Config, resolution.settings)
        assert resolution.space.startswith(self.name)
        assert self.made.estimate_seconds(catalog, config, LAPTOP) > 0
        assert self.made.identity(config) == self.made.identity(config)
        columns: dict[str, Any] = {
            name: np.tile(getattr(catalog, name), 2) for name in ("ids", "texts", "links", "prices")
        }
        twice = replace(catalog, **columns)
        assert self.made.estimate_seconds(twice, config, LAPTOP) > self.made.estimate_seconds(catalog, config, LAPTOP)
        assert self.made.estimate_memory(twice, config, LAPTOP) > self.made.estimate_memory(catalog, config, LAPTOP) > 0
