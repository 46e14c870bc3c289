"""TF-IDF inputs: catalog rows as one sparse matrix of words, characters and scaled number fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from core.arrays import load_arrays, loaded_once, save_arrays
from core.atomic_files import read_json, write_json
from core.data.catalog import Catalog
from core.fields import NUMBERS
from core.fields.field_selection import learn_labelled_fields
from core.fields.learnt_fields import MOST_SCALED, NO_FIELDS, FieldValues, LearntFields, learnt_from
from core.fields.reader import fields_of, learnt_of
from core.fields.splines import NumberScale, learn_scale

_TEXT, _LABELLED = "text", "labelled"
_PROCESS_BYTES, _BYTES_PER_CHARACTER = 400 * 2**20, 60
_FILES = ("inputs.json", "inputs.npz")
_SCALE = ("means", "spreads", "knots")


@dataclass(frozen=True)
class Block:
    """One TF-IDF: which part of the row it reads (a field, the whole `text`, or `labelled` values) and what its terms are."""

    name: str
    part: str
    analyzer: str
    ngrams: tuple[int, int]
    min_rows: int

    def vectorizer(self, max_terms: int, terms: Sequence[str] | None = None) -> TfidfVectorizer:
        return TfidfVectorizer(
            analyzer=list if self.part == _LABELLED else self.analyzer,
            ngram_range=self.ngrams,
            min_df=self.min_rows if terms is None else 1,
            max_features=max_terms if terms is None else None,
            vocabulary=None if terms is None else {term: place for place, term in enumerate(terms)},
            token_pattern=r"(?u)\b\w+\b" if self.analyzer == "word" else None,
            sublinear_tf=True,
            dtype=np.float32,
        )


BLOCKS = (
    Block("name words", "name", "word", (1, 2), 1),
    Block("name letters", "name", "char_wb", (2, 5), 2),
    Block("kind words", "kind", "word", (1, 2), 1),
    Block("text words", _TEXT, "word", (1, 1), 2),
    Block("labelled values", _LABELLED, "values", (1, 1), 2),
)


def text_memory(catalog: Catalog) -> int:
    """Roughly the bytes of a process that learns the vocabulary of these texts and holds them as a matrix."""
    return _PROCESS_BYTES + _BYTES_PER_CHARACTER * sum(map(len, catalog.texts))


@dataclass(frozen=True, eq=False)
class TfidfInputs:
    """Vocabulary and scales learnt from the training rows; turns any catalog into a matrix with the same columns."""

    fitted: list[tuple[Block, TfidfVectorizer]]
    scale: NumberScale
    number_weight: float
    learnt: LearntFields = NO_FIELDS

    def values(self, catalog: Catalog) -> FieldValues:
        """The fields of any name of these rows."""
        return learnt_of(catalog, self.learnt)

    def fields(self, catalog: Catalog) -> pd.DataFrame:
        """The fields that rules read, and behind them the learnt numbers."""
        return self.learnt.beside(fields_of(catalog), self.values(catalog))

    def matrix(self, catalog: Catalog) -> sp.csr_matrix:
        """(n, d) float32; words that were never seen are left out."""
        return catalog.derived(self, lambda: self._matrix(catalog))

    def _matrix(self, catalog: Catalog) -> sp.csr_matrix:
        values = self.values(catalog)
        fields = self.learnt.beside(fields_of(catalog), values)
        columns = [vectorizer.transform(_column(block, catalog, fields, values)) for block, vectorizer in self.fitted]
        numbers = sp.csr_matrix(np.hstack([self.scale.apply(fields), self.scale.bent(fields)]) * self.number_weight)
        return sp.hstack([*columns, numbers]).tocsr().astype(np.float32)

    def blocks(self, matrix: sp.csr_matrix) -> list[sp.csr_matrix]:
        """The TF-IDF blocks of what `matrix` gave, each (n, its terms)."""
        ends = np.cumsum([0, *(len(vectorizer.idf_) for _, vectorizer in self.fitted)])
        return [matrix[:, start:end] for start, end in pairwise(ends)]

    def for_nets(self, matrix: sp.csr_matrix, number_weight: float, *, binary: bool) -> sp.csr_matrix:
        """(n, d): what `matrix` gave with another weight of the numbers.

        binary: all terms of a row weigh the same, so much that its text keeps its length.
        """
        words = sum(len(vectorizer.idf_) for _, vectorizer in self.fitted)
        text = matrix[:, :words]
        if binary:
            counts = np.diff(text.indptr)
            lengths = np.sqrt(np.asarray(text.multiply(text).sum(axis=1)).ravel() / np.maximum(counts, 1))
            text.data = np.repeat(lengths, counts).astype(np.float32)
        numbers = matrix[:, words:] * np.float32(number_weight / self.number_weight)
        return sp.hstack([text, numbers]).tocsr()

    def save(self, folder: Path) -> None:
        terms = {block.name: vectorizer.get_feature_names_out().tolist() for block, vectorizer in self.fitted}
        record = {"terms": terms, "number_fields": self.scale.fields, "number_weight": self.number_weight}
        record |= {"learnt_fields": self.learnt.record()} if self.learnt.columns else {}
        write_json(folder / "inputs.json", record)
        arrays: dict[str, NDArray[Any]] = {block.name: vectorizer.idf_ for block, vectorizer in self.fitted}
        save_arrays(folder / "inputs.npz", arrays | {part: getattr(self.scale, part) for part in _SCALE})


def load_inputs(folder: Path) -> TfidfInputs:
    """Reads back what `TfidfInputs.save` wrote."""
    return loaded_once("inputs", [folder / name for name in _FILES], lambda: _load_inputs(folder))


def _load_inputs(folder: Path) -> TfidfInputs:
    record, arrays = read_json(folder / "inputs.json"), load_arrays(folder / "inputs.npz")
    blocks = []
    for block in BLOCKS:
        if block.name in record["terms"]:
            vectorizer = block.vectorizer(0, record["terms"][block.name])
            vectorizer.idf_ = arrays[block.name]
            blocks.append((block, vectorizer))
    scale = NumberScale(record["number_fields"], *(arrays[part] for part in _SCALE))
    return TfidfInputs(blocks, scale, float(record["number_weight"]), learnt_from(record.get("learnt_fields", [])))


def learn_inputs(catalog: Catalog, max_terms: int, number_weight: float, *, labelled: bool = False) -> TfidfInputs:
    """Learns vocabulary and scales of these rows. max_terms: per block, the most frequent.

    labelled: whether labelled lines of any name are fields as well, chosen by the rows' prices; nothing else looks at prices.
    """
    learnt = learn_labelled_fields(catalog) if labelled else NO_FIELDS
    values = learnt_of(catalog, learnt)
    fields = learnt.beside(fields_of(catalog), values)
    fitted = []
    for block in BLOCKS:
        vectorizer = block.vectorizer(max_terms)
        try:
            vectorizer.fit(_column(block, catalog, fields, values))
        except ValueError:
            # scikit-learn refuses an empty vocabulary: no term of this part stands in enough rows, so it says nothing.
            continue
        fitted.append((block, vectorizer))
    scale = learn_scale(fields, (*NUMBERS, *learnt.number_names[:MOST_SCALED]))
    return TfidfInputs(fitted, scale, number_weight, learnt)


def _column(block: Block, catalog: Catalog, fields: pd.DataFrame, values: FieldValues) -> Sequence[str | list[str]]:
    if block.part == _LABELLED:
        return values.tokens()
    return list(catalog.texts) if block.part == _TEXT else fields[block.part].tolist()
