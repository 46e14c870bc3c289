"""Row cache in memory: least recently used rows, at most so many bytes, for services whose models read the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

Array = NDArray[Any]


class RowCache:
    """Arrays of one shape by key, the most recently used ones, in at most `most_bytes`. Safe for threads."""

    def __init__(self, most_bytes: int) -> None:
        self._rows: LRUCache[str, Array] = LRUCache(most_bytes, getsizeof=lambda row: row.nbytes)
        self._lock = Lock()

    def rows(self, keys: Sequence[str], compute: Callable[[NDArray[np.intp]], Array]) -> Array:
        """(n, ...) of these n keys, at least one. compute: gives (m, ...) for the positions (m,) of keys that are not cached;
        of equal keys, for the first."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        with self._lock:
            found = {key: self._rows[key] for key in first if key in self._rows}
        places = sorted(place for key, place in first.items() if key not in found)
        if places:
            # Copies, so that a row that is kept does not keep all rows it was computed with.
            computed = {
                keys[place]: np.array(row) for place, row in zip(places, compute(np.array(places)), strict=True)
            }
            with self._lock:
                for key, row in computed.items():
                    if row.nbytes <= self._rows.maxsize:
                        self._rows[key] = row
            found |= computed
        return np.stack([found[key] for key in keys])
