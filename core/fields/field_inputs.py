"""Field inputs of a neural network: a line before the text, scaled numbers, and words hashed to indices."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.atomic_files import digest
from core.cache import Cache
from core.data.catalog import Catalog
from core.fields import NUMBERS
from core.fields.learnt_fields import MOST_SCALED, NO_FIELDS, LearntFields, learnt_from
from core.fields.reader import FEATURES_VERSION, fields_of, learnt_of
from core.fields.splines import NumberScale, learn_scale

CATEGORIES = ("brand", "kind", "head", "unit")
"""The word fields that are embedded."""
BUCKETS = 4_096
UNKNOWN = 0
_NO_WORD = -1
_FILE = "fields.parquet"
_SEEN = 2
"""Rows of the training set in which a word must stand: of one that stands in a single row only that row's price is known."""

_LINE: Mapping[str, str] = {
    "brand": "brand {}",
    "kind": "kind {}",
    "pack": "pack {}",
    "total_g": "total {} g",
    "total_ml": "total {} ml",
    "total_count": "total {} count",
    "value_g": "value {} g",
    "value_ml": "value {} ml",
    "value_count": "value {} count",
    "percent": "{} %",
    "age": "{} year",
    "area": "area {} cm2",
    "volume": "volume {} cm3",
    "longest": "longest {} cm",
}
"""What stands in the line, in this order; fields that the text does not say are left out."""


def with_learnt(catalog: Catalog, cache: Cache | None, learnt: LearntFields) -> pd.DataFrame:
    """`table_of` the catalog with the learnt numbers beside."""
    return learnt.beside(table_of(catalog, cache), learnt_of(catalog, learnt))


def table_of(catalog: Catalog, cache: Cache | None) -> pd.DataFrame:
    """The catalog's fields (`core.fields.read_fields`), from the cache or read into it: every training asks for them."""
    if cache is None:
        return fields_of(catalog)
    key = digest(FEATURES_VERSION, *catalog.texts)
    return cache.get("fields", key, lambda folder: fields_of(catalog).to_parquet(folder / _FILE), _read)


def _read(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / _FILE)


def with_line(texts: Iterable[str], fields: pd.DataFrame) -> list[str]:
    """The texts, each behind a short line of its fields: `brand bonne maman · pack 12 · total 3960 ml`."""
    columns = [_phrases(fields[name], words) for name, words in _LINE.items()]
    lines = (" · ".join(filter(None, row)) for row in zip(*columns, strict=True))
    return [f"{line}\n{text}" for line, text in zip(lines, texts, strict=True)]


def _phrases(column: pd.Series, words: str) -> list[str]:
    if column.dtype == np.float64:
        return ["" if np.isnan(value) else words.format(_number(value)) for value in column]
    return [words.format(value) if value else "" for value in column]


def _number(value: float) -> str:
    """Four digits that count, without an exponent: `3960`, `0.75`, `190900`."""
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")


@dataclass(frozen=True, eq=False)
class FieldInputs:
    """numbers: (n, f) float32. words: (n, len(CATEGORIES)) int64, the place of each word, or UNKNOWN."""

    numbers: NDArray[np.float32]
    words: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FieldEncoder:
    """Encoder of fields, fitted to the training rows without their prices. known: the hashes of their words, ascending."""

    scale: NumberScale
    known: NDArray[np.int64]
    learnt: LearntFields = NO_FIELDS

    @property
    def width(self) -> int:
        """Number of inputs per row."""
        return 2 * len(self.scale.fields)

    def read(self, fields: pd.DataFrame) -> FieldInputs:
        hashes = _hashes(fields)
        words = np.where(np.isin(hashes, self.known), 1 + hashes % BUCKETS, UNKNOWN)
        return FieldInputs(self.scale.apply(fields).astype(np.float32), words)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        scale = self.scale
        return {
            "fields": scale.fields,
            "means": scale.means.tolist(),
            "spreads": scale.spreads.tolist(),
            "knots": [[None if np.isnan(knot) else knot for knot in row] for row in scale.knots.tolist()],
            "known": self.known.tolist(),
            **({"learnt_fields": self.learnt.record()} if self.learnt.columns else {}),
        }


def learn_fields(fields: pd.DataFrame, learnt: LearntFields = NO_FIELDS) -> FieldEncoder:
    """The reader of these rows' fields (`with_learnt`)."""
    hashes, rows = np.unique(_hashes(fields), return_counts=True)
    scale = learn_scale(fields, (*NUMBERS, *learnt.number_names[:MOST_SCALED]))
    return FieldEncoder(scale, hashes[(rows >= _SEEN) & (hashes != _NO_WORD)], learnt)


def reader_from(record: Mapping[str, Any]) -> FieldEncoder:
    """Reads back what `FieldEncoder.record` gave."""
    means, spreads, knots = (np.array(record[part], dtype=np.float64) for part in ("means", "spreads", "knots"))
    scale = NumberScale(list(record["fields"]), means, spreads, knots)
    known = np.array(record["known"], dtype=np.int64)
    return FieldEncoder(scale, known, learnt_from(record.get("learnt_fields", [])))


def _hashes(fields: pd.DataFrame) -> NDArray[np.int64]:
    """(n, len(CATEGORIES)) hashes of field and word; _NO_WORD where there is none."""
    columns = []
    for name in CATEGORIES:
        hashes = {word: zlib.crc32(f"{name} {word}".encode()) if word else _NO_WORD for word in set(fields[name])}
        columns.append(np.array([hashes[word] for word in fields[name]], dtype=np.int64))
    return np.column_stack(columns)
