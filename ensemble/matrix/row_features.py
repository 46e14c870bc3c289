"""Row features for stacking: structured fields of the texts, or columns that the user names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.arrays import Floats, load_arrays, save_arrays
from core.atomic_files import digest, read_json, write_json
from core.cache import Cache
from core.data.catalog import Catalog, Strings
from core.fields import NUMBERS
from core.fields.reader import FEATURES_VERSION, fields_of
from ensemble.matrix.stored_types import stored

WORDS = ("brand", "kind", "head", "unit")
LENGTH = "text length"
_VERSION = "2"
_RARE = 5
_LARGEST = float(np.finfo(np.float32).max)
_TRAIN, _TEST, _FILE, _WORDS = "train", "test", "features.npz", "words.json"
_NAMES = (*NUMBERS, *WORDS, LENGTH)


@dataclass(frozen=True, eq=False)
class RowFeatures:
    """train (n, f) and test (t, f) numbers, NaN where unknown; names: of the f columns.

    reader: of new rows, None where the columns come from tables.
    """

    names: tuple[str, ...]
    train: Floats
    test: Floats
    reader: RowFeatureReader | None = None


def no_features(rows: int, test_rows: int) -> RowFeatures:
    """Of rows that nothing is known of but the members' prices."""
    return RowFeatures((), np.empty((rows, 0)), np.empty((test_rows, 0)))


def from_columns(columns: Mapping[str, tuple[Floats, Floats]], rows: int, test_rows: int) -> RowFeatures:
    """Of (n,) and (t,) numbers by name; infinite ones, and those too large for 32 bits, count as unknown. Columns that
    are the same in all training rows are left out."""
    known = {name: (_numbers(train), _numbers(test)) for name, (train, test) in columns.items()}
    telling = {name: parts for name, parts in known.items() if len(np.unique(parts[0][~np.isnan(parts[0])])) > 1}
    if not telling:
        return no_features(rows, test_rows)
    train, test = (np.column_stack(part) for part in zip(*telling.values(), strict=True))
    return RowFeatures(tuple(telling), train, test)


def frequent(words: Sequence[str] | Strings) -> tuple[str, ...]:
    """The words of at least 5 of the training rows, the most frequent first, equals by alphabet; "" is no word.

    Of rarer ones nothing could be learnt.
    """
    counts = Counter(word for word in words if word != "")
    return tuple(
        sorted((word for word, count in counts.items() if count >= _RARE), key=lambda word: (-counts[word], word))
    )


def codes(words: Sequence[str] | Strings, known: Sequence[str]) -> Floats:
    """(n,) the place of each word among the `known` ones, 0 is the first; NaN for all others."""
    numbers = {word: float(place) for place, word in enumerate(known)}
    return np.array([numbers.get(word, np.nan) for word in words], dtype=np.float64)


def of_catalog(train: Catalog, test: Catalog, cache: Cache) -> RowFeatures:
    """The fields of a workspace's texts (`core.fields`), with words as codes, and the texts' lengths in characters.

    Read once: a catalog of competition size takes tens of seconds. `cache` keeps the numbers.
    """

    def write(folder: Path) -> None:
        known = {name: frequent(fields_of(train)[name].to_numpy(object)) for name in WORDS}
        write_json(folder / _WORDS, known)
        save_arrays(folder / _FILE, {_TRAIN: _columns(train, known), _TEST: _columns(test, known)})

    def read(folder: Path) -> tuple[dict[str, Floats], dict[str, list[str]]]:
        return load_arrays(folder / _FILE), read_json(folder / _WORDS)

    key = digest(train.fingerprint, test.fingerprint, FEATURES_VERSION, _VERSION)
    parts, known = cache.get("row-features", key, write, read)
    columns = {name: (parts[_TRAIN][:, place], parts[_TEST][:, place]) for place, name in enumerate(_NAMES)}
    found = from_columns(columns, len(train), len(test))
    return replace(found, reader=RowFeatureReader(found.names, {name: tuple(words) for name, words in known.items()}))


@stored("FieldReader")
@dataclass(frozen=True)
class RowFeatureReader:
    """Gives new rows the features that the training rows had.

    names: of the f features. words: for each of WORDS the ones that have a code, in the order of their codes.
    """

    names: tuple[str, ...]
    words: dict[str, tuple[str, ...]]

    def read(self, catalog: Catalog) -> Floats:
        """(n, f), NaN where unknown."""
        columns = _columns(catalog, self.words)
        return _numbers(columns[:, [_NAMES.index(name) for name in self.names]])


def _columns(catalog: Catalog, known: Mapping[str, Sequence[str]]) -> Floats:
    """(n, c) numbers under _NAMES."""
    table = fields_of(catalog)
    coded = [codes(table[name].to_numpy(object), known[name]) for name in WORDS]
    lengths = [len(text) for text in catalog.texts]
    return np.column_stack([table[list(NUMBERS)].to_numpy(np.float64), *coded, lengths])


def _numbers(values: Floats) -> Floats:
    """The same, with NaN for what is infinite or too large for 32 bits."""
    return np.where(np.abs(values) < _LARGEST, values, np.nan)
