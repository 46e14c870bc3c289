"""Units, numbers, dates and amounts as catalogs write them, by language. To teach a spelling, add it to its table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MASS, VOLUME, COUNT, LENGTH = "mass", "volume", "count", "length"
"""Dimensions. Their base units are gram, millilitre, piece and centimetre."""


@dataclass(frozen=True)
class Unit:
    """One unit: which dimension it measures and how many base units it has."""

    name: str
    dimension: str
    factor: float


# unit -> dimension, base units in one, spellings (lower case; `_` is a space, a trailing full stop is understood)
_TABLE = {
    Unit("mg", MASS, 0.001): "mg mgs milligram milligrams milligramm milligrammes",
    Unit("g", MASS, 1.0): "g gr gm gms gram grams gramme grammes gramm grammi gramo gramos grama gramas grs",
    Unit("kg", MASS, 1000.0): "kg kgs kilo kilos kilogram kilograms kilogramm kilogramme kilogrammes"
    " kilogramo kilogramos",
    Unit("oz", MASS, 28.349523): "oz ozs ounce ounces onza onzas once onces unze unzen",
    Unit("lb", MASS, 453.59237): "lb lbs pound pounds libra libras",
    Unit("ml", VOLUME, 1.0): "ml mls millilitre millilitres milliliter milliliters mililitro mililitros millilitri",
    Unit("cl", VOLUME, 10.0): "cl centilitre centiliter centilitres centiliters centilitri",
    Unit("dl", VOLUME, 100.0): "dl decilitre deciliter",
    Unit("l", VOLUME, 1000.0): "l lt ltr ltrs litre litres liter liters litro litros litri",
    Unit("fl oz", VOLUME, 29.573530): "fl_oz fl._oz fluid_ounce fluid_ounces fl_ounce fl_ounces floz fz"
    " fl_ozs fluid_oz",
    Unit("pint", VOLUME, 473.176473): "pint pints pt",
    Unit("quart", VOLUME, 946.352946): "quart quarts qt qts",
    Unit("gallon", VOLUME, 3785.411784): "gallon gallons gal gals",
    Unit("count", COUNT, 1.0): "count counts ct cts pc pcs piece pieces pièce pièces pieza piezas pezzo"
    " pezzi stück stuck stk st unit units unità unita unidad unidades unité unités ea each capsule capsules kapseln"
    " gélules cápsulas tablet tablets tabletten comprimés softgels gummies caps bag bags beutel tea_bags teabags"
    " tea_bag pods k-cups sachet sachets sachês stick sticks bar bars bottle can stems roll rolls rollen sheets wipes"
    " diapers patties",
    Unit("pair", COUNT, 2.0): "pair pairs paar paires pares paia",
    Unit("dozen", COUNT, 12.0): "dozen dozens dz doz dutzend docena docenas douzaine dozzina",
    Unit("mm", LENGTH, 0.1): "mm millimetre millimeter millimetres millimeters",
    Unit("cm", LENGTH, 1.0): "cm centimetre centimetres centimeter centimeters zentimeter",
    Unit("m", LENGTH, 100.0): "m metre metres meter meters mètres metro metros",
    Unit("inch", LENGTH, 2.54): "inch inches in \" ″ ” '' zoll pouces pulgadas",
    Unit("foot", LENGTH, 30.48): "ft foot feet",
    Unit("yard", LENGTH, 91.44): "yard yards yd yds",
}
UNITS: dict[str, Unit] = {word.replace("_", " "): unit for unit, words in _TABLE.items() for word in words.split()}

NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,3}(?:\.\d{1,9})?|\d{1,9}(?:[.,]\d{1,9})?|\.\d{1,9})"
"""A number: `1,200.5`, `12`, `0,75`, `.5`."""


def unit_pattern(*dimensions: str) -> str:
    """A pattern for any spelling of a unit of these dimensions; a word is not followed by a letter, `8"x10"` has two units."""
    known = sorted(
        (spelling for spelling, unit in UNITS.items() if unit.dimension in dimensions), key=len, reverse=True
    )
    words = "|".join(re.escape(word).replace(r"\ ", r"\.?\s*") for word in known if word[0].isalpha())
    signs = "".join(rf"|{re.escape(sign)}" for sign in known if not sign[0].isalpha())
    return rf"(?:(?:{words})(?![^\W\d_]){signs})"


@lru_cache(4096)
def unit_of(spelling: str) -> Unit | None:
    """The unit that a spelling (in lower case) stands for, or None. `fl. oz`, `fl oz.` and `floz` are one."""
    return UNITS.get(re.sub(r"\s+", " ", spelling.replace(".", " ")).strip())


@lru_cache(4096)
def number_of(written: str) -> float:
    """The value of what NUMBER matched: a comma before exactly three digits groups thousands, any other is a decimal."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", written) and not written.startswith("0"):
        return float(written.replace(",", ""))
    return float(written.replace(",", "."))


DATE = "date"
"""Key of a date, in years: 2014.5 is July 2014."""
_MOST_NUMBERS, _NUMBER_CHARS = 6, 24
_BASE = {MASS: "g", VOLUME: "ml", LENGTH: "cm"}

_TIMES: dict[str, float] = {
    word: factor
    for factor, words in {
        1e3: "k thousand tausend mille mila mil ribu rb nghìn ngàn",
        1e5: "lakh lakhs",
        1e6: "million millions mio millionen milioni millones milhões juta jt triệu tr",
        1e7: "crore crores",
        1e9: "billion billions milliarden milliards miliardi miliar milyar tỷ",
    }.items()
    for word in words.split()
}
"""Words behind a number that multiply it."""

_MONTHS: dict[str, int] = {
    word: month
    for month, words in enumerate(
        (
            "jan january januar janvier enero gennaio janeiro januari",
            "feb february februar février febrero febbraio fevereiro februari",
            "mar march märz mär mars marzo março maret",
            "apr april avril abril aprile",
            "may mai mayo maggio maio mei",
            "jun june juni juin junio giugno junho",
            "jul july juli juillet julio luglio julho",
            "aug august août agosto agustus",
            "sep sept september septembre septiembre settembre setembro",
            "oct okt october oktober octobre octubre ottobre outubro",
            "nov november novembre noviembre novembro",
            "dec dez des december dezember décembre diciembre dicembre dezembro desember",
        ),
        1,
    )
    for word in words.split()
}
_YEAR = r"(?:1[89]|20)\d\d"
_MONTH_YEAR = re.compile(rf"(?<!\d)(?:\d{{1,2}}[/.-])?(\d{{1,2}})[/.-]({_YEAR})(?!\d)")
_ISO = re.compile(rf"(?<!\d)({_YEAR})-(\d\d)(?!\d)")
_SLASHED = re.compile(rf"(?<!\d)({_YEAR})/(\d{{1,2}})(?!\d)")
_MONTH_FIRST = re.compile(rf"(?<!\d)(\d{{1,2}})/\d{{1,2}}/({_YEAR})(?!\d)")
_WRITTEN = re.compile(rf"([^\W\d_]{{3,10}})\.?,?(?: de |[ -])(?:\d{{1,2}}(?:st|nd|rd|th)?,? )?({_YEAR})(?!\d)")
_ONLY_YEAR = re.compile(rf"(?<![\d.,])({_YEAR})(?![\d.,]*\d)")
_WRITTEN_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d{1,15}(?!\d)(?:[.,'’]\d+)*(?:(?<=\d) (?=\d{3}(?!\d))\d{3})*")
_UNIT_BEHIND = re.compile(r"[ -]?([^\W\d_]+(?:[²³]|[23](?!\d))?|%|\"|″)")


def date_in(value: str) -> float | None:
    """The first date of a value in years (month / 12 behind the point), or None: `12/2006`, `6 Jul 2014`, `2014-07-06`.

    `07/08/2014` is August; where the second number can be no month, as in `07/19/2014`, the first is.
    """
    for pattern, month, year in ((_ISO, 2, 1), (_SLASHED, 2, 1), (_MONTH_YEAR, 1, 2), (_MONTH_FIRST, 1, 2)):
        for match in pattern.finditer(value):
            if 1 <= int(match[month]) <= 12:
                return int(match[year]) + (int(match[month]) - 1) / 12
    for match in _WRITTEN.finditer(value):
        if number := _MONTHS.get(match[1].lower()):
            return int(match[2]) + (number - 1) / 12
    return None


def year_in(value: str) -> float | None:
    """The first year from 1800 to 2099 that stands alone, or None."""
    match = _ONLY_YEAR.search(value)
    return float(match[1]) if match else None


def thousands_mark(values: Iterable[str]) -> str:
    """The mark (`.`, `,` or "" for none) that groups thousands in these values, by their own evidence.

    `150.000` may be a hundred and fifty thousand or a hundred and fifty: a column in which three digits follow the mark every
    time groups thousands with it; one in which any other number of digits follows does not.
    """
    grouped, decimal = Counter[str](), Counter[str]()
    for value in values:
        for number in map(str.strip, _WRITTEN_NUMBER.findall(value)):
            if "." in number and "," in number:
                grouped[min(".,", key=number.find)] += 1
                continue
            for mark in ".,":
                head, *tail = number.lstrip("+-").split(mark)
                if tail:
                    groups = head.isdigit() and len(head) <= 3 and head != "0" and all(len(part) == 3 for part in tail)
                    (grouped if groups else decimal)[mark] += 1
    marks = [mark for mark in ".," if grouped[mark] > _SURE * decimal[mark]]
    return max(marks, key=lambda mark: grouped[mark], default="")


_SURE = 5
"""Grouped numbers for each other one that make a mark one of thousands: a column may hold a few slips."""
_SQUARES = str.maketrans("²³", "23")
_NO_UNIT = frozenset({"", "x", *_TIMES})


_POWER_OF_TEN = re.compile(r"[-+]?\d{1,20}(?:\.\d{1,20})?[eE][-+]?\d{1,2}")
"""As programs write very small and very large numbers. Only where nothing else stands there: `2E10` in a text is a model."""


def amounts_in(value: str, thousands: str) -> dict[str, float]:
    """Numbers of a value: `#1`, `#2`, ... by position, and once more by the unit behind each, in base units where it is known.

    `2.5 kg, 30 x 40 cm` gives #1 2.5, g 2500, #2 30, #3 40, cm 40. thousands: what `thousands_mark` found in the column.
    """
    if _POWER_OF_TEN.fullmatch(value):
        return {"#1": float(value)}
    found: dict[str, float] = {}
    for place, match in enumerate(_WRITTEN_NUMBER.finditer(value), 1):
        if place > _MOST_NUMBERS or len(match[0]) > _NUMBER_CHARS:
            break
        number = _number(match[0], thousands)
        follows = _UNIT_BEHIND.match(value, match.end())
        word = follows[1].lower().translate(_SQUARES) if follows else ""
        number *= _TIMES.get(word, 1.0)
        found[f"#{place}"] = number
        if word not in _NO_UNIT:
            unit = unit_of(word)
            known = unit is not None and unit.dimension in _BASE
            name = _BASE[unit.dimension] if known and unit else word
            found.setdefault(name, number * unit.factor if known and unit else number)
    return found


def _number(written: str, thousands: str) -> float:
    plain = written.replace(" ", "").replace("'", "").replace("’", "")
    last = max(plain.rfind("."), plain.rfind(","))
    if last < 0:
        return float(plain)
    mark = plain[last]
    both = "." in plain and "," in plain
    digits = re.sub(r"[.,]", "", plain)
    if plain.count(mark) > 1 or (mark == thousands and not both and len(plain) - last == 4):
        return float(digits)
    behind = len(plain) - last - 1
    return float(digits[:-behind] + "." + digits[-behind:])
