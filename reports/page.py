"""Content and pictures to one HTML page. Whatever comes from the catalog is escaped by the template engine, without exception."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.drawing import plain
from reports.figures import band_label
from reports.rows import TEXT_LIMIT
from reports.verdict import figure_text

_HERE = Path(__file__).parent
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"}


def render(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page. pictures: inline SVG by name, trusted: it is made here, from escaped words."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        price=plain,
        score=lambda value: "–" if value is None else f"{value:.2f}",
        count=lambda value: f"{value:,}",
        percent=lambda value: f"{100 * value:.0f}%",
        duration=duration,
        shown=shown,
        figure=figure_text,
        band=band_label,
        setting=setting,
    )
    trusted = {name: Markup(svg) for name, svg in pictures.items()}
    return environment.get_template("page.html").render(**content, pictures=trusted, text_limit=TEXT_LIMIT)


def shown(text: object) -> str:
    """Text whose control characters are visible signs, as HTML cannot hold them."""
    return str(text).translate(_CONTROLS)


def setting(value: object) -> str:
    """A setting as a person writes it: 0.00002 and not 2e-05."""
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        return np.format_float_positional(value, trim="-")
    return str(value)


def duration(seconds: float | None) -> str:
    """`3.2 s`, `5.4 min`, `2.1 h`; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
