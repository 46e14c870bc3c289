"""The labelled lines of a catalog text: item name, bullets, description, value, unit."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

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
