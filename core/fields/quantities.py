"""How much of it there is: pack counts, sizes with units and outer dimensions, read from an item name."""

from __future__ import annotations

import math
import re

from core.fields.units import COUNT, LENGTH, MASS, NUMBER, VOLUME, number_of, unit_of, unit_pattern

_LARGEST = 1e9
_SOLD_IN = r"(?:packs?|pcks?|pks?|boxes|box|cases?|cartons?|sets?|bundles?|trays?|multipacks?|cs)"
_PACKS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_SOLD_IN}\s*of\s*({NUMBER})",  # Pack of 12
        rf"({NUMBER})\s*(?:packs?|pcks?|pks?)?\s*(?:per|/)\s*{_SOLD_IN}\b",  # 12 packs per case, 24/case
        rf"(?<![\d.,])({NUMBER})\s*[-‐–]?\s*(?:pack|pck|pk|packs|pcks|pks)\b(?!\s*(?:of|per|/))",  # 2 pck, 6-pack
        rf"(?<![\d.,])({NUMBER})\s*[x×*]\s*(?={NUMBER}\s*[-‐–]?\s*{unit_pattern(MASS, VOLUME)})",  # 6 x 330 ml
        rf"(?<![\d.,/])({NUMBER})\s*/\s*(?={NUMBER}\s*[-‐–]?\s*{unit_pattern(MASS, VOLUME)})",  # 12/14 oz
    )
)
_FRACTION = re.compile(r"(?<![\d/])(?:(\d{1,3})[\s-]+)?([1357])\s*/\s*([248]|16|3)(?![\d/.,])")
_SIZED = re.compile(
    rf"(?:(?<![\w.,])|(?<=\d[x×*]))({NUMBER})(?:\s*[-–]\s*({NUMBER}))?\s*[-‐–]?\s*({unit_pattern(MASS, VOLUME, COUNT)})"
)
_SIDES = re.compile(
    rf"({NUMBER})(?:\s*/\s*{NUMBER})?\s*[x×*]\s*({NUMBER})(?:\s*/\s*{NUMBER})?"
    rf"(?:\s*[x×*]\s*({NUMBER}))?\s*[-‐–]?\s*({unit_pattern(LENGTH)})"
)
_LENGTH = re.compile(rf"(?<![\w.,x×])({NUMBER})\s*[-‐–]?\s*({unit_pattern(LENGTH)})")


def read_quantities(name: str) -> dict[str, float]:
    """What a name (lower case) says of amounts, only the keys it says something of.

    pack: packs sold together, `16 per pack, 12 packs per case` multiplies to 192. unit_g, unit_ml, unit_count: the size of one
    pack in grams, millilitres, pieces. total_g, total_ml, total_count: times the packs.
    """
    name = _FRACTION.sub(_as_decimal, name)
    found: dict[str, float] = {}
    # The same count said twice, `6-pack (pack of 6)`, is one count.
    pack = math.prod({count for pattern in _PACKS for count in _counts(pattern, name) if 1 <= count <= 10_000})
    if pack > 1:
        found["pack"] = min(float(pack), _LARGEST)
    for match in _SIZED.finditer(name):
        unit = unit_of(match[3])
        if unit is None:
            continue
        column = {MASS: "g", VOLUME: "ml", COUNT: "count"}[unit.dimension]
        size = number_of(match[1]) if match[2] is None else (number_of(match[1]) + number_of(match[2])) / 2
        if f"unit_{column}" not in found and 0 < size * unit.factor < _LARGEST:
            found[f"unit_{column}"] = size * unit.factor
            found[f"total_{column}"] = size * unit.factor * max(pack, 1)
    return found


def read_sides(name: str) -> dict[str, float]:
    """Outer dimensions in a name, `140x80 cm` or `106 mm`: side_1, side_2, side_3 in centimetres, in the order written."""
    if match := _SIDES.search(name):
        sides = [match[1], match[2]] + ([match[3]] if match[3] else [])
        unit = unit_of(match[4])
    elif match := _LENGTH.search(name):
        sides, unit = [match[1]], unit_of(match[2])
    else:
        return {}
    factor = unit.factor if unit else 1.0
    return {f"side_{place}": number_of(side) * factor for place, side in enumerate(sides, 1)}


def read_value(value: str, unit: str) -> dict[str, float]:
    """The catalog's own `Value:` and `Unit:` lines.

    value: the number as written; value_g, value_ml or value_count: in base units, where the unit is known.
    """
    match = re.match(rf"\s*({NUMBER})", value)
    if match is None:
        return {}
    number = number_of(match[1])
    found = {"value": number}
    known = unit_of(unit.strip().lower())
    if known is not None and known.dimension != LENGTH and 0 < number * known.factor < _LARGEST:
        found[{MASS: "value_g", VOLUME: "value_ml", COUNT: "value_count"}[known.dimension]] = number * known.factor
    return found


def _counts(pattern: re.Pattern[str], text: str) -> list[float]:
    return [number_of(written) for written in pattern.findall(text)]


def _as_decimal(match: re.Match[str]) -> str:
    return f"{int(match[1] or 0) + int(match[2]) / int(match[3]):g}"
