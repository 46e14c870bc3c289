import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import stats
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from core.inputs import augment as module
from core.inputs.augment import (
    ERASE_SCALE,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    augment,
    color_jitter,
    mixup,
    normalise,
    random_erase,
    random_geometry,
    to_unit,
)

SIZE = 48


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(rows: int = 8, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (rows, size, size, 3), dtype=torch.uint8, generator=generator(seed))


def smooth(rows: int = 4, size: int = SIZE) -> torch.Tensor:
    """(rows, 3, size, size) in 0..1 without sharp edges, so that resampling can be compared."""
    coarse = torch.rand((rows, 3, 5, 5), generator=generator(3))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def test_preprocessing_is_clips() -> None:
    square = pictures(3, 224)
    processor = CLIPImageProcessorPil()
    expected = processor(images=[Image.fromarray(picture.numpy()) for picture in square], return_tensors="pt")
    assert torch.allclose(normalise(square), expected["pixel_values"], atol=1e-5)
    unit = CLIPImageProcessorPil(do_normalize=False)(images=Image.fromarray(square[0].numpy()), return_tensors="pt")
    assert torch.allclose(to_unit(square)[0], unit["pixel_values"][0], atol=1e-6)


def test_other_encoders_statistics_can_be_given() -> None:
    half = normalise(pictures(), (0.5,) * 3, (0.5,) * 3)
    assert half.min() >= -1 and half.max() <= 1
    assert torch.allclose(half, to_unit(pictures()) * 2 - 1, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 5), size=st.integers(8, 40), seed=st.integers(0, 2**31), erase=st.floats(0, 1))
def test_augmented_pictures_are_finite_in_range_and_determined_by_the_seed(
    rows: int, size: int, seed: int, erase: float
) -> None:
    pixels = pictures(rows, size, seed)
    before = pixels.clone()
    seen = augment(pixels, erase, generator(seed))
    assert seen.shape == (rows, 3, size, size)
    assert seen.dtype == torch.float32
    lowest, highest = (normalise(torch.full((1, 1, 1, 3), value, dtype=torch.uint8)) for value in (0, 255))
    assert ((lowest - 1e-4 <= seen) & (seen <= highest + 1e-4)).all()
    assert torch.equal(seen, augment(pixels, erase, generator(seed)))
    assert torch.equal(pixels, before)


def test_another_seed_and_a_later_call_give_other_pictures() -> None:
    draw = generator(1)
    first, later = augment(pictures(), 0.2, draw), augment(pictures(), 0.2, draw)
    assert not torch.equal(first, later)
    assert not torch.equal(first, augment(pictures(), 0.2, generator(2)))


def test_pictures_of_a_batch_are_augmented_differently() -> None:
    same = pictures(1).expand(6, -1, -1, -1)
    seen = augment(same, 0.0, generator(0))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def still(monkeypatch: pytest.MonkeyPatch, *, crop: bool = False, turn: float = 0.0) -> None:
    if not crop:
        monkeypatch.setattr(module, "CROP_SCALE", (1.0, 1.0))
        monkeypatch.setattr(module, "CROP_RATIO", (1.0, 1.0))
    monkeypatch.setattr(module, "ROTATION_DEGREES", turn)


def test_without_crop_and_rotation_half_the_pictures_are_mirrored_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    still(monkeypatch)
    unit = to_unit(pictures(400, 16))
    moved = random_geometry(unit, generator(0))
    as_is = torch.isclose(moved, unit, atol=1e-4).all(dim=(1, 2, 3))
    mirrored = torch.isclose(moved, unit.flip(3), atol=1e-4).all(dim=(1, 2, 3))
    assert (as_is ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_rotation_turns_about_the_centre_by_fifteen_degrees_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    still(monkeypatch, turn=15.0)
    size = 65
    unit = torch.zeros(300, 3, size, size)
    unit[:, :, :33, 31:34] = 1.0  # a hand pointing up from the centre
    moved = random_geometry(unit, generator(0))[:, 0]
    place = torch.arange(size) - 32.0
    weight = moved.sum(dim=(1, 2))
    x, y = (moved * place).sum(dim=(1, 2)) / weight, (moved * place[:, None]).sum(dim=(1, 2)) / weight
    angles = torch.rad2deg(torch.atan2(x, -y))
    assert -15.5 < angles.min() < -13 and 13 < angles.max() < 15.5
    assert torch.hypot(x, y).sub(16).abs().max() < 1.0


def test_crops_keep_seven_tenths_of_the_area_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    still(monkeypatch, crop=True)
    size = 64
    ramp = torch.linspace(0, 1, size)
    unit = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.zeros(size, size)])
    moved = random_geometry(unit.expand(500, -1, -1, -1), generator(0))
    width = (moved[:, 0, 32, -8] - moved[:, 0, 32, 8]).abs() * (size - 1) / (size - 16)
    height = (moved[:, 1, -8, 32] - moved[:, 1, 8, 32]).abs() * (size - 1) / (size - 16)
    area, ratio = width * height, width / height
    assert 0.68 < area.min() < 0.74 and 0.94 < area.max() < 1.02
    assert ratio.min() > 0.73 and ratio.max() < 1.37
    assert moved.min() >= 0 and moved.max() <= 1


def test_brightness_and_saturation_are_pillows() -> None:
    picture = smooth(1)
    image = Image.fromarray((picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    unit = to_unit(torch.from_numpy(np.array(image))[None])
    steps = (
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    )
    for adjust, reference in steps:
        for factor in (0.7, 1.0, 1.3):
            expected = np.asarray(reference(image).enhance(factor), dtype=float)
            got = adjust(unit, torch.tensor(factor).view(1, 1, 1, 1))[0].permute(1, 2, 0).numpy() * 255
            assert np.abs(got - expected).max() <= 2.0, (reference, factor)


@settings(deadline=None, max_examples=60)
@given(rgb=st.tuples(*[st.floats(0, 1, width=32)] * 3), shift=st.floats(-0.5, 0.5, width=32))
def test_hue_is_colorsyss(rgb: tuple[float, float, float], shift: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    expected = colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value)
    got = adjust_hue(torch.tensor(rgb).view(1, 3, 1, 1), torch.tensor(shift).view(1, 1, 1, 1)).flatten()
    assert got.tolist() == pytest.approx(expected, abs=1e-3)


def test_jitter_stays_in_range_and_small() -> None:
    unit = smooth(64, 16)
    changed = color_jitter(unit, generator(0))
    assert changed.min() >= 0 and changed.max() <= 1
    brightness = changed.mean(dim=(1, 2, 3)) / unit.mean(dim=(1, 2, 3))
    assert 0.65 < brightness.min() < 0.8 and 1.15 < brightness.max() < 1.35


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 6), st.just(3), st.integers(8, 60), st.integers(8, 60)),
    probability=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_erased_area_is_one_rectangle_within_bounds(shape: tuple[int, ...], probability: float, seed: int) -> None:
    pixels, (high, wide) = torch.ones(shape), shape[2:]
    erased = random_erase(pixels, probability, generator(seed))
    assert (pixels == 1).all()
    for picture in erased:
        hole = picture == 0
        assert (hole == hole[:1]).all()
        if hole.any():
            ys, xs = torch.where(hole[0])
            tall, broad = int(ys.max() - ys.min()) + 1, int(xs.max() - xs.min()) + 1
            assert hole[0].sum() == tall * broad
            rounding = (tall + broad) / 2 + 0.25  # each side is rounded to whole pixels
            assert ERASE_SCALE[0] * high * wide - rounding <= tall * broad <= ERASE_SCALE[1] * high * wide + rounding


def test_erasing_happens_as_often_as_asked_and_anywhere() -> None:
    pixels = torch.ones(3000, 1, 32, 32)
    for probability in (0.0, 0.2, 1.0):
        erased = random_erase(pixels, probability, generator(0)) == 0
        share = erased.any(dim=(1, 2, 3)).float().mean().item()
        assert share == pytest.approx(probability, abs=0.03)
    areas = erased.float().mean(dim=(1, 2, 3))
    assert areas.mean().item() == pytest.approx(sum(ERASE_SCALE) / 2, abs=0.02)
    where = erased.float().mean(dim=(0, 1))
    assert where.min() > 0
    assert all(torch.allclose(where, where.flip(axis), atol=0.05) for axis in (0, 1))


def shares_of(alpha: float, rows: int = 4000) -> np.ndarray:
    """The lambdas that mixup used: row i has picture and log price i, so the two mixtures can be solved for lambda."""
    prices = torch.arange(rows, dtype=torch.float64)
    draw = generator(5)
    _, mixed = mixup(prices.view(-1, 1, 1, 1), prices, alpha, draw)
    replay = generator(5)
    torch.randint(2**62, (), generator=replay)
    partner = torch.randperm(rows, generator=replay)
    other = partner != torch.arange(rows)
    return ((mixed - prices[partner]) / (prices - prices[partner]))[other].numpy()


@pytest.mark.parametrize("alpha", [0.2, 0.3, 0.5, 2.0])
def test_lambda_is_beta_folded_at_one_half(alpha: float) -> None:
    shares = shares_of(alpha)
    assert shares.min() >= 0.5 - 1e-9 and shares.max() <= 1 + 1e-9
    # P(max(l, 1-l) <= s) = F(s) - F(1-s) for symmetric l
    law = stats.beta(alpha, alpha)
    rounded = np.clip(shares, 0.5, 1.0)
    assert stats.kstest(rounded, lambda s: law.cdf(s) - law.cdf(1 - s)).pvalue > 1e-3


@settings(deadline=None, max_examples=30)
@given(logs=st.lists(st.floats(-3, 10), min_size=1, max_size=12), alpha=st.floats(0.05, 5), seed=st.integers(0, 999))
def test_mixed_prices_lie_between_their_parents_and_inputs_are_left_alone(
    logs: list[float], alpha: float, seed: int
) -> None:
    prices = torch.tensor(logs, dtype=torch.float32)
    pixels = prices.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()
    kept_prices, kept_pixels = prices.clone(), pixels.clone()
    mixed_pixels, mixed_prices = mixup(pixels, prices, alpha, generator(seed))
    assert torch.equal(prices, kept_prices) and torch.equal(pixels, kept_pixels)
    assert prices.min() - 1e-3 <= mixed_prices.min() and mixed_prices.max() <= prices.max() + 1e-3
    # the same lambda for picture and price
    assert torch.allclose(mixed_pixels, mixed_prices.view(-1, 1, 1, 1).expand_as(mixed_pixels), atol=1e-3)
    again = mixup(pixels, prices, alpha, generator(seed))
    assert torch.equal(again[0], mixed_pixels) and torch.equal(again[1], mixed_prices)


def test_prices_mix_to_the_geometric_mean() -> None:
    prices = torch.tensor([3.0, 3000.0])
    for seed in range(20):
        _, mixed = mixup(torch.zeros(2, 3, 2, 2), prices.log(), 0.5, generator(seed))
        share = (mixed[0].item() - math.log(3000)) / (math.log(3) - math.log(3000))
        assert mixed[0].exp().item() == pytest.approx(3.0**share * 3000.0 ** (1 - share), rel=1e-3)
        assert mixed[0].exp() <= math.sqrt(3 * 3000) * 1.001


def test_half_precision_pictures_keep_their_type() -> None:
    mixed, prices = mixup(torch.ones(4, 3, 2, 2, dtype=torch.bfloat16), torch.zeros(4), 0.3, generator())
    assert (mixed.dtype, prices.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_what_the_processor_draws() -> None:
    pixels = pictures()
    here, there = augment(pixels, 0.5, generator()), augment(pixels.cuda(), 0.5, generator())
    assert torch.allclose(here, there.cpu(), atol=1e-2)
    prices = torch.arange(8.0)
    expected, got = mixup(here, prices, 0.3, generator()), mixup(there, prices.cuda(), 0.3, generator())
    assert torch.allclose(expected[1], got[1].cpu(), atol=1e-5)
