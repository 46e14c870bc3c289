"""Charts of errors: density of predicted against true prices, calibration, SMAPE by group, error along the ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.formatting import figure_text, plain, range_text
from reports.charts.chart_base import (
    ACCENT,
    INK,
    PADDING,
    SERIES,
    Chart,
    Content,
    Spec,
    chart,
    field,
    listed,
    logarithmic,
    point_list,
    reference_line,
    spread,
    tips,
    zoomable,
)

BANDS = {
    "by_price": "true price (currency units)",
    "by_length": "text length (characters)",
    "by_unit": "unit",
    "by_brand": "brand",
    "by_picture": "image",
}
"""Ways to part the rows, and what their values are called."""


def error_charts(content: Content) -> Iterator[Chart]:
    errors = content["errors"]
    if not errors:
        return
    yield density_chart(errors["density"])
    yield calibration_chart(errors["calibration"])
    for name, words in BANDS.items():
        if errors[name]:
            yield bands(errors[name], name, words, errors["sampled"] if name in ("by_unit", "by_brand") else None)
    yield drift_chart(errors["drift"])


def density_chart(density: Content) -> Chart:
    """Rows per cell of log true against log predicted price; on the diagonal the two are equal."""
    edges, cells = density["edges"], density["cells"]
    most, total = max(rows for _, _, rows in cells), sum(rows for _, _, rows in cells)
    rows = [
        {
            "x": edges[x],
            "x2": edges[x + 1],
            "y": edges[y],
            "y2": edges[y + 1],
            "rows": count,
            "true price": range_text(edges[x], edges[x + 1]),
            "predicted price": range_text(edges[y], edges[y + 1]),
        }
        for x, y, count in cells
    ]
    ends = [{"x": edges[0], "y": edges[0]}, {"x": edges[-1], "y": edges[-1]}]
    scale = {"domain": [edges[0], edges[-1]], "padding": 0}
    true = logarithmic("x", "true price (currency units)", scale=scale)
    predicted = logarithmic("y", "predicted price (currency units)", scale=scale)
    squares: Spec = {
        "params": [zoomable()],
        "mark": {"type": "rect", "color": ACCENT, "clip": True},
        "encoding": {
            "x": true,
            "x2": {"field": "x2"},
            "y": predicted,
            "y2": {"field": "y2"},
            "opacity": field("rows", scale={"type": "log", "range": [0.16, 1]}, legend=None),
            "tooltip": tips("true price", "predicted price", "rows"),
        },
    }
    line: Spec = {
        "data": {"values": ends},
        "mark": {"type": "line", "color": INK, "strokeWidth": 1, "opacity": 0.7, "clip": True},
        "encoding": {"x": true, "y": predicted},
    }
    near = sum(count for x, y, count in cells if abs(x - y) <= 1)
    return Chart(
        "density",
        "Predicted against true price. On the line the two are equal; the stronger the colour, the more rows.",
        f"Predicted against true price of {total} rows on logarithmic axes; {near / total:.0%} of them lie on or next to the "
        f"diagonal. The fullest cell holds {most} rows.",
        chart(rows, squares, line, height=380),
    )


def calibration_chart(bands: Sequence[Content]) -> Chart:
    """Quartiles of true over predicted price, by predicted price."""
    rows = [{**band, "shown": f"{band['ratio']:.2f} ({band['low']:.2f} to {band['high']:.2f})"} for band in bands]
    x = logarithmic("predicted", "predicted price (currency units)")
    scale = {"type": "log", "nice": False, "padding": PADDING}
    ratio: Spec = {"title": "true / predicted price", "scale": scale, "axis": {"format": ".2~f", "tickCount": 5}}
    bars: Spec = {
        "mark": {"type": "rule", "strokeWidth": 2, "color": SERIES[0]},
        "encoding": {"x": x, "y": {**field("low"), **ratio}, "y2": {"field": "high"}},
    }
    points: Spec = {
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": x,
            "y": {**field("ratio"), **ratio},
            "tooltip": [field("predicted", format=",.4~r"), field("rows"), field("shown", "ratio", "nominal")],
        },
    }
    worst = max(bands, key=lambda band: max(band["ratio"], 1 / band["ratio"]))
    return Chart(
        "calibration",
        "Calibration: median and quartiles of true over predicted price, in bands of predicted price. At 1 prices are neither "
        "too high nor too low.",
        f"Median of true over predicted price in {len(bands)} bands; farthest from 1 is {worst['ratio']:.2f} near "
        f"{plain(worst['predicted'])}.",
        chart(rows, reference_line("y", 1, "true / predicted price", scale=scale), bars, points, height=380),
    )


def bands(rows: Sequence[Content], name: str, words: str, sampled: int | None) -> Chart:
    """SMAPE with one standard error in each part of the rows."""
    named = list(zip(band_labels(rows), rows, strict=True))
    shown = [
        {
            "band": label,
            "SMAPE": round(band["smape"], 3),
            **spread(band["smape"], band["standard_error"]),
            "rows": band["rows"],
            "predicted / true": round(band["ratio"], 3),
        }
        for label, band in named
    ]
    x = field("SMAPE", "SMAPE (%), ± one standard error", scale={"zero": False, "padding": PADDING})
    figures = "; ".join(f"{label}: {figure_text(band)}" for label, band in named)
    of = f" Of {sampled:,} rows drawn at random." if sampled else ""
    return Chart(
        name,
        f"SMAPE by {words}.{of}",
        f"SMAPE by {words}. {figures}.",
        point_list(shown, listed("band", words), x, ("band", "SMAPE", "rows", "predicted / true")),
    )


def drift_chart(drift: Content) -> Chart:
    """Mean log error along the ids: at a slope or a step rows are of another kind, or leaked."""
    rows = [{**part, "ids": f"{part['from']} to {part['to']}"} for part in drift["parts"]]
    what = "id" if drift["by"] == "id" else "row of the training file"
    order = "ids" if drift["by"] == "id" else "place in the training file"
    x = field("place", f"rows in the order of their {order}", axis={"format": ",~r"})
    title = "mean of ln(true / predicted)"
    area: Spec = {
        "mark": {"type": "area", "color": SERIES[0], "opacity": 0.18},
        "encoding": {"x": x, "y": field("low", title), "y2": {"field": "high"}},
    }
    line: Spec = {
        "params": [zoomable(["x"])],
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": x,
            "y": field("mean", title),
            "tooltip": [field("ids", kind="nominal"), field("mean", format=".3f")],
        },
    }
    outside = sum(not part["low"] <= drift["mean"] <= part["high"] for part in drift["parts"])
    return Chart(
        "drift",
        f"Residuals by {what}, with two standard errors; dashed is the mean of all. By chance one part in twenty lies off it.",
        f"Mean log error in {len(rows)} parts by {what}; {outside} of them are off the mean of all by "
        "more than two standard errors.",
        chart(rows, reference_line("y", drift["mean"], title), area, line),
    )


def band_labels(rows: Sequence[Content]) -> list[str]:
    """`2.50–4.99`, the value alone where a band has just one, or the names of units or brands: no two alike."""
    labels = [str(band["value"]) if "value" in band else range_text(band["low"], band["high"]) for band in rows]
    if len(set(labels)) < len(labels):  # narrow bands: more digits
        labels = [f"{band['low']:,.6g}–{band['high']:,.6g}" for band in rows]
    return labels
