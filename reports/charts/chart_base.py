"""Vega-Lite helpers shared by all charts: specifications as dictionaries, the page's colours.

Colours are CSS variables, which SVG follows: one chart serves light pages, dark pages and paper. Shapes, dashes and words carry
what colours may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.architectures import ARCHITECTURES

Spec = dict[str, Any]
Content = Mapping[str, Any]
Rows = Sequence[Content]

INK, MUTED, LINE, ACCENT = "var(--ink)", "var(--muted)", "var(--line)", "var(--accent)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 6))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
OTHER = "other"
"""Architecture name of members made outside this project."""

HEIGHT, ROW, PADDING = 260, 24, 8
"""Pixels of a chart, of a line in one that is a list, and between the outermost points and the frame."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
"""The page's own: Vega measures labels with it, to keep room for them."""

CONFIG: Spec = {
    "background": "transparent",
    "font": FONT,
    "aria": False,  # the figure around it has the words
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 12,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelOverlap": True,
    },
    "header": {"labelColor": INK, "labelFontSize": 12, "title": None},
    "legend": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "orient": "top",
        "title": None,
        "labelFontSize": 12,
        "labelLimit": 220,
        "symbolStrokeWidth": 2,
    },
    "view": {"stroke": None},
    "line": {"strokeWidth": 2, "color": SERIES[0]},
    "point": {"filled": True, "size": 45, "color": SERIES[0]},
    "bar": {"color": SERIES[0]},
    "rule": {"color": MUTED},
    "rect": {"color": ACCENT},
    "tick": {"color": MUTED},
    "text": {"color": INK, "fontSize": 11},
}


@dataclass(frozen=True)
class Chart:
    """caption: what stands below it. description: text for screen readers. wide: takes the page's whole width."""

    name: str
    caption: str
    description: str
    spec: Spec
    wide: bool = False

    @property
    def height(self) -> int:
        """Pixels that are kept free until it is drawn; a list knows its own."""
        return int(self.spec.get("height", HEIGHT)) + 60 if isinstance(self.spec.get("height", HEIGHT), int) else HEIGHT


def chart(rows: Rows, *layers: Spec, height: int = HEIGHT, **more: Any) -> Spec:
    """A specification over these rows, as wide as its place; one layer or several."""
    spec: Spec = {
        "data": {"values": list(rows)},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        **more,
    }
    return {**spec, **layers[0]} if len(layers) == 1 else {**spec, "layer": list(layers)}


def field(name: str, title: str | None = None, kind: str = "quantitative", **more: Any) -> Spec:
    """An encoding of a column. Log scales and formats are given as `scale` and `axis`."""
    return {"field": name, "type": kind, "title": title, **more}


def tips(*columns: str) -> list[Spec]:
    """A tooltip with these columns."""
    return [field(column, kind="nominal") for column in columns]


def coded(column: str, codes: Mapping[Any, Any], **more: Any) -> Spec:
    """A column of words, each drawn by its code: a colour, a dash or a shape."""
    return field(column, kind="nominal", scale={"domain": list(codes), "range": list(codes.values())}, **more)


def spread(center: float, error: float | None) -> dict[str, float]:
    """The ends of a whisker: one standard error to each side, none where it is not known."""
    return {"low": center - (error or 0.0), "high": center + (error or 0.0)}


def logarithmic(name: str, title: str, **more: Any) -> Spec:
    """A column of positive numbers on a logarithmic axis with plain numbers at it."""
    axis = {"format": ",~r", "tickCount": 6, **more.pop("axis", {})}
    return field(
        name,
        title,
        scale={"type": "log", "nice": False, "padding": PADDING, **more.pop("scale", {})},
        axis=axis,
        **more,
    )


def zoomable(which: Sequence[str] = ("x", "y")) -> Spec:
    """A parameter: wheel and drag move the axes, a double click brings them back."""
    return {"name": "zoom", "select": {"type": "interval", "encodings": list(which)}, "bind": "scales"}


def toggled(column: str) -> tuple[Spec, Spec]:
    """A parameter that a click in the legend sets, and the opacity that follows from it."""
    parameter = {"name": "chosen", "select": {"type": "point", "fields": [column], "toggle": "true"}, "bind": "legend"}
    return parameter, {"condition": {"param": "chosen", "value": 1}, "value": 0.12}


def by_architecture(names: Sequence[str], column: str = "architecture") -> Spec:
    """Colour and shape of architectures, the same in every chart."""
    known = list(ARCHITECTURES)
    shown = [name for name in [*known, OTHER] if name in names]
    places = [known.index(name) if name in known else len(SERIES) - 1 for name in shown]
    return {
        name: coded(column, {each: codes[place] for each, place in zip(shown, places, strict=True)})
        for name, codes in (("color", SERIES), ("shape", SHAPES))
    }


def kind_of(architecture: str) -> str:
    """The name under which it is drawn."""
    return architecture if architecture in ARCHITECTURES else OTHER


def listed(column: str, title: str | None = None) -> Spec:
    """The lines of a chart that is a list, in the order of its rows."""
    return field(
        column, title, "nominal", sort=None, axis={"labelLimit": 160, "ticks": False, "domain": False, "grid": False}
    )


def whisker(**encoding: Any) -> Spec:
    """A horizontal bar from the column `low` to the column `high`."""
    return {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {"x": field("low"), "x2": {"field": "high"}, **encoding},
    }


def reference_line(axis: str, value: float, title: str | None = None, **more: Any) -> Spec:
    """A dashed line across the chart."""
    return {
        "data": {"values": [{axis: value}]},
        "mark": {"type": "rule", "strokeDash": [3, 3]},
        "encoding": {axis: field(axis, title, **more)},
    }


def bar_list(rows: Rows, line: str, x: Spec, tooltip: Sequence[str], **encoding: Any) -> Spec:
    """A chart with a bar for each row. line: the column that names its line."""
    bars = {
        "mark": {"type": "bar", "height": {"band": 0.65}},
        "encoding": {"y": listed(line), "x": x, "tooltip": tips(*tooltip), **encoding},
    }
    return chart(rows, bars, height=60 + ROW * max(1, len(rows)))


def point_list(rows: Rows, y: Spec, x: Spec, tooltip: Sequence[str], *behind: Spec, **encoding: Any) -> Spec:
    """A chart with a point for each row and a whisker from `low` to `high`, before other layers."""
    points = {
        "mark": {"type": "point", "size": 60, "opacity": 1},
        "encoding": {"y": y, "x": x, "tooltip": tips(*tooltip), **encoding},
    }
    return chart(rows, *behind, whisker(y=y), points, height=60 + ROW * len(rows))
