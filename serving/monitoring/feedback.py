"""Feedback: true prices that arrive later, matched with predictions for a live SMAPE."""

from __future__ import annotations

import struct
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from core.atomic_files import digest
from core.metrics import smape_terms
from serving.engine.process_worker import RowAnswer

REMEMBERED = 200_000
REMEMBERED_SECONDS = 90 * 86_400.0
"""For so long, and for so many rows, a true price finds its prediction."""
WINDOW = 1_000
"""Outcomes that the live figure is made of, the last ones."""

_PACKED = struct.Struct("<dddf?")
"""price, low, high, the second in which it is forgotten, whether a true price has come: 29 bytes in place of 200."""


class FeedbackStatus(Enum):
    """Match of a true price: of an unknown id, the first of its id, or another one of its id."""

    UNKNOWN = auto()
    FIRST = auto()
    AGAIN = auto()


@dataclass(frozen=True)
class LiveAccuracy:
    """smape: in percent, over `rows` outcomes; standard_error: of it. coverage: share of outcomes inside their intervals."""

    smape: float
    standard_error: float
    coverage: float
    rows: int


class Feedback:
    """Matches true prices with predictions by id (the request's, and for a batch the row's number behind it).

    An id counts once, with the price that was sent last, so that a request may be sent again and a price be mended.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # A service's memory must stay flat: hundreds of thousands of predictions wait here, as few bytes each as can be.
        self._predicted: dict[int, bytes] = {}
        self._order: deque[int] = deque()
        # Of the last WINDOW ids, in the order in which they were first sent.
        self._terms: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def record_prediction(self, name: str, answer: RowAnswer) -> None:
        """From now on a true price of that id finds this prediction; the oldest is forgotten where there is no room."""
        key = _key(name)
        if key not in self._predicted:
            self._order.append(key)
        ends = self._clock() + REMEMBERED_SECONDS
        self._predicted[key] = _PACKED.pack(answer.price, answer.low, answer.high, ends, False)
        if len(self._order) > REMEMBERED:
            del self._predicted[self._order.popleft()]

    def record_true_price(self, name: str, price: float) -> FeedbackStatus:
        """A true price, in currency units. FeedbackStatus again for an id that has left the window, it changes nothing."""
        key = _key(name)
        packed = self._predicted.get(key)
        if packed is None:
            return FeedbackStatus.UNKNOWN
        predicted, low, high, ends, matched = _PACKED.unpack(packed)
        if ends <= self._clock():
            return FeedbackStatus.UNKNOWN
        if not matched or name in self._terms:
            term = float(smape_terms(np.array([price]), np.array([predicted]))[0])
            self._terms[name] = (term, low <= price <= high)
        if matched:
            return FeedbackStatus.AGAIN
        self._predicted[key] = _PACKED.pack(predicted, low, high, ends, True)
        if len(self._terms) > WINDOW:
            self._terms.popitem(last=False)
        return FeedbackStatus.FIRST

    @property
    def rows(self) -> int:
        """Number of outcomes that count."""
        return len(self._terms)

    @property
    def live(self) -> LiveAccuracy | None:
        """None before the second outcome."""
        if len(self._terms) < 2:
            return None
        terms, inside = np.array(list(self._terms.values()), dtype=np.float64).T
        error = float(terms.std(ddof=1) / np.sqrt(len(terms)))
        return LiveAccuracy(float(terms.mean()), error, float(inside.mean()), len(terms))


def _key(name: str) -> int:
    """Eight bytes for an id of any length: half of a digest is enough for so few."""
    return int(digest(name)[:16], 16)
