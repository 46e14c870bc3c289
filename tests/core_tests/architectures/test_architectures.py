"""The contract, run over every architecture of the registry, and what the neural ones add to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.architectures import ARCHITECTURES, architecture
from core.architectures.multimodal import MultimodalArchitecture, MultimodalConfig
from core.architectures.neural_architecture import NeuralModel, Runtime
from core.architectures.neural_model import Encoders
from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders import tiny
from core.inputs.images.files import Padding, decode
from core.protocols.architecture import LEVELS, Context, Limit, Model, make_config
from pricestack.testing.architectures import (
    LAPTOP,
    ArchitectureContract,
    architecture_suites,
    small_settings,
    toy_catalog,
)
from tests.core_tests.classical_toys import small_encoder
from tests.core_tests.image_toys import catalog_of
from tests.errors import refused
from tests.paths import SHARED

OPTIONS: dict[str, Any] = {
    "fields": "both", "categories": 4, "head": "both", "bins": 16, "lora_rank": 2, "layer_decay": 0.9, "head_rate": 2.0,
}  # fmt: skip


globals().update(architecture_suites())


class EveryOption(ArchitectureContract):
    """Fields, bins, rates by depth and adapters at once."""

    @property
    def config(self) -> Any:
        return make_config(self.made.Config, {**small_settings(self.name), **OPTIONS})

    def test_the_distribution_is_told_and_survives_saving(self, trained: Model, catalog: Catalog, place: Path) -> None:
        quantiles = trained.predict_quantiles(catalog)
        assert quantiles is not None
        assert quantiles.shape == (len(catalog), len(LEVELS))
        trained.save(place / "distribution")
        loaded = self.made.load(place / "distribution")
        np.testing.assert_allclose(loaded.predict_quantiles(catalog), quantiles, rtol=1e-5)
        chosen = np.array([30, 2])
        np.testing.assert_allclose(trained.predict_quantiles(catalog.take(chosen)), quantiles[chosen], rtol=1e-3)


NETWORKS = tuple(name for name, registered in ARCHITECTURES.items() if registered.is_network)
globals().update(architecture_suites(EveryOption, *NETWORKS))


def test_an_unknown_architecture_is_answered_with_the_nearest() -> None:
    with refused("architecture-unknown"):
        architecture("multimodel")


def test_white_padding_is_left_out_of_ids_as_older_members_have_none() -> None:
    assert "padding" not in MultimodalConfig().canonical()
    assert MultimodalConfig(padding="black").canonical()["padding"] == "black"


@pytest.mark.parametrize("padding", ["white", "black"])
def test_a_network_reads_images_on_the_padding_of_its_config(images: Path, tmp_path: Path, padding: Padding) -> None:
    made, catalog = MultimodalArchitecture(), catalog_of(["tall.png"], images)
    config = MultimodalConfig(text_encoder="tiny", vision_encoder="tiny-vision", fields="none", padding=padding)
    tokenizer = tiny.train_tokenizer(list(catalog.texts))
    encoders: Encoders = {"text": tiny.text_encoder(tokenizer.get_vocab_size()), "vision": tiny.TinyVision()}
    cache = Cache(tmp_path / "cache")
    assert made.prepare({"train": catalog}, config, cache, drop_bad=False) == ()
    for runtime in (Runtime(cache=cache), Runtime()):  # in training, and in the service
        model = NeuralModel(made, made.network(encoders, config), tokenizer, config, runtime=runtime)
        read: Any = made.examples(model, catalog)
        expected = decode(images / "tall.png", tiny.TinyVision.size, padding=padding)
        assert (read.pixels.take(np.array([0]))[0] == expected).all()
    assert len(list(cache.folder.glob("pixels-*/*/pixels.npy"))) == 1


def test_settings_without_effect_are_not_canonical() -> None:
    off = MultimodalConfig(mixup_alpha=0.2, augment=False, random_erase=0.1, smape_weight=0.1)
    assert off.canonical() == MultimodalConfig(augment=False).canonical()
    assert MultimodalConfig(use_mixup=True, mixup_alpha=0.2).canonical() != MultimodalConfig(use_mixup=True).canonical()
    assert off.without_effect()["mixup_alpha"] == "without use_mixup"


@pytest.mark.parametrize(("name", "setting"), [("text", "text_encoder"), ("boosted", "frozen_encoder")])
def test_tokens_beyond_an_encoders_positions_are_not_effective(name: str, setting: str, tmp_path: Path) -> None:
    made, encoder = architecture(name), str(small_encoder(tmp_path / "bert"))
    short, long, longer = (
        made.effective(make_config(made.Config, {setting: encoder, "max_length": length})) for length in (64, 512, 1024)
    )
    assert short != long == longer
    assert made.limits(longer) == {"max_length": Limit(512, encoder)}
    assert architecture("boosted").limits(architecture("boosted").Config()) == {}


@pytest.mark.parametrize("name", ["text", "multimodal"])
def test_resolve_says_which_encoder_it_took_and_why(name: str) -> None:
    resolution = architecture(name).resolve({"text_encoder": "tiny"}, LAPTOP, None)
    assert resolution.space == f"{name}-tiny"
    assert resolution.notes[0] == "text encoder: tiny (named)"


@pytest.mark.parametrize("name", ["text", "multimodal"])
def test_a_frozen_encoder_has_a_space_of_its_own(name: str, tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModelWithProjection(CLIPVisionConfig(**shape, image_size=32, patch_size=16)).save_pretrained(
        tmp_path / "clip"
    )
    settings = {"text_encoder": str(small_encoder(tmp_path / "bert")), "vision_encoder": str(tmp_path / "clip")}
    taken = {key: value for key, value in settings.items() if key in architecture(name).Config.model_fields}
    for frozen, space in ((False, name), (True, f"{name}-frozen")):
        assert architecture(name).resolve({**taken, "freeze_text": frozen}, LAPTOP, None).space == space
    assert (
        architecture(name).resolve({"text_encoder": "tiny", "freeze_text": True}, LAPTOP, None).space == f"{name}-tiny"
    )


def prices_of(catalog: Catalog, folder: Path, **settings: object) -> np.ndarray:
    made = architecture("multimodal")
    config = make_config(made.Config, {**small_settings("multimodal"), **settings})
    return made.train(catalog, None, config, Context(0, Cache(folder / "cache"), folder / "run")).predict(catalog)


def test_a_frozen_clip_tower_keeps_its_weights_and_survives_saving(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**shape, image_size=32, patch_size=16, projection_dim=12))
    tower.save_pretrained(tmp_path / "clip")
    catalog, made = toy_catalog(tmp_path / "images"), architecture("multimodal")
    settings = {**small_settings("multimodal"), "vision_encoder": str(tmp_path / "clip")}
    config = make_config(made.Config, settings)
    model = made.train(catalog, None, config, Context(0, Cache(tmp_path / "cache"), tmp_path / "run"))
    after = model.network.encoders["vision"].model.state_dict()  # type: ignore[attr-defined]
    for name, tensor in tower.state_dict().items():
        torch.testing.assert_close(after[name], tensor)
    model.save(tmp_path / "saved")
    # The one reads pixels anew, the other the tower's cached answers in fp16.
    np.testing.assert_allclose(made.load(tmp_path / "saved").predict(catalog), model.predict(catalog), rtol=2e-3)
    assert set(made.identity(config)) == {"text", "vision"}
    assert model.predict(catalog.take(np.array([], dtype=np.intp))).shape == (0,)


@pytest.mark.parametrize("settings", [{"image_tokens": "pooled"}, {"use_mixup": True}, {"augment": False}])
def test_ways_to_use_pictures_change_the_prices(settings: dict[str, object], tmp_path: Path) -> None:
    catalog = toy_catalog(tmp_path / "images")
    changed = prices_of(catalog, tmp_path, **settings)
    assert np.isfinite(changed).all()
    assert not np.allclose(changed, prices_of(catalog, tmp_path), rtol=1e-6)


def test_an_encoder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    fixture = SHARED / "fixtures" / "neobert"
    if not fixture.is_dir():
        pytest.skip("../shared/fixtures/neobert is absent")
    made = architecture("text")
    config = make_config(made.Config, {**small_settings("text"), "text_encoder": str(fixture)})
    with refused("encoder-no-tokenizer"):
        made.train(
            toy_catalog(tmp_path / "images"), None, config, Context(0, Cache(tmp_path / "cache"), tmp_path / "run")
        )
