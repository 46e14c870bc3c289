"""Charts of the catalog: histograms of train and test, adversarial validation, univariate power of each field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.formatting import plain
from reports.charts.chart_base import SERIES, Chart, Content, Spec, bar_list, chart, coded, field, logarithmic, tips


def data_charts(content: Content) -> Iterator[Chart]:
    data = content["data"]
    yield histogram(
        data["price_histogram"], "prices", "price (currency units)", ["training rows, true", "test rows, predicted"]
    )
    yield histogram(data["length_histogram"], "lengths", "text length (characters)", ["training rows", "test rows"])
    if data["shift"]:
        yield adversarial_chart(data["shift"])
    if data["strengths"]:
        yield power_chart(data["strengths"])


def histogram(content: Content, name: str, what: str, labels: Sequence[str]) -> Chart:
    """Shares of rows in bins of a logarithmic axis, one outline per file."""
    edges = content["edges"]
    labels = labels[: len(content["shares"])]
    rows = [
        {
            "low": edges[place],
            "high": edges[place + 1],
            "percent": round(100 * share, 3),
            "rows": label,
            "bin": f"{plain(edges[place])} to {plain(edges[place + 1])}",
        }
        for shares, label in zip(content["shares"], labels, strict=True)
        for place, share in enumerate(shares)
    ]
    x = logarithmic("low", what, scale={"domain": [edges[0], edges[-1]], "padding": 0})
    color = coded("rows", dict(zip(labels, SERIES, strict=False)))
    dash = coded("rows", dict(zip(labels, ([1, 0], [4, 2]), strict=False)))
    y = field("percent", "share of rows (%)")
    bars: Spec = {
        "mark": {"type": "rect", "opacity": 0.3},
        "encoding": {
            "x": x,
            "x2": {"field": "high"},
            "y": y,
            "y2": {"datum": 0},
            "color": color,
            "tooltip": tips("rows", "bin", "percent"),
        },
    }
    tops: Spec = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {"x": x, "x2": {"field": "high"}, "y": y, "color": color, "strokeDash": dash},
    }
    modes = [int(np.argmax(shares)) for shares in content["shares"]]
    words = "; ".join(
        f"{label}: most between {plain(edges[mode])} and {plain(edges[mode + 1])}"
        for label, mode in zip(labels, modes, strict=True)
    )
    return Chart(
        name,
        f"Distribution of {what}: {' and '.join(labels)}.",
        f"Distribution of {what}, from {plain(edges[0])} to {plain(edges[-1])}. {words}.",
        chart(rows, bars, tops),
    )


def adversarial_chart(content: Content) -> Chart:
    """Features of adversarial validation by their share of the gain."""
    means = [["–" if mean is None else f"{mean:.3g}" for mean in each["means"]] for each in content["columns"]]
    rows = [
        {**each, "percent": round(100 * each["share"], 1), "in train": train, "in test": test}
        for each, (train, test) in zip(content["columns"], means, strict=True)
    ]
    x = field("percent", "share of the classifier's gain (%)")
    return Chart(
        "shift",
        "Features by which a classifier separates test rows from training rows; hover for the mean in each file.",
        f"AUC {content['auc']:.3f}; used most: {', '.join(each['name'] for each in content['columns'][:5])}.",
        bar_list(rows, "name", x, ("name", "percent", "in train", "in test")),
    )


def power_chart(content: Sequence[Content]) -> Chart:
    """Univariate power: variance of log prices explained by each field alone."""
    rows = [
        {
            "field": each["name"],
            "percent": round(100 * each["share"], 1),
            "look": "suspicious" if each["suspicious"] else "usual",
        }
        for each in content
    ]
    x = field("percent", "variance of log prices explained (%)", scale={"domain": [0, 100]})
    color = coded("look", {"usual": SERIES[0], "suspicious": SERIES[1]}, legend=None)
    words = "; ".join(f"{row['field']} {row['percent']} %" for row in rows[:6])
    return Chart(
        "strengths",
        "Share of the variance of log prices that one field alone explains, in other products' rows.",
        f"Share of the variance of log prices explained by one field: {words}.",
        bar_list(rows, "field", x, ("field", "percent", "look"), color=color),
    )
