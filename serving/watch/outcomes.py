"""True prices that come later, beside what was predicted: live SMAPE."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
    """What was answered. low, high: of the 80% interval."""

    price: float
    low: float
    high: float


@dataclass(frozen=True)
class Live:
    """smape: in percent, over `rows` outcomes; standard_error: of it. coverage: share of outcomes inside their intervals."""

    smape: float
    standard_error: float
    coverage: float
    rows: int


class Outcomes:
    """Predictions by id (the request's, and for a batch the row's number behind it), and the outcomes that came."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._predicted: Memory[Predicted] = Memory(REMEMBERED, REMEMBERED_SECONDS, clock=clock)
        self._terms: deque[tuple[float, bool]] = deque(maxlen=WINDOW)

    def predicted(self, name: str, answer: Predicted) -> None:
        self._predicted.put(name, answer)

    def came(self, name: str, price: float) -> bool:
        """A true price, in currency units; False where nobody knows what was predicted."""
        known = self._predicted.get(name)
        if known is None:
            return False
        term = float(smape_terms(np.array([price]), np.array([known.price]))[0])
        self._terms.append((term, known.low <= price <= known.high))
        return True

    @property
    def live(self) -> Live | None:
        """None before the second outcome."""
        if len(self._terms) < 2:
            return None
        terms, inside = np.array(self._terms, dtype=np.float64).T
        error = float(terms.std(ddof=1) / np.sqrt(len(terms)))
        return Live(float(terms.mean()), error, float(inside.mean()), len(terms))
