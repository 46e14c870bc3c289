"""Least-recently-used cache of per-row results in memory, for models that ask for the same rows together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RowMemory:
    """Arrays of one shape by key, those asked for last, in at most so many bytes. Any number of threads may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._rows: OrderedDict[str, Array] = OrderedDict()
        self._lock = Lock()

    def rows(self, keys: Sequence[str], compute: Callable[[NDArray[np.intp]], Array]) -> Array:
        """(n, ...) of these n keys, at least one. compute: gives (m, ...) for the positions (m,) of keys that are not known;
        of equal keys, for the first."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        with self._lock:
            found = {key: self._rows[key] for key in first if key in self._rows}
            for key in found:
                self._rows.move_to_end(key)
        places = sorted(place for key, place in first.items() if key not in found)
        if places:
            # Copies, so that a row that is kept does not keep all rows it was computed with.
            computed = {
                keys[place]: np.array(row) for place, row in zip(places, compute(np.array(places)), strict=True)
            }
            self._remember(computed)
            found |= computed
        return np.stack([found[key] for key in keys])

    def _remember(self, computed: dict[str, Array]) -> None:
        with self._lock:
            for key, row in computed.items():
                self._bytes += row.nbytes - (self._rows[key].nbytes if key in self._rows else 0)
                self._rows[key] = row
            while self._bytes > self._most:
                self._bytes -= self._rows.popitem(last=False)[1].nbytes
