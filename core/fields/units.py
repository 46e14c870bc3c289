"""Unit and number spellings of catalogs. To teach a spelling, add it to the table."""

from __future__ import annotations

import re
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
