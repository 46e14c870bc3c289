"""The labelled lines of a catalog text: item name, bullets, description, value, unit."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_LABEL = re.compile(
    r"^[ \t]*(Item Name|Bullet ?Points?(?: ?\d{1,3})?|Product Description|Description|Value|Unit)[ \t]*:[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
_VULGAR_FRACTION = re.compile("(?<=\\d)(?=[¼-¾⅐-⅞])")
_WORD = re.compile(r"[^\W\d_]+|[%$£€¥₹]")
_NAME_CHARS = 1_000
_READ_CHARS = 20_000
"""Longer names and texts are read up to here: quantities stand at the beginning, and every row must cost little."""


@dataclass(frozen=True)
class Parts:
    """One catalog text taken apart. `low_name`, `low_text`: in lower case; their words are without digits (`12oz`: `oz`)."""

    name: str
    bullets: tuple[str, ...]
    description: str
    value: str
    unit: str
    text: str
    low_name: str
    low_text: str
    name_words: frozenset[str]
    text_words: frozenset[str]


def split_parts(text: str) -> Parts:
    """The parts of a catalog text; a text without labels is all name up to its first line break, then description.

    Compatibility characters are folded first (bold letters, full-width digits, one-half), lines keep their case.
    """
    text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(" ", text[:_READ_CHARS])).replace("⁄", "/")
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
    low_name, low_text = name.lower(), text.lower()
    words = frozenset(_WORD.findall(low_name)), frozenset(_WORD.findall(low_text))
    return Parts(name, tuple(found["bullet"]), description, value, unit, text, low_name, low_text, *words)
