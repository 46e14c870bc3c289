"""Field table of a catalog, read once per process, and arrays saved without pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from core.atomic_files import atomic_path, digest
from core.data.catalog import Catalog
from core.fields import read_fields

FEATURES_VERSION = "2"
"""Part of every cache key: raised when fields or features change their meaning."""

_MOST_ROWS = 500_000
_lock = Lock()
_rows: dict[str, int] = {}
_table: list[pd.DataFrame] = []
_loaded: WeakValueDictionary[str, Any] = WeakValueDictionary()
Loaded = TypeVar("Loaded")


def fields_of(catalog: Catalog) -> pd.DataFrame:
    """`read_fields` of the catalog's texts, each text read once in the life of the process: folds and trials share rows.

    Beyond 500,000 different texts reading begins anew.
    """
    return catalog.derived("fields", lambda: _fields_of(catalog))


def loaded_once(kind: str, files: Sequence[Path], load: Callable[[], Loaded]) -> Loaded:
    """What `load` makes of files with this content: the same object for all who ask, as long as one of them holds it.

    Models of one fold have much in common, and a service holds many.
    """
    key = digest(kind, *(part for path in files for part in (path.name, path.read_bytes())))
    found: Loaded | None = _loaded.get(key)
    if found is None:
        found = _loaded[key] = load()
    return found


def _fields_of(catalog: Catalog) -> pd.DataFrame:
    with _lock:
        if len(_rows) > _MOST_ROWS:
            _rows.clear()
            _table.clear()
        unread = [text for text in dict.fromkeys(catalog.texts) if text not in _rows]
        if unread:
            _table[:] = [pd.concat([*_table, read_fields(unread)], ignore_index=True)]
            _rows.update(zip(unread, range(len(_rows), len(_rows) + len(unread)), strict=True))
        places = [_rows[text] for text in catalog.texts]
        return _table[0].iloc[places].reset_index(drop=True) if _table else read_fields([])


def forget_fields() -> None:
    """From now on texts are read anew: for a service, which is asked for other ones each time."""
    with _lock:
        _rows.clear()
        _table.clear()


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
