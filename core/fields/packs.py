"""Pack count patterns ("Pack of 12", "6 x 330 ml") and amounts that are no sizes. To teach a spelling, add it to a table.

Everything is in lower case; fractions and number words are digits already (`numbers_as_digits`).
"""

from __future__ import annotations

import re

from core.fields.units import COUNT, MASS, NUMBER, VOLUME, unit_pattern


def _any(words: str) -> str:
    return "(?:" + "|".join(re.escape(word) for word in sorted(words.split(), key=len, reverse=True)) + ")"


_PACK = _any("pack packs pck pcks pk pks pkt pkts pkg pkgs pak multipack multipacks package packages er-pack")
_CASE = _any(
    "case cases cs carton cartons ctn crate crates pallet pallets display displays karton kasten caisse caja scatola"
)
_HOLDER = rf"(?:{_PACK}|{_CASE}|" + (
    _any(
        "box boxes set sets bundle bundles tray trays lot lots kit packung packungen kiste schachtel paquet paquets boîte boite"
    )
    + "|"
    + _any("coffret paquete paquetes lote juego caixa confezione confezioni pacco pacchi cassa doos")
    + ")"
)
_JARS = _any(
    "bottles cans jars tins tubs tubes pouches packets packages boxes cartons cases canisters jugs"
    " flaschen dosen gläser tüten bouteilles bocaux canettes botellas latas tarros bottiglie lattine barattoli vasetti"
)
_CONTAINERS = rf"(?:{_JARS}|packs\b|bags\b|envelopes\b)"
"""Containers that hold a size each; packs, bags and envelopes do so only right behind a size (`50 bags` are tea)."""
_OF = _any("of de da di mit von van com")
_PER = r"(?:per\b|/|pro\b|par\b|por\b)"
_INT = r"(?:(?<![\w.,#])|(?<=\d[x×*]))((?>\d{1,3}(?:,\d{3})+|\d{1,5}))(?![.,]?\d)"
_SIZE = rf"{NUMBER}\s*[-‐–]?\s*{unit_pattern(MASS, VOLUME)}"
_PIECES = rf"\d{{1,4}}\s*-?\s*(?:{unit_pattern(COUNT)}|{_PACK}\b)"
_NO_UNIT = rf"(?!\s*[-‐–]?\s*{unit_pattern(MASS, VOLUME)})"
_THING = r"[^\W\d_]{3,20}"

# what follows a number of packs
_BEHIND_COUNT = (
    rf"{_NO_UNIT}\s*-?(?:{_THING})?\s*{_PER}\s*{_CASE}\b",  # 6 per case, 40/carton, 107 patties per case
    rf"\s*(?:{_PACK})?\s*{_PER}\s*{_HOLDER}\b",  # 24 per pack (not: 4 rolls per pack)
    rf"{_NO_UNIT}\s*[-‐–]?\s*(?:{_PACK}\b|er[\s-]?(?:{_HOLDER}|träger)\b|{_THING} packs\b)",  # 6-pack, 3er set, 8 snack packs
    rf"\s*(?:{_JARS}|ea|each)\b",  # 8 bottles, 1 ea
    rf"\s*[x×*]\s*(?:\d{{1,3}}\s*[x×*]\s*)?(?:{_SIZE}|{_PIECES})",  # 6 x 330 ml, 2 x 6 x 330 ml, 4 x 20 bags
    rf"\s*/\s*{_SIZE}",  # 12/14 oz
    rf"\s*[-‐–\s]\s*{_SIZE}\.?\s*(?:[^\W\d_]+ )?{_CONTAINERS}\b",  # 24 16.9oz bottles, 4-3 pound bags
)
PACKS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_INT}(?={'|'.join(_BEHIND_COUNT)})",
        rf"\b{_HOLDER}\s*{_OF}\s*{_INT}{_NO_UNIT}",  # pack of 12, lot de 4, packung mit 6
        rf"[-,]\s?{_INT}\s?(?:case|cs)\b",  # -- 12 case (not: iphone 12 case)
        rf"{_SIZE}\.?\s*\(?[x×*]\s*(\d{{1,4}})(?![\d.,]*\d){_NO_UNIT}",  # 4 g x 10, 2 fl oz (x 5)
    )
)
"""Patterns whose group 1 is a number of packs."""

_NUTRIENT = (
    r"(?:protein|proteins|carbs?|carbohydrates?|sugars?|fat|fib(?:er|re)|sodium|caffeine|collagen|calories|erythritol|cbd|thc"
    r"|eiwei(?:ß|ss)|zucker|fett|koffein|protéines|sucres?|glucides|proteínas?|azúcar|proteine|zuccheri)"
)
_KIND_OF = r"(?:(?:of|net|added|total|dietary|plant[- ]based|natural|pure|saturated|trans) ){0,3}"

# amounts that are no size of the product
ASIDES: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\d.,])(?:\d{{1,2}}(?:[.,]\d)?\s?-?(?:g|grams?)|{NUMBER}\s?-?mc?g) {_KIND_OF}{_NUTRIENT}\b",  # 15g of protein
        rf"{NUMBER}\s?-?(?:g|mg|grams?|oz|ml)\s?(?:per|/|a)\s?serving\b",  # 30 g per serving
        rf"{NUMBER}\s?-?(?:lbs?|pounds?|kgs?)\.? (?:(?:weight|load|max|maximum) )?(?:capacity|limit|load)\b",  # 300 lb capacity
        rf"\b(?:supports?|holds?|capacity|load)(?: up to| of|:)? {NUMBER}\s?-?(?:lbs?|pounds?|kgs?)\b",  # holds up to 300 lb
    )
)

_NUMBER_WORDS: dict[str, str] = {
    word: digits
    for digits, words in (
        ("1", "one ein eine un une uno una"),
        ("2", "two zwei deux dos due"),
        ("3", "three drei trois tres tre"),
        ("4", "four vier quatre cuatro quattro"),
        ("5", "five fünf cinq cinco cinque"),
        ("6", "six sechs seis sei"),
        ("7", "seven sieben sept siete sette"),
        ("8", "eight acht huit ocho otto"),
        ("9", "nine neun neuf nueve nove"),
        ("10", "ten zehn dix diez dieci"),
        ("12", "twelve zwölf douze doce dodici"),
        ("20", "twenty zwanzig vingt veinte venti"),
        ("24", "twenty-four"),
    )
    for word in words.split()
}
_FOLD_WORDS: dict[str, str] = {
    word: digits
    for digits, words in (
        ("1", "single einzel"),
        ("2", "twin double dual duo doppel zweier"),
        ("3", "triple trio dreier"),
        ("4", "quad vierer"),
        ("5", "fünfer"),
        ("6", "sechser"),
        ("8", "achter"),
        ("10", "zehner"),
    )
    for word in words.split()
}
"""For packs alone: a twin pack is two, a twin bed one."""
_PART_WORDS = {"half": "0.5", "quarter": "0.25"}
"""For masses and volumes alone."""
_DIGITS = _NUMBER_WORDS | _FOLD_WORDS | _PART_WORDS
_WORD = _any(" ".join(_NUMBER_WORDS))
_WORD_FIRST = re.compile(
    rf"\b(?:({_WORD})[\s-]*(?=(?:{_HOLDER}|{_JARS})\b|{unit_pattern(MASS, VOLUME, COUNT)}|(?<=[\s-]){_SIZE})"
    rf"|({_any(' '.join(_FOLD_WORDS))})[\s-]*(?={_HOLDER}\b)"
    rf"|({_any(' '.join(_PART_WORDS))})[\s-]*(?={unit_pattern(MASS, VOLUME)}))"
)
_WORD_LAST = re.compile(rf"(\b{_HOLDER} {_OF} )({_WORD})\b")
_DOZEN = re.compile(r"(?<![\d-])(?<!\d )\b(half )?(?:a |one )?dozen\b")
_COUNT_LAST = re.compile(rf"\b({unit_pattern(COUNT)}) ?\((\d{{1,4}})\)")
_FRACTION = re.compile(r"(?<![\d/])(?:(\d{1,3})[\s-]+)?([1357])\s*/\s*([248]|16|3)(?![\d/.,])")


def numbers_as_digits(name: str) -> str:
    """The name (lower case) with fractions, number words and dozens written as digits where they say an amount.

    `1 1/2 lb` is 1.5 lb, `three-pack` 3 pack, `set of two` set of 2, `half dozen` 6 count; `two brothers` stays. A count in
    brackets behind its word comes before it: `tea bags (80)` is 80 tea bags.
    """
    if "/" in name:
        name = _FRACTION.sub(lambda match: f"{int(match[1] or 0) + int(match[2]) / int(match[3]):g}", name)
    if "dozen" in name:
        name = _DOZEN.sub(lambda match: "6 count" if match[1] else "12 count", name)
    name = _WORD_FIRST.sub(lambda match: f"{_DIGITS[match[1] or match[2] or match[3]]} ", name)
    name = _WORD_LAST.sub(lambda match: match[1] + _NUMBER_WORDS[match[2]], name)
    return _COUNT_LAST.sub(r"\2 \1", name) if "(" in name else name
