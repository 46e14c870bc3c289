"""Field rules: splits a catalog text into parts, counts its sizes, and reads numbers by patterns, one line a field."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from core.fields.units import LENGTH, NUMBER, number_of, unit_of, unit_pattern


@dataclass(frozen=True)
class Rule:
    """A field read by pattern: the first number from `low` to `high` that group 1 matches, in the first place that has one.

    Group 2, where the pattern has one, is a unit of length; the field is then in centimetres. Other numbers are multiplied by
    `scale`. Of several rules with one field, the first that finds something counts. Places without any of the words in `needs`
    are not searched: looking up a word is twenty times faster than trying a pattern at each number.
    """

    field: str
    places: tuple[str, ...]
    needs: tuple[str, ...]
    pattern: re.Pattern[str]
    low: float = 0.0
    high: float = 1e9
    scale: float = 1.0

    def read(self, parts: Parts) -> float | None:
        for place in self.places:
            text: str = getattr(parts, place)
            if not any(map(text.__contains__, self.needs)):
                continue
            for match in self.pattern.finditer(text):
                value = number_of(match[1]) * self.scale
                if self.pattern.groups > 1 and (unit := unit_of(match[2])) is not None:
                    value *= unit.factor
                if self.low <= value <= self.high:
                    return value
        return None


def _rule(field: str, places: tuple[str, ...], needs: str, pattern: str, *numbers: float) -> Rule:
    """The rule with its words in one string, and the numbers `low`, `high` and `scale`."""
    return Rule(field, places, tuple(needs.split() or [""]), re.compile(pattern), *numbers)


def _side(field: str, words: str) -> Rule:
    """A labelled outer dimension, `width 95 cm`, in centimetres."""
    pattern = rf"(?:{words.replace(' ', '|')})\b[\s:]*({NUMBER})\s*-?\s*({unit_pattern(LENGTH)})"
    return _rule(field, NAME_FIRST, words, pattern, 0.01, 1e5)


NAME, TEXT, NAME_FIRST = ("low_name",), ("low_numbers",), ("low_name", "low_numbers")
_YEARS = "year years yr yrs yo ans jahr jahre año años anos anni jaar"
_PERCENT = "percent prozent pour por"
_EDITION = "bottles copies pieces pairs numbered"
_NO_WARRANTY = r"(?!s? ?(?:limited )?warranty)"
_CURRENCY = r"(?:[$£€¥₹]|usd|eur|gbp)"

RULES: tuple[Rule, ...] = (
    _side("width", "width wide breite largeur ancho anchura larghezza breedte"),
    _side(
        "depth", "depth deep length long tiefe länge profondeur longueur profundidad largo profondità lunghezza diepte"
    ),
    _side("height", "height high tall höhe hauteur alto altura altezza hoogte"),
    _side("diameter", "diameter dia ø durchmesser diamètre diámetro diametro"),
    # field, places, words one of which must be there, pattern (group 1 is the number), from, to, times
    _rule("percent", NAME_FIRST, "%", rf"(?<![\d.,])({NUMBER})\s?%", 0, 100),
    _rule("percent", NAME, "proof", rf"(?<![\d.,])({NUMBER})[\s‐–-]?(?:us )?proof\b", 0, 100, 0.5),
    _rule("percent", NAME, _PERCENT, rf"(?<![\d.,])({NUMBER}) (?:percent|prozent|pour cent|por ciento)\b", 0, 100),
    _rule("age", NAME, _YEARS, rf"\b({NUMBER})[\s‐–-]?(?:{_YEARS.replace(' ', '|')})\b{_NO_WARRANTY}", 1, 200),
    _rule("age", TEXT, "year jahr años", rf"\b({NUMBER})[\s‐–-](?:years?|jahre?|años)\b{_NO_WARRANTY}", 1, 200),
    _rule("year", NAME_FIRST, "", r"((?:1[89]|20)\d\d)(?<![\d#/.,-]\d{4})(?![\d%/]|[.,]\d)", 1800, 2099),
    _rule("points", TEXT, "point rating rated score", rf"(?:points?|rating|rated|score):? ?({NUMBER})\b(?!:)", 1, 100),
    _rule("stars", TEXT, "out star", rf"({NUMBER})(?:(?:/| out of )5\b| ?-?stars?\b)", 0, 5),
    _rule("money", TEXT, "$ £ € ¥ ₹ usd eur gbp", rf"{_CURRENCY}\s?({NUMBER})", 0.01, 1e7),
    _rule("edition", TEXT, _EDITION, rf"({NUMBER}) (?:{_EDITION.replace(' ', '|')})\b", 1),
    _rule("servings", NAME, "serving", rf"({NUMBER}) ?servings?\b", 1, 10_000),
    _rule("set_of", NAME_FIRST, "set", rf"\bset\s*(?:of|/)\s*({NUMBER})", 1, 10_000),
    _rule("karat", NAME, "k carat ct", rf"({NUMBER}) ?-?(?:k|kt|karat|carat|ct)\b ?(?:gold|diamond)", 1, 1000),
    _rule("watts", NAME, "w", rf"({NUMBER}) ?-?(?:w|watts?)\b", 0.1, 1e6),
    _rule("gigabytes", NAME, "gb", rf"({NUMBER}) ?-?gb\b", 0.1, 1e6),
    _rule("terabytes", NAME, "tb", rf"({NUMBER}) ?-?tb\b", 0.1, 1e4),
    _rule("first_number", NAME, "", rf"(?<![\w.,])({NUMBER})"),
    _rule("second_number", NAME, "", rf"{NUMBER}\D+({NUMBER})"),
)


@dataclass(frozen=True)
class Count:
    """A field that is always there: a size of the text."""

    field: str
    read: Callable[[Parts], float]


def _words(text: str) -> float:
    return float(text.count(" ") + 1) if text else 0.0


COUNTS: tuple[Count, ...] = (
    Count("text_chars", lambda parts: float(len(parts.text))),
    Count("text_digits", lambda parts: float(sum(map(parts.text.count, "0123456789")))),
    Count("text_lines", lambda parts: float(parts.text.count("\n"))),
    Count("name_chars", lambda parts: float(len(parts.name))),
    Count("name_words", lambda parts: _words(parts.name)),
    Count("name_digits", lambda parts: float(sum(map(str.isdigit, parts.name)))),
    Count("name_capitals", lambda parts: float(sum(map(str.isupper, parts.name)))),
    Count("name_commas", lambda parts: float(parts.name.count(","))),
    Count("bullets", lambda parts: float(len(parts.bullets))),
    Count("bullet_chars", lambda parts: float(sum(map(len, parts.bullets)))),
    Count("description_words", lambda parts: _words(parts.description)),
)


_LABEL = re.compile(
    r"^[ \t]*(Item Name|Bullet ?Points?(?: ?\d{1,3})?|Product Description|Description|Value|Unit)[ \t]*:[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
_VULGAR_FRACTION = re.compile("([¼-¾⅐-⅞])")
_DIGIT = re.compile(r"\d")
_NAME_CHARS = 1_000
_READ_CHARS = 20_000
"""Longer names and texts are read up to here: quantities stand at the beginning, and every row must cost little."""


@dataclass(frozen=True)
class Parts:
    """One catalog text taken apart. low_name: the name in lower case. low_numbers: the text's sentences that hold a digit."""

    name: str
    bullets: tuple[str, ...]
    description: str
    value: str
    unit: str
    text: str
    low_name: str
    low_numbers: str


def split_parts(text: str) -> Parts:
    """The parts of a catalog text; a text without labels is all name up to its first line break, then description.

    Compatibility characters are folded first (bold letters, full-width digits, one-half), lines keep their case.
    """
    text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(r" \1", text[:_READ_CHARS])).replace("⁄", "/")
    marks = list(_LABEL.finditer(text))
    head = text[: marks[0].start()] if marks else text
    first, _, rest = head.strip().partition("\n")
    found: dict[str, list[str]] = {"item name": [], "bullet": [], "description": [], "value": [], "unit": []}
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        label = mark[1].lower()
        key = "bullet" if label.startswith("bullet") else "description" if "description" in label else label
        found[key].append(text[mark.end() : end].strip())
    name = " ".join((" ".join(found["item name"]) or first)[:_NAME_CHARS].split())
    description = " ".join(found["description"]) or rest.strip()
    value, unit = " ".join(found["value"]), " ".join(found["unit"])
    sentences = text.lower().replace(". ", ".\n").split("\n")
    low_numbers = "\n".join(filter(_DIGIT.search, sentences))
    return Parts(name, tuple(found["bullet"]), description, value, unit, text, name.lower(), low_numbers)
