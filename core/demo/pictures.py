"""Pictures of the demo shop's products: the pack's drawn size and its quality seal move the price, the rest is decoration."""

from __future__ import annotations

from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from core.demo.products import Product

SIDE = 160
SEALS = ((142, 142, 142), (40, 130, 220), (30, 160, 70), (225, 160, 0))
"""Tiers 0..3: grey, blue, green, gold."""

_SMALLEST, _LARGEST = 0.28, 0.88
_SLIMNESS = {"box": 0.8, "pouch": 0.7, "can": 0.6, "bottle": 0.42}


def file_name(product: Product, seed: int) -> str:
    """Looks like the native format's names; every seventh picture is a PNG."""
    code = Random(f"{seed} picture {product.picture}").getrandbits(44)
    return f"{code:011x}{'.png' if product.picture % 7 == 0 else '.jpg'}"


def draw(product: Product, path: Path, seed: int) -> None:
    """Draws the product and writes it as JPEG or PNG, 160 pixels wide or high at most. The same product, the same picture.

    The pack's height, 28% to 88% of the picture, shows `fill`; the seal beside it, a quarter of the picture wide, has the
    tier's colour and number of bars. Place, ground, brand colour and aspect vary and mean nothing.
    """
    random = Random(f"{seed} drawing {product.picture}")
    width, height = random.choice(((SIDE, SIDE), (SIDE, SIDE), (SIDE, 136), (136, SIDE)))
    light = random.randrange(225, 256)
    image = Image.new("RGB", (width, height), (light, light, random.randrange(225, 256)))
    canvas = ImageDraw.Draw(image)
    _draw_pack(canvas, product, (width, height), random)
    _draw_seal(canvas, product.tier, (width, height), random)
    if path.suffix == ".png":
        image.save(path, compress_level=1)
    else:
        image.save(path, quality=85)


def _draw_pack(canvas: ImageDraw.ImageDraw, product: Product, size: tuple[int, int], random: Random) -> None:
    share = _SMALLEST + (_LARGEST - _SMALLEST) * (product.fill + 1) / 2
    tall = share * min(size)
    wide = tall * _SLIMNESS[product.kind.shape]
    left = size[0] * 0.58 - wide / 2 + random.uniform(-6, 6)
    bottom = size[1] * 0.96 - random.uniform(0, 4)
    body = _pastel(Random(product.brand))
    box = (left, bottom - tall, left + wide, bottom)
    if product.kind.shape == "bottle":
        neck = wide * 0.3
        canvas.rectangle((left + neck, box[1], box[2] - neck, bottom), fill=body)
        canvas.rounded_rectangle((left, box[1] + tall * 0.25, box[2], bottom), radius=wide * 0.2, fill=body)
    elif product.kind.shape == "box":
        canvas.rectangle(box, fill=body)
    else:
        canvas.rounded_rectangle(box, radius=wide * 0.15, fill=body)
    label = (left + wide * 0.15, bottom - tall * 0.5, left + wide * 0.85, bottom - tall * 0.2)
    canvas.rectangle(label, fill=_pastel(Random(f"{product.kind.names[0]} {product.flavour}")))


def _draw_seal(canvas: ImageDraw.ImageDraw, tier: int, size: tuple[int, int], random: Random) -> None:
    across = 0.25 * min(size)
    left, top = random.uniform(0.04, 0.1) * size[0], random.uniform(0.06, 0.3) * size[1]
    canvas.ellipse((left, top, left + across, top + across), fill=SEALS[tier])
    for bar in range(tier + 1):
        y = top + across * (0.28 + 0.14 * bar)
        canvas.rectangle((left + across * 0.3, y, left + across * 0.7, y + across * 0.05), fill="white")


def _pastel(random: Random) -> tuple[int, int, int]:
    """A dull, middling colour: only the seal is bright."""
    grey = random.randrange(95, 150)
    red, green, blue = (grey + random.randrange(-22, 23) for _ in range(3))
    return red, green, blue
