"""Registry of dataclasses that a stored stack may hold, each under a written-out name that survives renaming the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)

STORED_TYPES: dict[str, type] = {}
"""By stored name. A module registers its classes when it is imported; the registries of methods and steps import them all."""


def stored(name: str) -> Callable[[Kind], Kind]:
    """Class decorator: lets `ensemble.pipeline.serialization` write and read a dataclass under `name`.

    Its fields may hold numbers, texts, arrays, LightGBM boosters, tuples, dictionaries and other stored dataclasses. Raises
    ValueError for a name that another class has.
    """

    def register(kind: Kind) -> Kind:
        if name in STORED_TYPES:
            raise ValueError(f"two classes are stored as {name!r}: {STORED_TYPES[name].__name__} and {kind.__name__}")
        STORED_TYPES[name] = kind
        return kind

    return register
