"""Response cache: prices by request content, least recently used, with expiry."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import TTLCache

Value = TypeVar("Value")


class ResponseCache(Generic[Value]):
    """The `most` last used values, each for `seconds` after it was put. clock: seconds, never going back."""

    def __init__(
        self, most: int = 20_000, seconds: float = 3600.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._values: TTLCache[bytes, Value] = TTLCache(most, seconds, timer=clock)

    def get(self, name: str) -> Value | None:
        """The value, which is used last now; None where there is none, or where it is too old."""
        return self._values.get(key_of(name))

    def put(self, name: str, value: Value) -> None:
        """Keeps the value; the least recently used one goes where there is no room."""
        if self._values.maxsize:
            self._values[key_of(name)] = value

    def clear(self) -> None:
        """Removes all values."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


def key_of(name: str) -> bytes:
    """Sixteen bytes for a name of any length."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
