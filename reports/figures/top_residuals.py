"""Top residuals: the rows with the largest errors, their text, image, predictions and likely cause."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import csr_matrix

from core.arrays import Floats, Ints
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.fields import read_fields
from core.inputs.images.files import UnreadableImageError, decode, list_images
from core.metrics import smape_terms
from core.quality.label_noise import SuspectLabel, nearest_rows
from core.store.oof_store import Member

FAR = float(np.log(3.0))
"""Log price by which members must miss, all on one side, before their agreement speaks against the label."""
AGREED = 0.25
"""Standard deviation of the members' log prices below which they agree."""
AS_MANY_TIMES = 0.12
"""Largest distance, in log price, of a residual to a number of the text that explains it."""
CLOSE = 0.35
"""Cosine similarity of TF-IDF words from which another product counts as a close neighbour."""
APART = 3.0
"""Times between the quartiles of close neighbours' prices from which they do not agree."""
EXTREME = 0.01
_QUANTITIES = ("pack", "unit_count", "total_count", "value_count", "value")


class CauseKind(StrEnum):
    """Kind of an error's cause, by which readers filter."""

    LABEL = "label looks wrong"
    QUANTITY = "quantity misread"
    NO_NEIGHBOUR = "no close neighbour"
    NEIGHBOURS_DISAGREE = "neighbours disagree"
    EXTREME = "extreme price"
    UNSEEN = "no cause seen"


@dataclass(frozen=True)
class Cause:
    """Cause of an error. sentence: with the figures behind it."""

    kind: CauseKind
    sentence: str


NO_CAUSE = Cause(CauseKind.UNSEEN, "nothing in the text, among its neighbours or between the members explains it")


@dataclass(frozen=True, eq=False)
class ErrorContext:
    """Inputs of a row's error cause. logs: log price; predicted: predicted log price; members: (m,) theirs, finite ones.

    near, similarity: its nearest other rows' log prices, and how similar they are; numbers: quantities that the text states.
    """

    log: float
    predicted: float
    members: Floats
    near: Floats
    similarity: Floats
    numbers: Mapping[str, float]
    finding: SuspectLabel | None
    limits: tuple[float, float]


@dataclass(frozen=True, eq=False)
class CauseFinder:
    """Training rows that a row is compared with. matrix: (n, d) TF-IDF of the training rows. oof: (n, m) members' prices."""

    train: Catalog
    matrix: csr_matrix
    oof: Floats
    findings: Sequence[SuspectLabel]

    def causes(self, rows: Ints, predicted: Floats) -> list[Cause]:
        """One for each of these rows. predicted: (n,) prices of all rows."""
        logs = np.log(self.train.known_prices)
        limits = tuple(np.quantile(logs, [EXTREME, 1 - EXTREME]).tolist())
        fields = read_fields(self.train.texts[rows])
        named = {finding.sample_id: finding for finding in reversed(self.findings)}
        found = []
        for place, row in enumerate(rows.tolist()):
            nothing = np.array([], int), np.array([])
            near, similarity = nearest_rows(self.matrix, row) if self.matrix.shape[1] else nothing
            members = self.oof[row][np.isfinite(self.oof[row])]
            error = ErrorContext(
                float(logs[row]),
                float(np.log(predicted[row])),
                np.log(members),
                logs[near],
                similarity,
                _quantities(fields.iloc[place]),
                named.get(str(self.train.ids[row])),
                (limits[0], limits[1]),
            )
            found.append(next((cause for rule in RULES if (cause := rule(error)) is not None), NO_CAUSE))
        return found


def _quantities(fields: pd.Series) -> dict[str, float]:
    return {name: float(fields[name]) for name in _QUANTITIES if np.isfinite(fields[name]) and fields[name] > 1}


def wrong_label(error: ErrorContext) -> Cause | None:
    """Other rows of the product, similar rows, or all members contradict the price."""
    if error.finding is not None:
        return Cause(
            CauseKind.LABEL, f"expected {error.finding.low:.4g} to {error.finding.high:.4g}: {error.finding.reason}"
        )
    if len(error.members) < 2:
        return None
    away = error.members - error.log
    one_side = bool((away > FAR).all() or (away < -FAR).all())
    if not one_side or error.members.std() > AGREED:
        return None
    low, high = np.exp([error.members.min(), error.members.max()])
    return Cause(CauseKind.LABEL, f"all {len(error.members)} members agree on {low:.4g} to {high:.4g}")


def misread_quantity(error: ErrorContext) -> Cause | None:
    """The price is as many times higher, or lower, than predicted as a quantity that the text states."""
    miss = abs(error.log - error.predicted)
    for name, number in error.numbers.items():
        if number >= 2 and abs(miss - np.log(number)) < AS_MANY_TIMES:
            return Cause(
                CauseKind.QUANTITY,
                f"the price is {np.exp(miss):.1f} times {'what' if error.log > error.predicted else 'below what'} was predicted, "
                f"and the text states {name.replace('_', ' ')} {number:g}",
            )
    return None


def isolated(error: ErrorContext) -> Cause | None:
    """No other training row is like it."""
    if len(error.similarity) and error.similarity[0] >= CLOSE:
        return None
    nearest = f"has similarity {error.similarity[0]:.2f}" if len(error.similarity) else "shares no word"
    return Cause(
        CauseKind.NO_NEIGHBOUR, f"the most similar of the other training rows {nearest} (close from {CLOSE:g})"
    )


def neighbours_disagree(error: ErrorContext) -> Cause | None:
    """Rows like it cost very different prices."""
    close = error.near[error.similarity >= CLOSE]
    if len(close) < 3:
        return None
    low, high = np.exp(np.quantile(close, [0.25, 0.75]))
    if high < APART * low:
        return None
    return Cause(
        CauseKind.NEIGHBOURS_DISAGREE,
        f"half of its {len(close)} close neighbours lie outside of {low:.4g} to {high:.4g}",
    )


def extreme(error: ErrorContext) -> Cause | None:
    """Its price is among the lowest or the highest of the catalog: few rows teach such prices."""
    if error.limits[0] <= error.log <= error.limits[1]:
        return None
    side = "lower" if error.log < error.limits[0] else "higher"
    return Cause(CauseKind.EXTREME, f"{side} than {1 - EXTREME:.0%} of the training prices")


RULES: tuple[Callable[[ErrorContext], Cause | None], ...] = (
    wrong_label,
    misread_quantity,
    isolated,
    neighbours_disagree,
    extreme,
)
"""Asked in this order; the first that answers is shown."""


MOST_RESIDUALS = 50
TEXT_LIMIT = 5_000
"""Characters shown of one row's text: fifty rows of emoji stay below 1 MB."""
IMAGE_SIDE = 160
_SHORT = 160


def top_residuals(
    train: Catalog, predicted: Floats, folds: Folds, members: Sequence[Member], cause_finder: CauseFinder
) -> list[dict[str, Any]]:
    """The rows with the largest share of the SMAPE, the first in the file first where equal."""
    known = np.flatnonzero(np.isfinite(predicted))
    terms = smape_terms(train.known_prices[known], predicted[known])
    places = np.argsort(-terms, kind="stable")[:MOST_RESIDUALS]
    rows = known[places]
    causes = cause_finder.causes(rows, predicted)
    return [
        {
            "sample_id": str(train.ids[row]),
            "row": row + 1,
            "fold": int(folds.assignment[row]),
            "price": float(train.known_prices[row]),
            "predicted": float(predicted[row]),
            "smape": float(term),
            "short": shortened(train.texts[row]),
            "text": train.texts[row][:TEXT_LIMIT],
            "text_length": len(train.texts[row]),
            "members": {member.id: _known(member.oof[row]) for member in members},
            "picture": str(train.image_names[row]),
            "cause": cause.kind,
            "because": cause.sentence,
        }
        for row, term, cause in zip(rows.tolist(), terms[places].tolist(), causes, strict=True)
    ]


def images_of(names: Sequence[str], folder: Path | None) -> dict[str, str]:
    """Small JPEGs as data URIs by file name, of those that are there and can be read."""
    found = {}
    files = list_images(folder, set(names) - {""})
    for name in dict.fromkeys(names):
        if name in files:
            try:
                found[name] = _thumbnail(files[name].path)
            except UnreadableImageError:
                continue  # the row is shown without: the sweep has reported bad files
    return found


def _thumbnail(path: Path) -> str:
    out = io.BytesIO()
    Image.fromarray(decode(path, IMAGE_SIDE)).save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def shortened(text: str) -> str:
    """The text on one line, cut between words at 160 characters."""
    line = " ".join(text[: 4 * _SHORT].split())
    if len(line) <= _SHORT and len(text) <= 4 * _SHORT:
        return line
    head = line[:_SHORT]
    return (head.rsplit(" ", 1)[0] if " " in head[_SHORT // 2 :] else head) + " …"


def _known(price: float) -> float | None:
    return float(price) if np.isfinite(price) else None
