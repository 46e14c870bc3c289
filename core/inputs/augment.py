"""Image augmentation and normalisation on batches, on any device.

Every random choice is drawn from the generator that is passed in, on the generator's own device, so that a seed gives the
same augmentation wherever the images are. All parameters but the colour steps' order are drawn per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""RGB statistics of CLIP's training images, as its published preprocessing uses them."""

CROP_SCALE = (0.7, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
ROTATION_DEGREES = 15.0
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.3, 0.3, 0.2, 0.02
ERASE_SCALE = (0.02, 0.33)
ERASE_RATIO = (0.3, 3.3)
_TRIES = 10  # boxes that do not fit are drawn again so often, as torchvision does
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as Pillow's mode L

Triple = tuple[float, float, float]


def to_unit(pixels: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32 in 0..1."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div(255.0).contiguous()


def normalise(pixels: Tensor, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD) -> Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32 with the encoder's channel statistics: what a model sees outside training."""
    return _standardised(to_unit(pixels), mean, std)


def augment(
    pixels: Tensor, erase: float, generator: Generator, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD
) -> Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32, randomly cropped, flipped, turned, recoloured, normalised and erased.

    In this order: RandomResizedCrop(S, scale 0.7-1.0), horizontal flip (1/2), rotation within 15 degrees, ColorJitter(0.3, 0.3,
    0.2, 0.02), normalisation, RandomErasing with probability `erase` (0.02 to 0.33 of the area, set to 0, the mean colour).
    """
    unit = random_geometry(to_unit(pixels), generator)
    return random_erase(_standardised(color_jitter(unit, generator), mean, std), erase, generator)


def mixup(pixels: Tensor, log_prices: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each row's image (B, 3, S, S), or images (B, K, 3, S, S), and log price (B,) mixed with those of another row of the batch
    (Zhang et al., 2018).

    Prices are mixed in the space of the losses' targets, log1p, that is, to a weighted geometric mean (of price + 1): SMAPE is
    a function of the difference of logs, and an arithmetic mean of 3 and 3,000 would be a price of the dear product alone.
    lambda ~ Beta(alpha, alpha) per row, folded to max(lambda, 1 - lambda): a row keeps its own text, so its own image and
    price must be the larger part. As Beta(alpha, alpha) is symmetric, the mixtures that are made are the same as without
    folding.
    """
    rows = len(log_prices)
    shares = _mixing_shares(rows, alpha, generator).to(device=log_prices.device, dtype=log_prices.dtype)
    partner = torch.randperm(rows, generator=generator, device=generator.device).to(log_prices.device)
    weights = shares.to(pixels.dtype).view(-1, *[1] * (pixels.dim() - 1))
    mixed = weights * pixels + (1 - weights) * pixels[partner]
    return mixed, shares * log_prices + (1 - shares) * log_prices[partner]


def random_geometry(unit: Tensor, generator: Generator) -> Tensor:
    """Crop, flip and rotation of (B, 3, S, S) in one bilinear sampling, so that the image is blurred once and not three times.

    Beyond the image's edge its border colour goes on (usually the white ground) instead of a black wedge.
    """
    rows = len(unit)
    width, height, left, top = _crop_boxes(rows, generator)
    flip = torch.where(_uniform(rows, 0.0, 1.0, generator) < 0.5, -1.0, 1.0)
    angle = _uniform(rows, -ROTATION_DEGREES, ROTATION_DEGREES, generator) * (math.pi / 180)
    # Rows of theta take an output place in -1..1 to the input place: turn back, flip back, then into the crop box.
    theta = torch.stack(
        [
            torch.stack([width * flip * angle.cos(), -width * flip * angle.sin(), 2 * left + width - 1], dim=1),
            torch.stack([height * angle.sin(), height * angle.cos(), 2 * top + height - 1], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta.to(unit.device), list(unit.shape), align_corners=False)
    return functional.grid_sample(unit, grid, mode="bilinear", padding_mode="border", align_corners=False)


def color_jitter(unit: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of (B, 3, S, S) in 0..1, in an order drawn per batch."""
    steps: list[tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = [
        (adjust_brightness, 1.0, BRIGHTNESS),
        (adjust_contrast, 1.0, CONTRAST),
        (adjust_saturation, 1.0, SATURATION),
        (adjust_hue, 0.0, HUE),
    ]
    for position in torch.randperm(len(steps), generator=generator, device=generator.device).tolist():
        adjust, centre, reach = steps[position]
        amount = _uniform(len(unit), centre - reach, centre + reach, generator)
        unit = adjust(unit, amount.to(unit.device).view(-1, 1, 1, 1))
    return unit


def adjust_brightness(unit: Tensor, factor: Tensor) -> Tensor:
    """(B, 3, S, S) times `factor` (B, 1, 1, 1), within 0..1."""
    return (unit * factor).clamp(0.0, 1.0)


def adjust_contrast(unit: Tensor, factor: Tensor) -> Tensor:
    """Each image's distance from its mean grey times `factor`, within 0..1."""
    centre = _grey(unit).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(centre, unit, factor).clamp(0.0, 1.0)


def adjust_saturation(unit: Tensor, factor: Tensor) -> Tensor:
    """Each pixel's distance from its grey times `factor`, within 0..1."""
    return torch.lerp(_grey(unit).expand_as(unit), unit, factor).clamp(0.0, 1.0)


def adjust_hue(unit: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by `shift` (a part of the full circle) with HSV's saturation and value kept."""
    value, lowest = unit.amax(dim=1, keepdim=True), unit.amin(dim=1, keepdim=True)
    chroma = value - lowest
    red, green, blue = unit.split(1, dim=1)
    safe = chroma.clamp(min=1e-8)
    sextant = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sextant + 6 * shift
    # f(n) = V - C max(0, min(k, 4-k, 1)) with k = (n + hue) mod 6 for n = 5, 3, 1: the closed form of HSV to RGB.
    k = torch.cat([hue + 5, hue + 3, hue + 1], dim=1).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0.0, 1.0)


def random_erase(pixels: Tensor, probability: float, generator: Generator) -> Tensor:
    """With `probability` per image, a rectangle of (B, C, S, S) set to 0 (Zhong et al., 2020). Returns a new tensor.

    Its area is 0.02 to 0.33 of the image, its ratio of sides log-uniform in 0.3 to 3.3; a rectangle that does not fit is
    drawn again, ten times at most.
    """
    rows, _, high, wide = pixels.shape
    chosen = _uniform(rows, 0.0, 1.0, generator) < probability
    width, height, fits = _boxes((rows, _TRIES), ERASE_SCALE, ERASE_RATIO, generator)
    width, height = (width * wide).round(), (height * high).round()
    fits &= (width < wide) & (height < high)
    chosen &= fits.any(dim=1)
    first = fits.int().argmax(dim=1, keepdim=True)
    width, height = width.gather(1, first).squeeze(1), height.gather(1, first).squeeze(1)
    left = (_uniform(rows, 0.0, 1.0, generator) * (wide - width + 1)).floor()
    top = (_uniform(rows, 0.0, 1.0, generator) * (high - height + 1)).floor()
    column, row = torch.arange(wide), torch.arange(high)
    across = (column >= left[:, None].cpu()) & (column < (left + width)[:, None].cpu())
    down = (row >= top[:, None].cpu()) & (row < (top + height)[:, None].cpu())
    inside = (down[:, :, None] & across[:, None, :] & chosen[:, None, None].cpu()).to(pixels.device)
    return pixels.masked_fill(inside[:, None], 0.0)


def _standardised(unit: Tensor, mean: Triple, std: Triple) -> Tensor:
    centre, spread = (torch.tensor(values, device=unit.device).view(1, 3, 1, 1) for values in (mean, std))
    return (unit - centre) / spread


def _grey(unit: Tensor) -> Tensor:
    weights = torch.tensor(_GREY, device=unit.device).view(1, 3, 1, 1)
    return (unit * weights).sum(dim=1, keepdim=True)


def _crop_boxes(rows: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Width, height, left and top of a crop per row, as parts of the image; all of it where no try fits."""
    widths, heights, fits = _boxes((rows, _TRIES), CROP_SCALE, CROP_RATIO, generator)
    first = fits.int().argmax(dim=1, keepdim=True)
    whole = ~fits.any(dim=1)
    width = widths.gather(1, first).squeeze(1).masked_fill(whole, 1.0)
    height = heights.gather(1, first).squeeze(1).masked_fill(whole, 1.0)
    left = _uniform(rows, 0.0, 1.0, generator) * (1 - width)
    top = _uniform(rows, 0.0, 1.0, generator) * (1 - height)
    return width, height, left, top


def _boxes(
    shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Widths and heights as parts of a square, uniform in area and log-uniform in ratio, and whether they fit into it."""
    area = _uniform(shape, *scale, generator)
    sides = _uniform(shape, math.log(ratio[0]), math.log(ratio[1]), generator).exp()
    width, height = (area * sides).sqrt(), (area / sides).sqrt()
    return width, height, (width <= 1) & (height <= 1)


def _uniform(shape: int | tuple[int, int], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _mixing_shares(rows: int, alpha: float, generator: Generator) -> Tensor:
    """(rows,) float64 draws of max(l, 1 - l), l ~ Beta(alpha, alpha).

    torch's own sampler takes no generator, so NumPy's is seeded by a draw from it.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    shares = np.random.default_rng(seed).beta(alpha, alpha, size=rows)
    return torch.from_numpy(np.maximum(shares, 1 - shares))
