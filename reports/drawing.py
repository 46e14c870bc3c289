"""Matplotlib as a maker of inline SVG: text stays text, colours are the page's CSS variables, equal input gives equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

INK, MUTED, GRID, HEAT = "#010201", "#010202", "#010203", "#010204"
SERIES = ("#010301", "#010302", "#010303", "#010304", "#010305")
"""Stand-ins that no other colour uses: each becomes a CSS variable, so that one picture serves light and dark pages."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    HEAT: "--accent",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, start=1)},
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_RULES = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pricestack",
    "text.parse_math": False,  # a member's name may hold dollar signs
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
}


@contextmanager
def canvas(width: float = 5.0, height: float = 3.4) -> Iterator[tuple[Figure, Axes]]:
    """A figure of that size (inches) and its axes, in the page's style whatever the user's own settings are."""
    with style.context(["default", _RULES]):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Inline SVG for an HTML page. name: unique on the page. description: what a reader who cannot see it is told.

    Must be called inside `canvas`: the style decides how text is written.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = _own_ids(svg, name)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    head = f'<svg class="plot" viewBox="{_view_box(svg)}" role="img" aria-label="{escape(description)}">'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)


def _own_ids(svg: str, name: str) -> str:
    """Ids that nothing points to are dropped, the others are made unique on a page of several pictures."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda hit: f' id="{name}-{hit[1]}"' if hit[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', lambda hit: f"{hit[1]}{name}-", svg)


def _view_box(svg: str) -> str:
    found = re.search(r'viewBox="([^"]+)"', svg)
    assert found is not None, "Matplotlib writes a viewBox"
    return found[1]


def log_axis(axes: Axes, which: str) -> None:
    """Makes an axis logarithmic, with ticks in plain numbers at 1, 2 and 5 or, over many decades, at powers of ten."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(10, subs=(1.0,) if high / low > 200 else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def plain(value: float) -> str:
    """0.05, 2.50, 13.2, 1,234: as many digits as a price needs."""
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"
