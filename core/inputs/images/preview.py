"""Contact sheet of augmented images, drawn by the functions that training calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from core.console import warn
from core.demo.generate import FEWEST, draw
from core.demo.products import Shop
from core.errors import UserError
from core.inputs.augment import CLIP_MEAN, CLIP_STD, augment, mixup
from core.inputs.images.files import UnreadableImageError, decode, list_images
from core.nn import losses

Pixels = NDArray[np.uint8]

_GAP, _MARGIN, _HEADER, _CAPTION = 10, 16, 30, 40
_NARROWEST = 150
"""Pixels between and around the images, above and below them, and the least width of a column, which holds a caption."""

_INK, _PALE, _PAPER = (40, 40, 40), (120, 120, 120), (244, 244, 244)
_EXAMPLE_PRICES = (4.0, 400.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, (size, size, 3) uint8, the name to show under it, and its price in currency units (an invented one: example)."""

    pixels: Pixels
    name: str
    price: float
    example: bool = False


@dataclass(frozen=True)
class PreviewSettings:
    """views: augmented versions of each image. random_erase, mixup_alpha: as the configs of `multimodal` mean them."""

    views: int
    random_erase: float
    mixup_alpha: float
    seed: int


def demo_samples(count: int, size: int, seed: int) -> list[Sample]:
    """The first `count` different images of the demo shop, with their products' prices."""
    shop, found = Shop(FEWEST, seed), dict[int, Sample]()
    with TemporaryDirectory() as folder:
        path = Path(folder, "picture.png")
        while len(found) < count:
            product, _, price = shop.next_row()
            if product.image not in found:
                draw(product, path, seed)
                found[product.image] = Sample(decode(path, size), product.kind.names[0], price)
    return list(found.values())


def folder_samples(folder: Path, count: int, size: int, seed: int) -> list[Sample]:
    """At most `count` images of the folder, drawn with the seed; with example prices.

    Unusable files are warned of and passed over. Raises UserError where none is usable.
    """
    names = sorted(list_images(folder))
    Random(seed).shuffle(names)
    prices = np.geomspace(*_EXAMPLE_PRICES, count)
    found: list[Sample] = []
    for name in names:
        if len(found) == count:
            break
        try:
            found.append(Sample(decode(folder / name, size), name, float(prices[len(found)]), example=True))
        except UnreadableImageError as fault:
            warn(f"{folder / name} is passed over: {fault}")
    if not found:
        raise UserError(
            f"{folder} holds no picture that can be used",
            code="preview-no-image",
            hint="name a folder of pictures with --images",
        )
    return found


def contact_sheet(samples: Sequence[Sample], settings: PreviewSettings) -> Image.Image:
    """A row per image: the original, its augmented views, and what MixUp makes of one more view and its price."""
    generator = Generator().manual_seed(settings.seed)
    pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
    columns = [("original", pixels, [f"{number}: {one.name}" for number, one in enumerate(samples, 1)])]
    views = [augment(pixels, settings.random_erase, generator) for _ in range(settings.views + 1)]
    columns += [(f"view {number}", _shown(view), [""] * len(samples)) for number, view in enumerate(views[:-1], 1)]
    mixed, captions = _mixed(views[-1], [sample.price for sample in samples], settings)
    columns.append((f"MixUp (alpha {settings.mixup_alpha:g})", _shown(mixed), captions))
    return _drawn(columns, [f"{'example ' if one.example else ''}price {one.price:,.2f}" for one in samples])


def _mixed(view: Tensor, prices: Sequence[float], settings: PreviewSettings) -> tuple[Tensor, list[str]]:
    """MixUp of the batch as in training, and a caption for each row: lambda, partner and mixed price."""
    targets = torch.from_numpy(losses.targets(prices))
    mixed, log_prices = mixup(view, targets, settings.mixup_alpha, Generator().manual_seed(settings.seed))
    # The same draws once more, on a batch whose "images" are their own numbers: their mixture shows lambda and partner.
    rows = len(targets)
    names = torch.eye(rows, dtype=torch.float64).view(rows, rows, 1, 1)
    shares = mixup(names, targets, settings.mixup_alpha, Generator().manual_seed(settings.seed))[0].view(rows, rows)
    captions = [
        f"{_share_text(row, shares[row])}\nmixed price {price:,.2f}"
        for row, price in enumerate(torch.expm1(log_prices).tolist())
    ]
    return mixed, captions


def _share_text(row: int, shares: Tensor) -> str:
    others = [number for number in shares.nonzero().flatten().tolist() if number != row]
    return f"lambda {float(shares[row]):.2f} with {others[0] + 1}" if others else "with itself"


def _shown(normalised: Tensor) -> Tensor:
    """(B, 3, S, S) as the encoder gets it, back to (B, S, S, 3) uint8. An erased area, 0, is the mean colour."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return ((normalised * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _drawn(columns: Sequence[tuple[str, Tensor, list[str]]], prices: Sequence[str]) -> Image.Image:
    rows, size = len(prices), columns[0][1].shape[1]
    across, down = max(size, _NARROWEST) + _GAP, size + _CAPTION + _GAP
    sheet = Image.new(
        "RGB", (2 * _MARGIN + across * len(columns) - _GAP, 2 * _MARGIN + _HEADER + down * rows - _GAP), _PAPER
    )
    canvas = ImageDraw.Draw(sheet)
    title_font, font = ImageFont.load_default(15), ImageFont.load_default(13)
    for column, (title, images, captions) in enumerate(columns):
        left = _MARGIN + column * across
        canvas.text((left, _MARGIN), title, fill=_INK, font=title_font)
        for row in range(rows):
            top = _MARGIN + _HEADER + row * down
            sheet.paste(Image.fromarray(images[row].numpy()), (left, top))
            canvas.rectangle((left - 1, top - 1, left + size, top + size), outline=(200, 200, 200))
            first, _, second = captions[row].partition("\n")
            second = prices[row] if column == 0 else second
            canvas.text((left, top + size + 4), _cut(first, across - _GAP, font), fill=_INK, font=font)
            canvas.text((left, top + size + 20), _cut(second, across - _GAP, font), fill=_PALE, font=font)
    return sheet


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, shortened until it fits into `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
