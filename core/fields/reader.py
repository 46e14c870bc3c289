"""Reader of structured fields: catalog texts in, a data frame out; caches the texts it has read."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
import pandas as pd

from core.data.catalog import Catalog
from core.fields.grades import GRADES, read_grades
from core.fields.learnt_fields import FieldValues, LearntFields, labelled_values
from core.fields.quantities import read_quantities, read_sides, read_value
from core.fields.rules import COUNTS, RULES, Parts, split_parts

FEATURES_VERSION = "2"
"""Part of every cache key: raised when fields or features change their meaning."""

_MOST_TEXTS = 500_000
_QUANTITIES = (
    *("pack", "unit_g", "unit_ml", "unit_count", "total_g", "total_ml", "total_count"),
    *("value", "value_g", "value_ml", "value_count"),
)
_SIDES = ("side_1", "side_2", "side_3")
_DERIVED = ("area", "volume", "longest", "amount")

WORDS: tuple[str, ...] = ("name", "brand", "kind", "head", "unit")
"""Text fields, "" where there is none. head: what the item is, from the name without brand, sizes and asides."""

NUMBERS: tuple[str, ...] = (
    *(count.field for count in COUNTS),
    *dict.fromkeys(rule.field for rule in RULES),
    *_QUANTITIES,
    *_SIDES,
    *_DERIVED,
    *GRADES,
)
"""Number fields, NaN where the text does not say. Lengths in cm, masses in g, volumes in ml."""

_KIND_WORDS = 6
_ARTICLES = frozenset({"the", "a", "an", "la", "le", "les", "el", "los", "das", "der", "die", "il"})
_JOINTS = frozenset({"&", "and", "+", "und", "et", "y", "of", "de"})
_CAPITALS = re.compile(r"(?:[^\W\d_a-zà-öø-ÿ](?:[^\W_a-zà-öø-ÿ]|['’&./-])+(?:(?: [/&+-])? |$|(?=[,:]))(?:[/&] )?)+")
_ASIDE = re.compile(r"\([^)]*\)|[,;:|].*| [-–—]+ .*")
_NOT_HEAD = re.compile(r"[\d#][^\s]*|\W+")


def read_fields(texts: Iterable[str]) -> pd.DataFrame:
    """All fields of n catalog texts: a frame of n rows with the columns WORDS (str) and NUMBERS (float64), for any text."""
    words: dict[str, list[str]] = {name: [] for name in WORDS}
    numbers = array("d")  # a dictionary kept per row would take ten times the memory
    for text in texts:
        row_words, row_numbers = _read_row(split_parts(text))
        for name, column in words.items():
            column.append(row_words[name])
        numbers.extend([row_numbers.get(name, np.nan) for name in NUMBERS])
    known = np.array(numbers, dtype=np.float64).reshape(-1, len(NUMBERS))
    frame = pd.DataFrame({name: np.array(column, dtype=object) for name, column in words.items()})
    return _with_derived(pd.concat([frame, pd.DataFrame(known, columns=list(NUMBERS))], axis=1))


class FieldCache:
    """Fields of every text read so far, for threads too. Beyond 500,000 different texts reading begins anew."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: dict[str, int] = {}
        self._labelled: dict[str, dict[str, str]] = {}
        self._table = read_fields([])

    def read(self, texts: Sequence[str]) -> pd.DataFrame:
        """`read_fields` of the texts, each different text read once."""
        with self._lock:
            if len(self._rows) > _MOST_TEXTS:
                self._clear()
            unread = [text for text in dict.fromkeys(texts) if text not in self._rows]
            if unread:
                fresh = read_fields(unread)
                self._table = pd.concat([self._table, fresh], ignore_index=True) if self._rows else fresh
                self._rows.update(zip(unread, range(len(self._rows), len(self._rows) + len(unread)), strict=True))
            return self._table.iloc[[self._rows[text] for text in texts]].reset_index(drop=True)

    def labelled(self, texts: Sequence[str]) -> list[dict[str, str]]:
        """`labelled_values` of the texts, each different text read once."""
        with self._lock:
            if len(self._labelled) > _MOST_TEXTS:
                self._labelled = {}
            for text in texts:
                if text not in self._labelled:
                    self._labelled[text] = labelled_values(text)
            return [self._labelled[text] for text in texts]

    def clear(self) -> None:
        """Forgets all texts: for a service, which reads other ones each time."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._rows, self._table, self._labelled = {}, read_fields([]), {}


def _read_row(parts: Parts) -> tuple[dict[str, str], dict[str, float]]:
    """The words of one text, all of them, and the numbers in it."""
    numbers = {count.field: count.read(parts) for count in COUNTS}
    for rule in RULES:
        if rule.field not in numbers and (value := rule.read(parts)) is not None:
            numbers[rule.field] = value
    numbers |= read_quantities(parts.low_name)
    numbers |= read_sides(parts.low_name)
    numbers |= read_value(parts.value, parts.unit)
    brand = brand_of(parts.name)
    kind = parts.bullets[0].lower() if parts.bullets and len(parts.bullets[0].split()) <= _KIND_WORDS else ""
    numbers |= read_grades(parts.low_name, kind)
    unit = parts.unit.strip().lower().rstrip(".")
    return {
        "name": parts.low_name,
        "brand": brand,
        "kind": kind,
        "head": head_of(parts.name, brand),
        "unit": unit,
    }, numbers


def brand_of(name: str) -> str:
    """A guess at the brand, in lower case: the capitals that a name starts with, else its first word."""
    if (match := _CAPITALS.match(name)) and len(match[0].strip(" /&+-")) > 1 and match[0].strip() != name.strip():
        return match[0].strip(" /&+-,:").lower()
    words = name.lower().split(maxsplit=3)[:3]
    joined = len(words) == 3 and words[1] in _JOINTS
    wanted = 3 if joined else 2 if words and words[0] in _ARTICLES else 1
    return " ".join(words[:wanted]).strip(",.:;")


def head_of(name: str, brand: str) -> str:
    """Head noun phrase of the name, in lower case: the name up to its first comma or aside, without brand and numbers."""
    head = _ASIDE.sub(" ", name.lower())
    return " ".join(_NOT_HEAD.sub(" ", head.removeprefix(brand)).split())


def _with_derived(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds what follows from other fields: outer area (cm2) and volume (cm3), longest side, one amount in base units."""
    sides = frame[list(_SIDES)].to_numpy()
    labelled = frame[["width", "depth", "height"]].to_numpy()
    known = np.where(
        np.isnan(labelled).sum(axis=1, keepdims=True) <= np.isnan(sides).sum(axis=1, keepdims=True), labelled, sides
    )
    present = (~np.isnan(known)).sum(axis=1)
    product = np.nanprod(known, axis=1)
    ordered = np.sort(np.where(np.isnan(known), -np.inf, known), axis=1)[:, ::-1]
    frame["area"] = np.where(present >= 2, ordered[:, 0] * ordered[:, 1], np.nan)
    frame["volume"] = np.where(present == 3, product, np.nan)
    frame["longest"] = np.where(present >= 1, ordered[:, 0], np.nan)
    amounts = frame[["value_g", "value_ml", "value_count", "total_g", "total_ml", "total_count", "pack"]]
    frame["amount"] = amounts.bfill(axis=1).iloc[:, 0]
    return frame


field_cache = FieldCache()
"""The process's own: folds and trials share rows."""


def fields_of(catalog: Catalog) -> pd.DataFrame:
    """`read_fields` of the catalog's texts, each text read once in the life of the process."""
    return catalog.derived("fields", lambda: field_cache.read(list(catalog.texts)))


def labelled_of(catalog: Catalog) -> list[dict[str, str]]:
    """`labelled_values` of the catalog's texts, each text read once in the life of the process."""
    return catalog.derived("labelled", lambda: field_cache.labelled(list(catalog.texts)))


def learnt_of(catalog: Catalog, learnt: LearntFields) -> FieldValues:
    """The learnt fields of the catalog's rows; for models without any, no text is read."""
    if not learnt.columns:
        return learnt.read([{}] * len(catalog))
    return catalog.derived(("learnt fields", learnt), lambda: learnt.read(labelled_of(catalog)))
