"""What a training of `multimodal` sees of pictures and prices: MixUp in the loss's space, and nothing random at evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from core.architectures.multimodal import MultimodalArchitecture, MultimodalConfig
from core.architectures.neural_architecture import NeuralModel
from core.data.catalog import Catalog
from core.encoders import tiny
from core.encoders.presets import TINY, TINY_VISION
from core.inputs.augment import normalise
from core.inputs.images.files import decode
from core.nn import losses
from core.protocols.architecture import make_config

GREYS = [10 * number for number in range(1, 25)]
ROWS = np.arange(len(GREYS))


def price_of(grey: Tensor) -> Tensor:
    """log1p price, made a linear function of the grey of the picture: mixing both alike keeps it one."""
    return 0.5 + grey / 40.0


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Rows whose pictures are one grey each."""
    folder = tmp_path_factory.mktemp("images")
    for grey in GREYS:
        Image.new("RGB", (70, 70), (grey, grey, grey)).save(folder / f"{grey}.png")
    ids = np.array([str(grey) for grey in GREYS], dtype=object)
    texts = np.array([f"Item Name: grey {grey}" for grey in GREYS], dtype=object)
    links = np.array([f"https://example.com/{grey}.png" for grey in GREYS], dtype=object)
    prices = np.expm1(price_of(torch.tensor(GREYS, dtype=torch.float64)).numpy())
    return Catalog(ids, texts, links, prices, images=folder)


def examples(catalog: Catalog, **settings: object) -> Any:
    named = {"text_encoder": TINY, "vision_encoder": TINY_VISION}
    config = make_config(MultimodalConfig, {**named, **settings})
    architecture = MultimodalArchitecture()
    tokenizer = tiny.train_tokenizer(catalog.texts.tolist())
    encoders: Any = {"text": tiny.text_encoder(tokenizer.get_vocab_size()), "vision": tiny.TinyVision()}
    model = NeuralModel(architecture, architecture.network(encoders, config), tokenizer, config)
    return architecture.examples(model, catalog)


def grey_of(pixels: Tensor) -> Tensor:
    """(B,) grey of (B, 3, S, S) pictures of one colour, 0 to 255."""
    mean, std = tiny.TinyVision.mean[0], tiny.TinyVision.std[0]
    assert pixels.amax(dim=(1, 2, 3)).sub(pixels.amin(dim=(1, 2, 3))).max() < 1e-4
    return (pixels[:, 0, 0, 0] * std + mean) * 255


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**31), alpha=st.floats(0.05, 5))
def test_prices_are_mixed_as_log1p_with_the_pictures_lambda(seed: int, alpha: float, catalog: Catalog) -> None:
    seen = examples(catalog, augment=False, use_mixup=True, mixup_alpha=alpha)
    batch = seen.batch(ROWS, torch.Generator().manual_seed(seed))
    assert batch.targets is not None
    torch.testing.assert_close(batch.targets, price_of(grey_of(batch.inputs["pixels"])), atol=1e-3, rtol=0)
    assert not torch.equal(batch.targets, torch.from_numpy(losses.targets(catalog.known_prices)).float())


def test_a_network_that_says_the_mixed_target_has_no_loss(catalog: Catalog) -> None:
    seen = examples(catalog, augment=False, use_mixup=True)
    targets = seen.batch(ROWS, torch.Generator().manual_seed(0)).targets
    assert targets is not None
    for name in losses.LOSSES:
        assert losses.make_loss(name, {})(targets, targets).max() < 0.02  # the floor bends the lowest price a little


@settings(deadline=None, max_examples=5)
@given(erase=st.floats(0, 1), use_mixup=st.booleans(), seed=st.integers(0, 999))
def test_nothing_is_augmented_at_evaluation(erase: float, use_mixup: bool, seed: int, catalog: Catalog) -> None:
    seen = examples(catalog, augment=True, random_erase=erase, use_mixup=use_mixup)
    assert catalog.images is not None
    plain = np.stack([decode(catalog.images / f"{grey}.png", tiny.TinyVision.size) for grey in GREYS])
    torch.manual_seed(seed)
    judged = seen.batch(ROWS, None)
    torch.testing.assert_close(
        judged.inputs["pixels"], normalise(torch.from_numpy(plain), tiny.TinyVision.mean, tiny.TinyVision.std)
    )
    assert judged.targets is not None
    assert torch.equal(judged.targets, torch.from_numpy(losses.targets(catalog.known_prices)).float())
    trained = seen.batch(ROWS, torch.Generator().manual_seed(seed))
    assert not torch.equal(trained.inputs["pixels"], judged.inputs["pixels"])
    assert torch.equal(seen.batch(ROWS, torch.Generator().manual_seed(seed)).inputs["pixels"], trained.inputs["pixels"])


def test_without_augmentation_and_mixup_training_sees_what_evaluation_sees(catalog: Catalog) -> None:
    seen = examples(catalog, augment=False)
    trained, judged = seen.batch(ROWS, torch.Generator().manual_seed(0)), seen.batch(ROWS, None)
    assert torch.equal(trained.inputs["pixels"], judged.inputs["pixels"])
