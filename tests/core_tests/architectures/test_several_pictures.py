"""Several pictures per product: what `multimodal` reads of them, learns from them, and does where some are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.architectures import architecture
from core.architectures.multimodal import MultimodalConfig, MultimodalNetwork, masked_mean
from core.architectures.neural_architecture import PATCHES, NeuralModel
from core.architectures.neural_model import Encoders
from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders import tiny
from core.inputs.augment import mixup
from core.inputs.images.files import check_images
from core.inputs.pixels import load_pixels, prepare_pixels
from core.metrics import smape
from core.protocols.architecture import Context, make_config
from pricestack.testing.architectures import LAPTOP, small_settings
from tests.errors import refused

ROWS, SIZE = 96, 16


def network(pictures: int, **settings: Any) -> MultimodalNetwork:
    torch.manual_seed(0)
    encoders: Encoders = {"text": tiny.text_encoder(40), "vision": tiny.TinyVision()}
    config = MultimodalConfig(
        vision_encoder="tiny-vision", fields="none", images_per_product=pictures, categories=0, **settings
    )
    return MultimodalNetwork(encoders, config).eval()


def inputs(rows: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (rows, 6), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}


def answer(model: MultimodalNetwork, **given: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs(), **given)


def told_by_the_second(folder: Path) -> Catalog:
    """Products of one text and one first picture; the second tells the price: dark ones cost 2, bright ones 40.

    Links are parted by bars, or a JSON list.
    """
    folder.mkdir()
    bright = np.random.default_rng(0).random(ROWS) < 0.5
    Image.new("RGB", (SIZE, SIZE), (120, 60, 60)).save(folder / "front.png")
    links = []
    for row, shade in enumerate(np.where(bright, 235, 20)):
        Image.new("RGB", (SIZE, SIZE), (int(shade), int(shade), int(row))).save(folder / f"{row}.png")
        both = ["https://shop.example/front.png", f"https://shop.example/{row}.png"]
        links.append(json.dumps(both) if row % 2 else " | ".join(both))
    ids = np.array([f"p{row}" for row in range(ROWS)], dtype=object)
    texts = np.full(ROWS, "Item Name: mug", dtype=object)
    return Catalog(ids, texts, np.array(links, dtype=object), np.where(bright, 40.0, 2.0), images=folder)


def train(catalog: Catalog, folder: Path, **settings: Any) -> NeuralModel:
    made = architecture("multimodal")
    small = {**small_settings("multimodal"), "fields": "none", "dropout": 0.0}
    config = make_config(made.Config, {**small, **settings})
    model = made.train(catalog, None, config, Context(0, Cache(folder / "cache"), folder / "run"))
    assert isinstance(model, NeuralModel)
    return model


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return told_by_the_second(tmp_path_factory.mktemp("several") / "images")


@pytest.mark.parametrize(
    "settings",
    [{}, {"freeze_vision": True}, {"attention_direction": "both", "augment": False}, {"use_mixup": True}],
    ids=str,
)
def test_what_the_second_picture_alone_tells_is_learnt_with_two(
    settings: dict[str, Any], catalog: Catalog, tmp_path: Path
) -> None:
    given = {"epochs": 12, "learning_rate": 1e-2, **settings}
    prices = catalog.known_prices
    two = train(catalog, tmp_path / "two", images_per_product=2, **given)
    assert smape(prices, two.predict(catalog)) < 40
    if not settings:
        assert smape(prices, train(catalog, tmp_path / "one", **given).predict(catalog)) > 80
    two.save(tmp_path / "saved")
    loaded = architecture("multimodal").load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.predict(catalog), two.predict(catalog), rtol=1e-3)
    some = np.array([7, 0, 30])
    np.testing.assert_allclose(loaded.predict(catalog.take(some)), two.predict(catalog)[some], rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"attention_direction": "both"}, {"attention_depth": 2}], ids=str)
def test_places_without_a_picture_are_not_asked(settings: dict[str, Any]) -> None:
    one, three = network(1, **settings), network(3, **settings)
    pixels = torch.randn(3, 3, 3, tiny.TinyVision.size, tiny.TinyVision.size)
    has = torch.tensor([[True, False, False], [False, False, False], [True, True, False]])
    found = answer(three, has_picture=has, pixels=pixels)
    torch.testing.assert_close(found[:2], answer(one, has_picture=has[:, 0], pixels=pixels[:, 0])[:2])
    assert torch.equal(
        answer(three, has_picture=has, pixels=torch.where(has[:, :, None, None, None], pixels, 9.0))[2], found[2]
    )
    assert not torch.allclose(found[2], answer(one, has_picture=has[:, 0], pixels=pixels[:, 0])[2])
    swapped = answer(three, has_picture=has, pixels=pixels[:, [1, 0, 2]])
    torch.testing.assert_close(swapped[2], found[2])


@pytest.mark.parametrize("tokens", ["patches", "pooled"])
def test_features_from_the_cache_are_those_of_the_pixels(tokens: str) -> None:
    model = network(2, image_tokens=tokens)
    pixels, has = torch.randn(3, 2, 3, tiny.TinyVision.size, tiny.TinyVision.size), torch.ones(3, 2, dtype=torch.bool)
    with torch.inference_mode():
        features = model.features(pixels)
    assert features.shape[:2] == (3, 2) and (features.shape[2] == 1) == (tokens == "pooled")
    torch.testing.assert_close(
        answer(model, has_picture=has, features=features), answer(model, has_picture=has, pixels=pixels)
    )


def test_masked_means_are_those_of_the_tokens_alone() -> None:
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[True, True, False, False], [True, True, True, True]])
    torch.testing.assert_close(masked_mean(tokens, mask), torch.stack([tokens[0, :2].mean(0), tokens[1].mean(0)]))


def test_pixels_put_the_pictures_that_are_there_first(tmp_path: Path) -> None:
    for name, shade in (("a", 10), ("b", 20), ("c", 30)):
        Image.new("RGB", (SIZE, SIZE), (shade,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    links = ["a.png|b.png|c.png", "gone.png|b.png", "", '["c.png", "c.png", "a.png"]', "a.png"]
    column = np.array(links, dtype=object)
    catalog, cache = Catalog(column, column, column, images=tmp_path), Cache(tmp_path / "cache")
    pixels = load_pixels(catalog, cache, SIZE, most=2)
    shades = pixels.take(np.arange(len(links)))[:, :, 0, 0, 0]
    assert shades.tolist() == [[10, 20], [20, 0], [0, 0], [30, 10], [10, 0]]
    assert (pixels.index >= 0).tolist() == [[True, True], [True, False], [False, False], [True, True], [True, False]]
    first = load_pixels(catalog, cache, SIZE)
    assert first.index.shape == (5,) and (first.index >= 0).tolist() == [True, False, False, True, True]
    bad = replace(catalog, links=np.array(["bad.png|a.png", *links[1:]], dtype=object))
    with refused("images-unusable") as caught:
        prepare_pixels({"train": bad}, cache, SIZE, most=2)
    assert "train row 1 " in str(caught.value)
    assert prepare_pixels({"train": bad}, cache, SIZE, most=2, drop_bad=True) == 1
    assert load_pixels(bad, cache, SIZE, most=2).take(np.array([0]))[0, :, 0, 0, 0].tolist() == [10, 0]


def test_one_of_two_files_missing_is_priced_from_the_other(catalog: Catalog, tmp_path: Path) -> None:
    model = train(catalog, tmp_path, images_per_product=2, epochs=12, learning_rate=1e-2)
    links = catalog.links.copy()
    links[:] = [f"https://shop.example/gone.png|{row}.png" for row in range(ROWS)]
    alone = model.predict(replace(catalog, links=links))
    assert np.isfinite(alone).all()
    assert smape(catalog.known_prices, alone) < 60


def test_a_sweep_says_that_rows_list_several_pictures(catalog: Catalog) -> None:
    assert check_images(catalog).several == ROWS
    assert f"{ROWS} list several, of which images_per_product are read" in check_images(catalog).note
    single = replace(catalog, links=np.array(["https://shop.example/0.png"] * ROWS, dtype=object))
    assert check_images(single).several == 0 and "several" not in check_images(single).note


def test_mixup_mixes_all_pictures_of_a_row() -> None:
    pixels, prices = torch.rand(5, 2, 3, 4, 4), torch.rand(5)
    mixed, targets = mixup(pixels, prices, 0.3, torch.Generator().manual_seed(0))
    for place in range(2):
        alone, same = mixup(pixels[:, place], prices, 0.3, torch.Generator().manual_seed(0))
        assert torch.equal(mixed[:, place], alone) and torch.equal(targets, same)


def test_the_default_is_left_out_of_ids_and_more_count_as_tokens_and_time(catalog: Catalog, tmp_path: Path) -> None:
    one, two = MultimodalConfig(), MultimodalConfig(images_per_product=2)
    assert "images_per_product" not in one.canonical() and two.canonical()["images_per_product"] == 2
    assert one.memory_key() + ", 2 pictures" == two.memory_key()
    pooled = MultimodalConfig(image_tokens="pooled", attention_heads=2, images_per_product=2)
    assert "attention_heads" not in pooled.without_effect()
    with refused("config-bad-value"):
        make_config(MultimodalConfig, {"images_per_product": 9})
    made: Any = architecture("multimodal")
    settings = {"text_encoder": "tiny", "vision_encoder": "tiny-vision"}
    seconds = [made.estimate_seconds(catalog, config.model_copy(update=settings), LAPTOP) for config in (one, two)]
    assert seconds[1] > 1.5 * seconds[0]
    for frozen in (False, True):
        few, many = (
            train(catalog.take(np.arange(16)), tmp_path / str(frozen), epochs=1, freeze_text=frozen, **more)
            for more in ({}, {"images_per_product": 3})
        )
        lengths = [made.examples(model, catalog).lengths for model in (few, many)]
        assert (lengths[1] - lengths[0] == 2 * PATCHES).all()
