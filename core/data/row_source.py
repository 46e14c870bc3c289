"""Rows of strings from a file of any format, and cells of typed formats as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any


@dataclass
class RowSource:
    """header: names of the columns. rows: place in the file and fields of each row, in file order; read once.

    counted: what a place counts, for people; empty where rows have no place but their number.
    """

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]
    notes: list[str] = field(default_factory=list)
    counted: str = "line"


_HALF = re.compile("[\ud800-\udfff]")
"""Half a letter outside Unicode's first plane, as a JSON writer leaves it where it cuts a text: no encoding has it."""


def cell_text(value: Any) -> str:
    """A typed cell as CSV would have it: whole numbers without a fraction, dates in ISO 8601, lists and objects as JSON.

    Half a letter (a lone surrogate) becomes the replacement character.
    """
    return _HALF.sub("\ufffd", _text(value))


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN differs from itself
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        whole = value.is_integer() if isinstance(value, float) else value.is_finite() and value == value.to_integral()
        return str(int(value)) if whole else str(value)
    if isinstance(value, datetime):
        midnight = value.tzinfo is None and value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=cell_text)
    return str(value)
