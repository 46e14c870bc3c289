"""Submission writer: writes aside, reads back, verifies, then replaces the old file."""

from __future__ import annotations

import csv
import math
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.atomic_files import atomic_path
from core.data.catalog import ID, PRICE, Strings
from core.errors import UserError


def check_place(path: Path) -> None:
    """Raises UserError where `path` cannot be written: before the work, not after it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", code="submission-is-folder", hint="name a file with --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}",
            code="submission-unwritable",
            hint="name a file in a writable folder with --out",
        ) from None


def write_submission(path: Path, ids: Strings, prices: NDArray[np.float64]) -> None:
    """Writes `sample_id,price` for exactly these ids in this order, with prices that read back as the same numbers.

    Raises UserError, and leaves what was at `path` in place, if the file does not pass `verify_submission`.
    """
    with atomic_path(path) as temporary:
        frame = pd.DataFrame({ID: ids, PRICE: prices})
        frame.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
        verify_submission(temporary, ids, name=path)


def verify_submission(path: Path, ids: Strings, *, name: Path | None = None) -> None:
    """Reads a submission and raises UserError unless it has exactly these ids in this order with finite prices > 0.

    name: what to call the file in the message.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    shown = name or path
    if not rows or rows[0] != [ID, PRICE]:
        raise UserError(
            f"{shown}: the header is not '{ID},{PRICE}'",
            code="submission-bad-header",
            hint="build the submission again",
        )
    if len(rows) - 1 != len(ids):
        raise UserError(
            f"{shown}: {len(rows) - 1} rows for {len(ids)} test rows",
            code="submission-row-count",
            hint="build the submission again",
        )
    for number, (row, expected) in enumerate(zip(rows[1:], ids, strict=True), start=1):
        if len(row) != 2 or row[0] != expected:
            raise UserError(
                f"{shown}: row {number} is {','.join(row)!r}, where {ID} {expected} is expected",
                code="submission-bad-row",
                hint="build the submission again for this test file",
            )
        if not _is_price(row[1]):
            raise UserError(
                f"{shown}: row {number} ({ID} {expected}) has the price {row[1]!r}, which is not finite and greater than 0",
                code="submission-bad-price",
                hint="look for the member whose test predictions are at fault, and leave it out",
            )


def _is_price(text: str) -> bool:
    with suppress(ValueError):
        return 0 < float(text) < math.inf
    return False
