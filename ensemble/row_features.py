"""Numbers about each row that are no member's: what a catalog's text says, or columns that the user names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.cache import Cache
from core.catalog import Catalog, Strings
from core.fields import NUMBERS
from core.files import digest
from core.light.store import FEATURES_VERSION, fields_of, load_arrays, save_arrays
from ensemble.checks import Floats

WORDS = ("brand", "kind", "head", "unit")
LENGTH = "text length"
_VERSION = "1"
_RARE = 5
_LARGEST = float(np.finfo(np.float32).max)
_TRAIN, _TEST, _FILE = "train", "test", "features.npz"


@dataclass(frozen=True, eq=False)
class RowFeatures:
    """train (n, f) and test (t, f) numbers, NaN where unknown; names: of the f columns."""

    names: tuple[str, ...]
    train: Floats
    test: Floats


def no_features(rows: int, test_rows: int) -> RowFeatures:
    """Of rows that nothing is known of but the members' prices."""
    return RowFeatures((), np.empty((rows, 0)), np.empty((test_rows, 0)))


def from_columns(columns: Mapping[str, tuple[Floats, Floats]], rows: int, test_rows: int) -> RowFeatures:
    """Of (n,) and (t,) numbers by name; infinite ones, and those too large for 32 bits, count as unknown. Columns that do not
    tell training rows apart are left out."""
    known = {
        name: (np.where(np.abs(train) < _LARGEST, train, np.nan), np.where(np.abs(test) < _LARGEST, test, np.nan))
        for name, (train, test) in columns.items()
    }
    telling = {name: parts for name, parts in known.items() if len(np.unique(parts[0][~np.isnan(parts[0])])) > 1}
    if not telling:
        return no_features(rows, test_rows)
    train, test = (np.column_stack(part) for part in zip(*telling.values(), strict=True))
    return RowFeatures(tuple(telling), train, test)


def codes(train: Sequence[str] | Strings, test: Sequence[str] | Strings) -> tuple[Floats, Floats]:
    """Words as numbers by how often they stand in the training rows: 0 is the most frequent, equals by alphabet.

    NaN for "" and for words of fewer than 5 training rows, of which nothing could be learnt.
    """
    counts = Counter(word for word in train if word != "")
    frequent = sorted(
        (word for word, count in counts.items() if count >= _RARE), key=lambda word: (-counts[word], word)
    )
    numbers = {word: float(place) for place, word in enumerate(frequent)}
    first, second = (np.array([numbers.get(word, np.nan) for word in part], dtype=np.float64) for part in (train, test))
    return first, second


def of_catalog(train: Catalog, test: Catalog, cache: Cache) -> RowFeatures:
    """The fields of a workspace's texts (`core.fields`), with words as codes, and the texts' lengths in characters.

    Read once: a catalog of competition size takes tens of seconds. `cache` keeps the numbers.
    """
    key = digest(train.fingerprint, test.fingerprint, FEATURES_VERSION, _VERSION)
    parts = cache.get(
        "row-features",
        key,
        lambda folder: save_arrays(folder / _FILE, _read(train, test)),
        lambda folder: load_arrays(folder / _FILE),
    )
    names = (*NUMBERS, *WORDS, LENGTH)
    columns = {name: (parts[_TRAIN][:, place], parts[_TEST][:, place]) for place, name in enumerate(names)}
    return from_columns(columns, len(train), len(test))


def _read(train: Catalog, test: Catalog) -> dict[str, Floats]:
    """(n, f) and (t, f) columns NUMBERS, WORDS and LENGTH."""
    fields = fields_of(train), fields_of(test)
    words = zip(*(codes(*(each[name].to_numpy(object) for each in fields)) for name in WORDS), strict=True)
    return {
        part: np.column_stack(
            [table[list(NUMBERS)].to_numpy(np.float64), *coded, [len(text) for text in catalog.texts]]
        )
        for part, table, coded, catalog in zip((_TRAIN, _TEST), fields, words, (train, test), strict=True)
    }
