"""Quantity parser: pack counts, sizes with units and outer dimensions from an item name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.fields.packs import ASIDES, PACKS, numbers_as_digits
from core.fields.units import COUNT, LENGTH, MASS, NUMBER, VOLUME, Unit, number_of, unit_of, unit_pattern

_LARGEST = 1e9
_MOST_PACKS = 10_000
_COLUMN = {MASS: "g", VOLUME: "ml", COUNT: "count"}
_TAKEN = "•"
"""Stands for the digits of a number of packs, so that no number is read twice."""

_SIZED = re.compile(
    rf"(?:(?<![\w.,#])|(?<={_TAKEN}[x×*]))(?<!no\. )({NUMBER})(?:\s*[-–]\s*({NUMBER}))?(?!(?<=1)st\b)\s*[-‐–]?\s*"
    rf"({unit_pattern(MASS, VOLUME, COUNT)})"
)
_SECOND_PART = re.compile(r"\.?\s*(?:and |& )?")
_EACH = re.compile(r"\.?\s*(?:each|ea|apiece)\b")
_SAME = 0.03
"""Within which a size is another times a count."""
_ALMOST = 0.05
"""Within which two sizes are one size in two units."""
_BARE_COUNTS = {"ct", "cts", "count", "counts"}
_BEHIND = 25
"""Characters from the end of a size in which a bare count is one of that size."""
_SIDE = rf"({NUMBER})(?:\s*/\s*{NUMBER})?[\s-]*({unit_pattern(LENGTH)})?"
_TIMES = r"(?:\s?[wdhl]\b)?\s*(?:[x×*]|by\b)\s*"
_SIDES = re.compile(rf"(?<![\d.,]){_SIDE}{_TIMES}{_SIDE}(?:{_TIMES}{_SIDE})?")
_LENGTH = re.compile(rf"(?<![\w.,x×])({NUMBER})\s*[-‐–]?\s*({unit_pattern(LENGTH)})(?! ?(?:1|one)\b)")


@dataclass(frozen=True)
class _Amount:
    """A number with a unit in a name: `size` in base units, at [start, end)."""

    size: float
    unit: Unit
    spelling: str
    start: int
    end: int


def read_quantities(name: str) -> dict[str, float]:
    """Amounts in a name (lower case), only the keys that it states.

    pack: packs sold together (1 where a name gives it), `16 per pack, 12 packs per case` multiplies to 192. unit_g, unit_ml,
    unit_count: the size of one pack in grams, millilitres, pieces. total_g, total_ml, total_count: of all of them. Where a name
    gives several sizes of one dimension, the largest counts (the others are doses and portions), unless it is the smallest
    times a count: then that is the unit and the largest the total.
    """
    name = numbers_as_digits(name)
    for aside in ASIDES:
        name = aside.sub(" ", name)
    name, packs = _take_packs(name)
    pack = packs or 1
    amounts = _amounts(name)
    counts = [amount for amount in amounts if amount.unit.dimension == COUNT]
    found = {"pack": float(packs)} if packs else {}
    for dimension, column in _COLUMN.items():
        sizes = [amount for amount in amounts if amount.unit.dimension == dimension]
        if not sizes:
            continue
        most = max(amount.size for amount in sizes)
        unit = next(amount for amount in sizes if amount.size >= most * (1 - _ALMOST))
        size, times = unit.size, float(pack)
        if dimension == COUNT:
            known: set[float] = {pack}
            times = 1.0 if size == pack else times  # `12 count (pack of 12)` says one thing twice
        else:
            known = {pack} | {times * count.size for count in counts for times in (1, pack)}
            times *= _count_of_sized(name, unit, counts, pack)
        least = min(amount.size for amount in sizes)
        if any(many > 1 and math.isclose(least * many, size, rel_tol=_SAME) for many in known):
            found |= {f"unit_{column}": least, f"total_{column}": size}
        elif size * times < _LARGEST:
            found |= {f"unit_{column}": size, f"total_{column}": size * times}
    return found


def read_sides(name: str) -> dict[str, float]:
    """Outer dimensions in a name, `140x80 cm` or `106 mm`: side_1, side_2, side_3 in centimetres, in the order written."""
    for match in _SIDES.finditer(name):
        written = [(match[place], match[place + 1]) for place in (1, 3, 5) if match[place]]
        if last := written[-1][1]:
            return {
                f"side_{place}": number_of(side) * _centimetres(unit or last)
                for place, (side, unit) in enumerate(written, 1)
            }
    if single := _LENGTH.search(name):
        return {"side_1": number_of(single[1]) * _centimetres(single[2])}
    return {}


def _centimetres(spelling: str) -> float:
    unit = unit_of(spelling)
    return unit.factor if unit else 1.0


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
        found[f"value_{_COLUMN[known.dimension]}"] = number * known.factor
    return found


def _take_packs(name: str) -> tuple[str, int | None]:
    """The name with the digits of pack counts blanked out, and the packs: the product of the different counts, None without.

    The same count given twice, `6-pack (pack of 6)`, is one count, as is a product beside its factors, `18 jars (3 x 6-pack)`.
    """
    spans = {match.span(1) for pattern in PACKS for match in pattern.finditer(name)}
    counts = {int(name[start:end].replace(",", "")) for start, end in spans}
    for start, end in spans:
        name = name[:start] + _TAKEN * (end - start) + name[end:]
    counts = {count for count in counts if 1 <= count <= _MOST_PACKS}
    if not counts:
        return name, None
    most, product = max(counts), math.prod(counts)
    return name, most if most * most == product else min(product, int(_LARGEST))


def _amounts(name: str) -> list[_Amount]:
    """Every size in the order written; `10-12 oz` is the middle of the range, `2 lb 4 oz` one size."""
    amounts: list[_Amount] = []
    for match in _SIZED.finditer(name):
        unit = unit_of(match[3])
        if unit is None:
            continue
        low, high = number_of(match[1]), number_of(match[2] or match[1])
        size = ((low + high) / 2 if low <= high else high) * unit.factor
        if not 0 < size < _LARGEST:
            continue
        before = amounts[-1] if amounts else None
        if (
            before is not None
            and before.unit.dimension == unit.dimension
            and size < before.unit.factor
            and _SECOND_PART.fullmatch(name, before.end, match.start())
        ):
            amounts[-1] = _Amount(before.size + size, unit, match[3], before.start, match.end())
        else:
            amounts.append(_Amount(size, unit, match[3], match.start(), match.end()))
    return amounts


def _count_of_sized(name: str, size: _Amount, counts: Sequence[_Amount], pack: int) -> float:
    """Number of pieces of this size one pack holds.

    `1.6 oz, 16 ct` and `2 oz each, 3 pieces` are so many of them; `1 lb, 60 pieces` and `16 ct, 20 oz` are pieces inside.
    """
    for count in counts:
        if count.size == pack:
            continue
        just_behind = size.end <= count.start <= size.end + _BEHIND and count.spelling in _BARE_COUNTS
        if just_behind or _EACH.match(name, size.end):
            return max(count.size, 1.0)
    return 1.0
