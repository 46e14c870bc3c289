"""True prices that come later, beside what was predicted: live SMAPE."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from core.metrics import smape_terms
from serving.service.memory import Memory

REMEMBERED = 200_000
REMEMBERED_SECONDS = 90 * 86_400.0
"""For so long, and for so many rows, a true price finds its prediction."""
WINDOW = 1_000
"""Outcomes that the live figure is made of, the last ones."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was answered. low, high: of the 80% interval. told: a true price has come."""

    price: float
    low: float
    high: float
    told: bool = False


class Told(Enum):
    """What a true price is: of an id that nobody knows, the first of its id, or another one of its id."""

    UNKNOWN = auto()
    FIRST = auto()
    AGAIN = auto()


@dataclass(frozen=True)
class Live:
    """smape: in percent, over `rows` outcomes; standard_error: of it. coverage: share of outcomes inside their intervals."""

    smape: float
    standard_error: float
    coverage: float
    rows: int


class Outcomes:
    """Predictions by id (the request's, and for a batch the row's number behind it), and the outcomes that came.

    An id counts once, with the price that was told last, so that a request may be sent again and a price be mended.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._predicted: Memory[Predicted] = Memory(REMEMBERED, REMEMBERED_SECONDS, clock=clock)
        # Of the last WINDOW ids, in the order in which they were first told.
        self._terms: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def predicted(self, name: str, answer: Predicted) -> None:
        self._predicted.put(name, answer)

    def came(self, name: str, price: float) -> Told:
        """A true price, in currency units. Told again for an id that has left the window, it changes nothing."""
        known = self._predicted.get(name)
        if known is None:
            return Told.UNKNOWN
        if not known.told or name in self._terms:
            term = float(smape_terms(np.array([price]), np.array([known.price]))[0])
            self._terms[name] = (term, known.low <= price <= known.high)
        if known.told:
            return Told.AGAIN
        self._predicted.put(name, replace(known, told=True))
        if len(self._terms) > WINDOW:
            self._terms.popitem(last=False)
        return Told.FIRST

    @property
    def rows(self) -> int:
        """How many outcomes count."""
        return len(self._terms)

    @property
    def live(self) -> Live | None:
        """None before the second outcome."""
        if len(self._terms) < 2:
            return None
        terms, inside = np.array(list(self._terms.values()), dtype=np.float64).T
        error = float(terms.std(ddof=1) / np.sqrt(len(terms)))
        return Live(float(terms.mean()), error, float(inside.mean()), len(terms))
