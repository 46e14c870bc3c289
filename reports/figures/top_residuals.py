"""The rows that cost most, with all that helps to see why: text, picture, what members said, and a guess at the cause."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.inputs.images import UnreadablePictureError, decode, list_pictures
from core.metrics import smape_terms
from core.store.oof_store import Member
from reports.figures.error_causes import Guesser

WORST = 50
TEXT_LIMIT = 5_000
"""Characters shown of one row's text: fifty rows of emoji stay below 1 MB."""
PICTURE_SIDE = 160
_SHORT = 160


def worst_rows(
    train: Catalog, predicted: Floats, folds: Folds, members: Sequence[Member], guesser: Guesser
) -> list[dict[str, Any]]:
    """The rows with the largest share of the SMAPE, the first in the file first where equal."""
    known = np.flatnonzero(np.isfinite(predicted))
    terms = smape_terms(train.known_prices[known], predicted[known])
    places = np.argsort(-terms, kind="stable")[:WORST]
    rows = known[places]
    causes = guesser.causes(rows, predicted)
    found = []
    for row, term, cause in zip(rows.tolist(), terms[places].tolist(), causes, strict=True):
        found.append(
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
                "picture": str(train.picture_names[row]),
                "cause": cause.kind,
                "because": cause.sentence,
            }
        )
    return found


def pictures_of(names: Sequence[str], folder: Path | None) -> dict[str, str]:
    """Small JPEGs as data URIs by file name, of those that are there and can be read."""
    found = {}
    files = list_pictures(folder, set(names) - {""})
    for name in dict.fromkeys(names):
        if name in files:
            try:
                found[name] = _thumbnail(files[name].path)
            except UnreadablePictureError:
                continue  # the row is shown without: the sweep has told of bad files
    return found


def _thumbnail(path: Path) -> str:
    out = io.BytesIO()
    Image.fromarray(decode(path, PICTURE_SIDE)).save(out, "JPEG", quality=80)
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
