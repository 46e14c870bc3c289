"""Response cache: prices by request content, least recently used, with expiry."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """The `most` last used values, each for `seconds` after it was put. clock: seconds, never going back."""

    def __init__(self, most: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._values: OrderedDict[bytes, tuple[float, Value]] = OrderedDict()

    def get(self, name: str) -> Value | None:
        """The value, which is used last now; None where there is none, or where it is too old."""
        key = key_of(name)
        found = self._values.get(key)
        if found is None:
            return None
        if found[0] <= self._clock():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return found[1]

    def put(self, name: str, value: Value) -> None:
        """Remembers the value; the one that was not used for longest is forgotten where there is no room."""
        key = key_of(name)
        self._values[key] = (self._clock() + self._seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


def key_of(name: str) -> bytes:
    """Sixteen bytes for a name of any length."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
