"""Arrays on disk without pickle, and the fields of a catalog, read once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from core.catalog import Catalog
from core.fields import read_fields
from core.files import atomic_path

FEATURES_VERSION = "2"
"""Part of every cache key: raised when fields or features change their meaning."""

_fields: WeakKeyDictionary[Catalog, pd.DataFrame] = WeakKeyDictionary()


def fields_of(catalog: Catalog) -> pd.DataFrame:
    """`read_fields` of the catalog's texts, read once for as long as the catalog object lives; not to be changed."""
    if catalog not in _fields:
        _fields[catalog] = read_fields(catalog.texts)
    return _fields[catalog]


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays of numbers as .npz, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads back what `save_arrays` wrote; refuses pickled objects."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def sparse_arrays(matrix: sp.csr_matrix, name: str) -> dict[str, NDArray[Any]]:
    """A sparse matrix as arrays for `save_arrays`, under names that begin with `name`."""
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": np.array(matrix.shape)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def sparse_from(arrays: Mapping[str, NDArray[Any]], name: str) -> sp.csr_matrix:
    """The sparse matrix that `sparse_arrays` took apart."""
    data, indices, indptr, shape = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape"))
    return sp.csr_matrix((data, indices, indptr), shape=tuple(int(side) for side in shape))
