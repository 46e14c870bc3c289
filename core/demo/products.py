"""Product generator of the demo shop: kinds, prices, and the spelling of their rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

from core.demo.shop_words import ADJECTIVES, BRANDS, CLAIMS, KINDS, ODD_UNITS, PACKS, SENTENCES, UNITS, Kind

TIERS = 4
TIER_STEP = 0.24
FILL_REACH = 0.34
"""Shown by the image alone, in log price: tiers are a step of 0.24 apart, and the drawn size adds -0.34 to 0.34."""
NOISE = 0.19
"""Standard deviation in log price of what neither text nor image shows."""
LOWEST, HIGHEST = 0.5, 5000.0

_BRAND_SPREAD = 0.4
_PACK_COUNTS = (1, 1, 1, 1, 1, 2, 3, 4, 6, 12, 24)
_DEAR = 40
_REPEATED = 0.15


@dataclass(frozen=True)
class Product:
    """size: grams, millilitres or pieces in one of `pack` units. tier (0..3) and fill (-1..1) are seen in the image alone.

    surprise: unpredictable part of the log price. image: number of the image; repeated products share it.
    """

    brand: str
    kind: Kind
    flavour: str
    size: float
    pack: int
    tier: int
    fill: float
    surprise: float
    image: int

    @property
    def hidden(self) -> float:
        """The part of the log price that the text lacks and the image shows."""
        return TIER_STEP * (self.tier - (TIERS - 1) / 2) + FILL_REACH * self.fill

    def price(self, level: float) -> float:
        """Currency units, from the brand's price `level` (log), the quantity, and what the image shows."""
        quantity = self.kind.elasticity * math.log(self.size / self.kind.typical) + 0.85 * math.log(self.pack)
        log_price = math.log(self.kind.base) + level + quantity + self.hidden + self.surprise
        return round(min(max(math.exp(log_price), LOWEST), HIGHEST), 2)


class Shop:
    """A seeded assortment. `levels`: each brand's price level in log price."""

    def __init__(self, rows: int, seed: int) -> None:
        self._random = Random(f"pricestack demo {seed}")
        self._products: list[Product] = []
        self._texts: list[str] = []
        self._brands = self._random.sample(BRANDS, min(len(BRANDS), 24 + rows // 100))
        self.levels = {brand: self._random.gauss(0.0, _BRAND_SPREAD) for brand in self._brands}

    def next_row(self) -> tuple[Product, str, float]:
        """A product, its catalog text and its price: a new one, or (15%) one seen before, perhaps in another variant."""
        if self._products and self._random.random() < _REPEATED:
            product, text = self._again(self._random.randrange(len(self._products)))
        else:
            product = self._new(len(self._products))
            text = describe(product, self._random)
            self._products.append(product)
            self._texts.append(text)
        return product, text, product.price(self.levels[product.brand])

    def _new(self, number: int) -> Product:
        random = self._random
        kind = random.choice(KINDS)
        return Product(
            brand=random.choice(self._brands),
            kind=kind,
            flavour=random.choice(kind.flavours),
            size=random.choice(kind.sizes),
            pack=_pack_count(kind, random),
            tier=random.randrange(TIERS),
            fill=random.uniform(-1.0, 1.0),
            surprise=random.gauss(0.0, NOISE),
            image=number,
        )

    def _again(self, number: int) -> tuple[Product, str]:
        """The same product: listed twice, described anew, or in another flavour or pack; the price varies by some percent."""
        random, product = self._random, self._products[number]
        repeated = replace(product, surprise=product.surprise + random.gauss(0.0, 0.03))
        change = random.random()
        if change < 0.1:
            return repeated, self._texts[number]
        if 0.3 <= change < 0.65:
            repeated = replace(repeated, flavour=random.choice(product.kind.flavours))
        elif change >= 0.65:
            repeated = replace(repeated, pack=_pack_count(product.kind, random))
        return repeated, describe(repeated, random)


def _pack_count(kind: Kind, random: Random) -> int:
    return random.choice(_PACK_COUNTS if kind.base < _DEAR else (1, 1, 1, 2))


def describe(product: Product, random: Random) -> str:
    """The row's catalog text in the native format, with the carelessness of real ones."""
    kind_name = product.kind.names[0] if random.random() < 0.85 else random.choice(product.kind.names)
    lines = [f"Item Name: {_item_name(product, kind_name, random)}"]
    claims = random.sample(CLAIMS, random.choice((0, 0, 1, 2, 3, 4, 5, 6)))
    lines += [f"Bullet Point {number}: {claim}" for number, claim in enumerate(claims, start=1)]
    if random.random() < 0.6:
        lines.append(f"Product Description: {_description(product, kind_name, random)}")
    return "\n".join(lines + _quantity_lines(product, random)) + "\n"


def _item_name(product: Product, kind_name: str, random: Random) -> str:
    brand = product.brand if random.random() < 0.93 else product.brand.upper()
    words = [brand, *random.sample(ADJECTIVES, random.choice((0, 0, 1, 1, 2))), kind_name]
    if random.random() < 0.04:
        words.remove(brand)
    unit, per_unit = random.choice(UNITS[product.kind.family])
    size = f"{_number(product.size / per_unit)}{random.choice((' ', ' ', ' ', ''))}{unit}"
    name = f"{' '.join(words)}, {product.flavour}" if random.random() < 0.9 else " ".join(words)
    style = random.random()
    if style < 0.06:
        return name  # the quantity is left to the Value line, if there is one
    if product.pack == 1:
        return f"{name}, {size}" if style < 0.8 else f"{name} ({size})"
    if style < 0.2:
        return f"{name}, {product.pack} x {size}"
    if style < 0.32:
        return f"{name}, {product.pack}/{size}"
    return f"{name}, {size} {random.choice(PACKS).format(n=product.pack)}"


def _description(product: Product, kind_name: str, random: Random) -> str:
    """One sentence to some hundreds: most are short, a few run to thousands of characters; a third are HTML."""
    length = min(250, max(1, round(random.lognormvariate(1.2, 1.0))))
    sentences = [
        random.choice(SENTENCES).format(brand=product.brand, kind=kind_name, flavour=product.flavour)
        for _ in range(length)
    ]
    if random.random() < 0.67:
        return " ".join(sentences)
    sentences[0] = f"<b>{sentences[0]}</b>"
    return "<p>" + "</p><p>".join(sentences) + "<br />Enjoy&nbsp;it &amp; tell your friends!</p>"


def _quantity_lines(product: Product, random: Random) -> list[str]:
    """`Value` and `Unit`: usually the total in some unit; sometimes of one item only, in no unit, or not there."""
    if random.random() < 0.05:
        return []
    unit, per_unit = random.choice(UNITS[product.kind.family])
    count = product.pack if random.random() < 0.9 else 1
    value = f"Value: {round(product.size * count / per_unit, 2)}"
    if random.random() < 0.04:
        return [value]
    return [value, f"Unit: {unit if random.random() < 0.95 else random.choice(ODD_UNITS)}"]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.1f}".removesuffix(".0")
