"""Formatting of numbers, durations, settings and metrics for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"}


def plain(value: float) -> str:
    """0.05, 2.50, 13.2, 1,234: as many digits as a price needs."""
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def amount(value: float, form: str = ",.2f") -> str:
    """An amount of money in that format, or by three digits that count where it would read 0.00."""
    return format(value, form if abs(value) >= 0.01 or value == 0 else ".3g")


def written_out(value: float, digits: int = 6) -> str:
    """A price by as many digits that count, without an exponent: 5,600,000 and not 5.6e+06, 0.0000125 and not 1.25e-05."""
    whole, point, rest = np.format_float_positional(float(f"{value:.{digits}g}"), trim="-").partition(".")
    return f"{int(whole):,}{point}{rest}"


def range_text(low: float, high: float) -> str:
    """`2.50–4.99`, or the value alone where both ends read alike."""
    first, last = plain(low), plain(high)
    return first if first == last else f"{first}–{last}"


def figure_text(scores: Mapping[str, Any]) -> str:
    """`25.31 ± 0.62`, or the figure alone where its standard error is not known."""
    error = scores["standard_error"]
    return f"{scores['smape']:.2f}" if error is None else f"{scores['smape']:.2f} ± {error:.2f}"


def shown(text: object) -> str:
    """Text whose control characters are visible signs, as HTML cannot hold them."""
    return str(text).translate(_CONTROLS)


def setting(value: object) -> str:
    """A setting as a person writes it: 0.00002 and not 2e-05, 1 and not 1.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        return np.format_float_positional(value, trim="-")
    return str(value)


def duration(seconds: float | None, digits: int = 0) -> str:
    """`95 s`, `12 min`, `3.5 h`, with `digits` decimals below an hour; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.{digits}f} s"
    return f"{seconds / 60:.{digits}f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def headline(error: str | None) -> str:
    """The first line of an error's text, which says what happened; below it stand the hint or the traceback."""
    return (error or "no reason is known").strip().partition("\n")[0]


def describe(searched: Mapping[str, Any] | None) -> str:
    """`learning_rate=2e-05 dropout=0.4`, for people."""
    return " ".join(f"{key}={value}" for key, value in (searched or {}).items())


def metrics_text(metrics: Mapping[str, float]) -> str:
    """The four metrics in one line."""
    errors = "  ".join(f"{name.upper()} {amount(metrics[name])}" for name in ("mae", "rmse"))
    return f"SMAPE {metrics['smape']:.2f}  {errors}  R2 {metrics['r2']:.3f}"


def plain_table(*columns: str, left: int) -> Table:
    """A table whose first `left` columns, and the one of configs, are words and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left or column == "best config" else "right")
    return table


HIDDEN = "***"
KEY_PREFIX = "psk_"
"""Begins every API key, so that leaked keys are found: in logs here, in repositories by secret scanners."""

_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]+")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token|digest)\s+[A-Za-z0-9._~+/=-]{6,}")
_HEADER = re.compile(r"""(?i)((?:proxy-)?authorization["']?\s*[:=]\s*["']?|cookie["']?\s*[:=]\s*["']?)[^"'\r\n]+""")
_NAMED = re.compile(
    r"""(?ix) ( (?:api[_-]?key|password|passwd|secret|token) ["']? \s* [:=] \s* )
    (?: "[^"]*" | '[^']*' | [^\s,;&"']+ )"""
)
_SUSPECT = re.compile(rf"[:=]|{KEY_PREFIX}|(?i:bearer|basic|token|digest)\s")
"""Without one of these, none of the other patterns finds anything; most texts of a log have none."""

# Bounded schemes, and rests that end where another URL begins: what was sent by strangers must not make these search for long.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+]{0,15}://)[^/\s?#]*@")
_QUERY = re.compile(r"(?i)\b([a-z][a-z0-9+]{0,15}://(?:(?!://)[^\s?#\"'<>])*+)[?#][^\s\"'<>]*")


def redact(text: str) -> str:
    """The text without keys of this service, credentials, values named like secrets, and URLs' user names and queries."""
    if not _SUSPECT.search(text):
        return text
    text = _QUERY.sub(rf"\1?{HIDDEN}", _USERINFO.sub(r"\1", text))
    for pattern in (_HEADER, _NAMED):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return _KEY.sub(HIDDEN, _CREDENTIALS.sub(rf"\1 {HIDDEN}", text))
