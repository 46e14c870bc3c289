"""Vocabulary index: which words stand in which rows of train and test, and their shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from core.arrays import Floats, Ints

_EDGES = ".,;:!?()[]{}\"'"


@dataclass(frozen=True)
class Vocabulary:
    """rows, words: (t,) each word of each row once, words by number. names: of the words, in lower case.

    shape_of: (v,) the number of each word's shape in `shapes`. A shape has `#` for digits that stand together and, in words with
    digits, `a` for letters that do: `sku#` and `lot#` are one shape, `a#a` is another.
    """

    rows: Ints
    words: Ints
    names: list[str]
    shape_of: Ints
    shapes: list[str]

    def shares(self, first: int, second: int) -> Iterator[tuple[str, list[str], Floats]]:
        """(what, names, (v, 2) shares of the `first` rows and of the `second` behind them) for words and for their shapes."""
        yield "the word", self.names, self._shares(self.words, len(self.names), first, second)
        yield "words like", self.shapes, self._shares(self.shape_of[self.words], len(self.shapes), first, second)

    def _shares(self, numbers: Ints, count: int, first: int, second: int) -> Floats:
        row, number = _once(self.rows, numbers, first + second, count)
        counts = [np.bincount(number[side], minlength=count) for side in (row < first, row >= first)]
        return np.column_stack([counts[0] / first, counts[1] / second])


def read_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """The words of n texts: what stands between white space, without the punctuation around it."""
    raw: dict[str, int] = {}
    # A set would number words in another order in each process, and sums over them would round otherwise.
    found = [[raw.setdefault(word, len(raw)) for word in dict.fromkeys(text.casefold().split())] for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(each) for each in found])
    numbers = np.array([number for each in found for number in each], dtype=np.int64)
    bare: dict[str, int] = {}
    bare_of = np.array([bare.setdefault(word.strip(_EDGES), len(bare)) for word in raw], dtype=np.int64)
    shapes: dict[str, int] = {}
    shape_of = np.array([shapes.setdefault(shape(word), len(shapes)) for word in bare], dtype=np.int64)
    rows, words = _once(rows, bare_of[numbers], len(texts), len(bare))
    return Vocabulary(rows, words, list(bare), shape_of, list(shapes))


def _once(rows: Ints, numbers: Ints, height: int, width: int) -> tuple[Ints, Ints]:
    """The pairs of rows (rising) and numbers, each once: as a sparse matrix, ten times as fast as sorting all pairs."""
    starts = np.searchsorted(rows, np.arange(height + 1))
    table = csr_matrix((np.ones(len(rows), dtype=np.int8), numbers.copy(), starts), shape=(height, max(width, 1)))
    table.sum_duplicates()
    return np.repeat(np.arange(height), np.diff(table.indptr)), table.indices.astype(np.int64)


def shape(word: str) -> str:
    """`sku-1299` and `lot-7` are `a-#`; words without digits are all `a`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "#", word))
