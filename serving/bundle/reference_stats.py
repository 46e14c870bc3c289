"""Reference statistics of a catalog, stored in a bundle for drift detection.

Numbers are described by their 0%, 1%, ... 100% quantiles, from which any bins (PSI) and the distribution function (KS) follow;
words by the shares of the most frequent ones.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.column_mapping import FieldColumn, FieldKind
from core.fields.column_kinds import first_number
from core.fields.learnt_fields import list_items
from core.fields.reader import fields_of, labelled_of
from core.fields.units import date_in, thousands_mark, year_in
from core.inputs.images.files import list_images

COMMON = 1_000
"""So many words of a kind have a share of their own: the hundred most frequent brands are a quarter of a large catalog's rows."""
OTHER, NONE = "(other)", "(none)"
_QUANTILES = np.linspace(0, 1, 101)


class ColumnMeasure(StrEnum):
    """Number that stands for a value of a column, whose distribution is watched."""

    NUMBER = "number"
    DATE = "date"
    LENGTH = "length"


_MEASURES = {
    FieldKind.NUMBER: ColumnMeasure.NUMBER,
    FieldKind.DATE: ColumnMeasure.DATE,
    FieldKind.TEXT: ColumnMeasure.LENGTH,
}


def measured(value: str, measure: ColumnMeasure, thousands: str) -> float:
    """The number of a value, NaN where it has none: its first number, its date or year, or its characters."""
    if measure is ColumnMeasure.NUMBER:
        return first_number(value, thousands)
    if measure is ColumnMeasure.LENGTH:
        return float(len(value)) if value else np.nan
    date = date_in(value)
    year = year_in(value) if date is None else date
    return np.nan if year is None else year


def describe(
    catalogs: Sequence[Catalog], prices: Floats, fields: Sequence[FieldColumn] = (), learnt: Sequence[str] = ()
) -> dict[str, Any]:
    """Of the rows of all `catalogs` together, and of prices that the service gave rows it was not trained on.

    fields: columns that are lines of the texts. learnt: labels of the lines that were learnt as fields.
    """
    texts = [text for catalog in catalogs for text in catalog.texts]
    words = {name: [word for each in catalogs for word in fields_of(each)[name]] for name in ("unit", "brand")}
    return {
        "rows": {"inputs": len(texts), "prices": len(prices)},
        "numbers": {"length": quantiles([len(text) for text in texts]), "log_price": quantiles(np.log(prices))},
        "words": {name: shares(each) for name, each in {**words, "script": map(script, texts)}.items()},
        "missing_pictures": float(np.mean(np.concatenate([missing_images(each) for each in catalogs]))),
        **({"fields": _fields(catalogs, fields)} if fields else {}),
        **({"learnt": list(learnt)} if learnt else {}),
    }


def _fields(catalogs: Sequence[Catalog], fields: Sequence[FieldColumn]) -> dict[str, Any]:
    """By column: its label, and quantiles of the values of numbers, dates and lengths of texts, or shares of the words of
    categories and of the items of lists."""
    found: dict[str, Any] = {}
    for field in fields:
        label = field.label.lower()
        values = [row.get(label, "") for each in catalogs for row in labelled_of(each)]
        if field.kind in (FieldKind.CATEGORY, FieldKind.YES_NO):
            found[field.name] = {"label": label, "words": shares(value.lower() for value in values)}
        elif field.kind is FieldKind.LIST:
            items = [item for value in values for item in list_items(value) or [""]]
            found[field.name] = {"label": label, "items": shares(items)}
        else:
            measure, thousands = _MEASURES[field.kind], thousands_mark(filter(None, values))
            numbers = [number for value in values if not np.isnan(number := measured(value, measure, thousands))]
            if numbers:
                known = {"rows": len(numbers), "missing": 1 - len(numbers) / len(values), "thousands": thousands}
                known |= {} if measure is ColumnMeasure.NUMBER else {"measure": measure}
                found[field.name] = {"label": label, "quantiles": quantiles(numbers), **known}
    return found


def quantiles(values: Sequence[float] | Floats) -> list[float]:
    """101 values, the lowest first."""
    return [float(value) for value in np.quantile(np.asarray(values, dtype=np.float64), _QUANTILES)]


def shares(words: Iterable[str]) -> dict[str, float]:
    """The share of rows with each of the COMMON most frequent words; the rest is `(other)`, "" is `(none)`."""
    counts = Counter(word or NONE for word in words)
    total = counts.total()
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COMMON])
    found = {word: count / total for word, count in kept.items()}
    rest = (total - sum(kept.values())) / total
    return {**found, OTHER: rest} if rest else found


def script(text: str) -> str:
    """Script of most letters of the first 500 characters, in Unicode's word (`latin`, `cyrillic`, `cjk`); "" without letters."""
    counts = Counter(_script_of(letter) for letter in text[:500] if letter.isalpha())
    return max(sorted(counts), key=lambda name: counts[name], default="")


@lru_cache(maxsize=65_536)
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "unknown").split(" ")[0].split("-")[0].lower()


def missing_images(catalog: Catalog) -> NDArray[np.bool_]:
    """(n,) rows that have no image: no link, or no file of its name in the folder."""
    there = list_images(catalog.images, frozenset(catalog.image_paths))
    return np.array([name not in there for name in catalog.image_paths])
