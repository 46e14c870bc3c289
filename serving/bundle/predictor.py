"""Predictor: prices with intervals from a bundle, with fallbacks for members that fail.

What happens where members do not answer, row by row, each marked:

    stack      every member answered
    members    some did; those that did not are filled in by the nearest that did (`Distances`), and the stack is applied
    light      likewise, and no network was among those that answered
    median     none did: the best constant price of the training rows
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.architectures import architecture
from core.arrays import Floats, load_arrays
from core.data.catalog import Catalog
from core.data.price_scale import to_units
from core.protocols.architecture import LEVELS as DECILES
from core.protocols.architecture import Prices
from core.store.oof_store import geometric_mean
from ensemble.methods.smape_minimizer import Conditional
from ensemble.pipeline.serialization import load, load_stack
from serving.bundle.bundle import DISTANCES, ENCODERS, INTERVAL, STACK, AnswerLevel, Bundle, MemberFacts, open_bundle
from serving.bundle.device_choice import DeviceChoice, choose_device
from serving.bundle.export_formats import ExportedModel, export_format
from serving.bundle.interval import bounds


@dataclass(frozen=True, eq=False)
class Distances:
    """Of m members from each other in log price.

    offsets: (m, m) median of row's less column's. apart: (m, m) mean absolute deviation from it.
    """

    offsets: Floats
    apart: Floats

    @classmethod
    def measure(cls, oof: Floats) -> Self:
        """From prices (n, m) out of fold."""
        logs = np.log(oof)
        offsets, apart = np.zeros((2, logs.shape[1], logs.shape[1]))
        for place, column in enumerate(logs.T):
            differences = column[:, None] - logs
            offsets[place] = np.median(differences, axis=0)
            apart[place] = np.abs(differences - offsets[place]).mean(axis=0)
        return cls(offsets, apart)

    def fill(self, given: Floats) -> Floats:
        """(n, m) prices without the NaN of (n, m), of which no row may be all NaN."""
        filled = given.copy()
        for member in np.flatnonzero(np.isnan(given).any(axis=0)):
            for other in np.argsort(self.apart[member], kind="stable"):
                rows = np.isnan(filled[:, member]) & ~np.isnan(given[:, other])
                filled[rows, member] = given[rows, other] * np.exp(self.offsets[member, other])
        return filled


log = logging.getLogger(__name__)

LEVELS = tuple(AnswerLevel)
ROWS = 1_024
"""Rows that are predicted together."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prices of n rows, in currency units.

    low, high: (n,) ends of the 80% interval around each of `prices` (n,). answered: (n, m) which of `members` gave a price.
    levels: (n,) places in LEVELS.
    """

    prices: Floats
    low: Floats
    high: Floats
    members: tuple[str, ...]
    answered: NDArray[np.bool_]
    levels: NDArray[np.int64]

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows answered at each level that occurs."""
        numbers = np.bincount(self.levels, minlength=len(LEVELS))
        return {str(level): int(count) for level, count in zip(LEVELS, numbers, strict=True) if count}


def joined(parts: Sequence[Prediction]) -> Prediction:
    """The answers of several parts, by the same members, as one."""
    names = ("prices", "low", "high", "answered", "levels")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **columns)


@dataclass(frozen=True, eq=False)
class ServedMember:
    """A member's fold models."""

    facts: MemberFacts
    models: Sequence[ExportedModel]

    def predict(self, catalog: Catalog) -> Prices:
        """(n,) their geometric mean, as the prediction store makes it."""
        return geometric_mean([model.predict(catalog) for model in self.models])

    def predict_quantiles(self, catalog: Catalog) -> Prices:
        """(n, 9) likewise. Raises ValueError where a model gives none."""
        given = [model.predict_quantiles(catalog) for model in self.models]
        known = [each for each in given if each is not None]
        if len(known) < len(given):
            raise ValueError(f"member {self.facts.id} gives no quantiles")
        return geometric_mean(known)


def load_members(bundle: Bundle, device: DeviceChoice) -> Iterator[ServedMember]:
    """Members whose networks compute on that device. Torch is imported only where an encoder or a network is among them."""
    copies = [path for path in bundle.path(ENCODERS).glob("*") if path.is_dir()]
    if copies:
        from core.encoders.loading import stored_at

        for path in copies:
            stored_at(path.name, path)
    for facts in bundle.facts.members:
        kind = architecture(facts.architecture)
        encoders, written = bundle.path(ENCODERS), export_format(facts.form, device)
        yield ServedMember(facts, [written.read(kind, bundle.path(folder), encoders) for folder in facts.folders])


class Predictor:
    """A loaded bundle. Any number of threads may ask; rows are computed chunk by chunk, one chunk at a time.

    Chunks take turns because the libraries below share the process's settings of threads, and fill all cores by themselves.
    """

    def __init__(self, folder: Path, device: DeviceChoice = DeviceChoice.AUTO) -> None:
        """Raises UserError for a bundle that is not whole (`open_bundle`) or that this machine cannot run."""
        self.bundle = open_bundle(folder)
        self.facts = self.bundle.facts
        self.stack = load_stack(self.bundle.path(STACK))
        self.device = choose_device(device, self.facts.members)
        self.members = tuple(load_members(self.bundle, self.device))
        self._conditional = load(self.bundle.path(INTERVAL), Conditional)
        self._distances = Distances(**load_arrays(self.bundle.path(DISTANCES)))
        self._lock = threading.Lock()

    def predict(self, catalog: Catalog, *, light: bool = False, rows: int = ROWS) -> Prediction:
        """Prices of all rows (at least one), `rows` at a time.

        light: ask only members without a network, as a hurried service does. A member that fails is logged and left out of
        that chunk: see LEVELS.
        """
        places = np.arange(len(catalog))
        parts = [
            self._chunk(catalog.take(places[start : start + rows]), light) for start in range(0, len(catalog), rows)
        ]
        return joined(parts)

    def _chunk(self, catalog: Catalog, light: bool) -> Prediction:
        catalog = catalog.with_memory()
        with self._lock:
            asked = [self._member_prices(place, catalog, light) for place in range(len(self.members))]
            given = np.column_stack([each[:, 0] for each in asked])
            answered = ~np.isnan(given)
            prices = np.full(len(catalog), self.facts.middle)
            ends = np.tile([self.facts.low, self.facts.high], (len(catalog), 1))
            whole = answered[:, list(self.stack.quantiles)].all(axis=1)
            known: NDArray[np.bool_] = np.asarray(answered.any(axis=1))
            for rows, stacked, places in (
                (known & whole, self.stack.stacked, self.stack.quantiles),
                (known & ~whole, self.stack.without_quantiles, ()),
            ):
                if rows.any():
                    part = catalog if rows.all() else catalog.take(rows)
                    quantiles = [asked[place][rows, 1:] for place in places]
                    shown = self.stack.rows(self._distances.fill(given[rows]), part, quantiles)
                    found = stacked.predict(shown)
                    prices[rows] = to_units(found, self.facts.scale)
                    ends[rows] = to_units(bounds(self._conditional, found, shown, self.facts.stretch), self.facts.scale)
            return Prediction(prices, ends[:, 0], ends[:, 1], self.stack.members, answered, self._levels(answered))

    def _member_prices(self, place: int, catalog: Catalog, light: bool) -> Prices:
        """(n, 1) a member's prices and, where a last step reads them, its quantiles (n, 9) beside them; NaN where it has none."""
        member, more = self.members[place], place in self.stack.quantiles
        nothing = np.full((len(catalog), 1 + more * len(DECILES)), np.nan)
        if light and not member.facts.light:
            return nothing
        try:
            with np.errstate(invalid="ignore", divide="ignore"):  # what is no price is sorted out below
                prices = member.predict(catalog)[:, None]
                if more:
                    prices = np.hstack([prices, member.predict_quantiles(catalog)])
        except Exception as error:  # whatever a model raises, the others still answer, and the prediction lists those
            details = (member.facts.id, len(catalog), type(error).__name__, error)
            log.warning(
                "member %s did not answer for %d rows: %s: %s", *details, exc_info=log.isEnabledFor(logging.DEBUG)
            )
            return nothing
        fine = (np.isfinite(prices) & (prices > 0)).all(axis=1, keepdims=True)
        return np.where(fine, prices, np.nan)

    def _levels(self, answered: NDArray[np.bool_]) -> NDArray[np.int64]:
        heavy = np.array([not member.facts.light for member in self.members])
        all_light = heavy.any() & ~answered[:, heavy].any(axis=1)
        conditions = [answered.all(axis=1), ~answered.any(axis=1), all_light]
        levels = (AnswerLevel.STACK, AnswerLevel.MEDIAN, AnswerLevel.LIGHT)
        places = [LEVELS.index(level) for level in levels]
        return np.select(conditions, places, default=LEVELS.index(AnswerLevel.MEMBERS)).astype(np.int64)
