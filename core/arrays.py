"""NumPy array types, and arrays on disk as .npz without pickle: dense, sparse, loaded once per content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import scipy.sparse as sp
from cachetools import cached
from numpy.typing import NDArray

from core.atomic_files import atomic_path, digest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RowIndices = NDArray[np.intp]
Loaded = TypeVar("Loaded")


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


def _content(kind: str, files: Sequence[Path], load: Callable[[], Loaded]) -> str:
    return digest(kind, *(part for path in files for part in (path.name, path.read_bytes())))


@cached(WeakValueDictionary(), key=_content)
def loaded_once(kind: str, files: Sequence[Path], load: Callable[[], Loaded]) -> Loaded:
    """Weakly cached result of `load`, by the content of `files`: models of one bundle share their equal parts in memory."""
    return load()
