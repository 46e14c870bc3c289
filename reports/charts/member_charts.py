"""Charts of members and combination methods: scores, correlations, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.formatting import figure_text
from reports.charts.chart_base import (
    ACCENT,
    INK,
    PADDING,
    ROW,
    SERIES,
    Chart,
    Content,
    Spec,
    bar_list,
    by_architecture,
    chart,
    coded,
    field,
    kind_of,
    listed,
    point_list,
    reference_line,
    spread,
    tips,
    whisker,
)


def member_charts(content: Content) -> Iterator[Chart]:
    members, correlation, stack = content["members"], content["correlation"], content["stack"]
    if not members:
        return
    yield scores(members, stack)
    if sum(value is not None for line in correlation for value in line) > len(members):
        yield error_correlations(members, correlation)
    if any(member["weight"] for member in members):
        yield weights(members)
    if any(member["without"] for member in members):
        yield leave_one_out(members)
    if stack:
        yield candidates(stack)


def scores(members: Sequence[Content], stack: Content | None) -> Chart:
    """SMAPE with one standard error per member, its folds as ticks, and the stack's nested figure below."""
    named = [(member["label"], member, kind_of(member["architecture"])) for member in members]
    if stack:
        named.append(("stack, nested", stack["nested"], "stack"))
    rows = [
        {
            "member": label,
            "architecture": kind,
            "SMAPE": round(figures["smape"], 3),
            **spread(figures["smape"], figures["standard_error"]),
            "shown": figure_text(figures),
        }
        for label, figures, kind in named
    ]
    folds = [
        {"member": member["label"], "fold": fold, "SMAPE": round(value, 3)}
        for member in members
        for fold, value in enumerate(member["fold_smape"])
        if value is not None
    ]
    look = by_architecture([row["architecture"] for row in rows])
    for name, code in (("color", INK), ("shape", "circle")) if stack else ():
        look[name]["scale"]["domain"].append("stack")
        look[name]["scale"]["range"].append(code)
    y = listed("member")
    zero = {"zero": False, "padding": PADDING}
    ticks: Spec = {
        "data": {"values": folds},
        "mark": {"type": "tick", "thickness": 1.5, "opacity": 0.6, "size": 12},
        "encoding": {
            "y": y,
            "x": field("SMAPE", scale=zero),
            "tooltip": tips("member", "fold", "SMAPE"),
        },
    }
    points: Spec = {
        "mark": {"type": "point", "size": 70, "opacity": 1},
        "encoding": {
            "y": y,
            "x": field("SMAPE", "out-of-fold SMAPE (%)", scale=zero),
            "tooltip": tips("member", "shown"),
            **look,
        },
    }
    words = "; ".join(f"{row['member']} {row['shown']}" for row in rows)
    return Chart(
        "members",
        "Out-of-fold SMAPE ± one standard error; the small ticks are the single folds.",
        f"Out-of-fold SMAPE: {words}.",
        chart(rows, whisker(y=y, color=look["color"]), ticks, points, height=60 + ROW * len(rows)),
    )


def error_correlations(members: Sequence[Content], correlation: Sequence[Sequence[float | None]]) -> Chart:
    """Correlation of two members' errors: the stronger, the less a stack gains from both."""
    labels = [member["label"] for member in members]
    rows = [
        {
            "one": labels[i],
            "other": labels[j],
            "correlation": value,
            "shown": _short(value),
            "strength": max(0.0, value) ** 3,
        }
        for i, line in enumerate(correlation)
        for j, value in enumerate(line)
        if value is not None
    ]
    axis = {"labelLimit": 130, "ticks": False, "domain": False}
    x = field("other", None, "nominal", sort=None, axis={**axis, "labelAngle": -60, "orient": "top"})
    y = field("one", None, "nominal", sort=None, axis=axis)
    tooltip = tips("one", "other", "correlation")
    opacity = field("strength", legend=None, scale={"domain": [0, 1], "range": [0.03, 0.75]})
    cells: Spec = {
        "mark": {"type": "rect", "color": ACCENT},
        "encoding": {"x": x, "y": y, "opacity": opacity, "tooltip": tooltip},
    }
    words: Spec = {
        "mark": {"type": "text", "fontSize": 10},
        "encoding": {"x": x, "y": y, "text": field("shown", kind="nominal"), "tooltip": tooltip},
    }
    pairs = [row for row in rows if row["one"] != row["other"]]
    least = min(pairs, key=lambda row: row["correlation"], default=None)
    least_alike = (
        f" The least alike are {least['one']} and {least['other']}, {least['correlation']:.2f}." if least else ""
    )
    layers = [cells, words] if len(labels) <= 14 else [cells]
    return Chart(
        "correlation",
        "Correlation of the members' log errors: the paler, the more a stack can gain from the pair.",
        f"Correlation of log errors between {len(members)} members.{least_alike}",
        chart(rows, *layers, height=110 + ROW * len(labels)),
    )


def _short(value: float) -> str:
    """`.53`, `-.07`, `1`: what a cell has room for."""
    text = f"{value:.2f}"
    return "1" if text == "1.00" else text.replace("0.", ".", 1)


def weights(members: Sequence[Content]) -> Chart:
    rows = [{"member": member["label"], "weight": round(member["weight"] or 0.0, 4)} for member in members]
    words = "; ".join(f"{row['member']} {row['weight']:.2f}" for row in rows if row["weight"])
    return Chart(
        "weights",
        "How much each member counts in the linear parts of the stack.",
        f"Weights in the stack: {words or 'none'}.",
        bar_list(rows, "member", field("weight", "weight in the stack's linear parts"), ("member", "weight")),
    )


def leave_one_out(members: Sequence[Content]) -> Chart:
    """Leave-one-out cost of each member, with one standard error."""
    costs = {member["label"]: member["without"] for member in members if member["without"]}
    rows = [
        {"member": name, "points": round(each["cost"], 4), **spread(each["cost"], each["error"])}
        for name, each in costs.items()
    ]
    x, color = field("points", "SMAPE points lost without it"), {"value": SERIES[1]}
    words = "; ".join(f"{row['member']} {row['points']:+.2f}" for row in rows)
    return Chart(
        "absences",
        "What leaving one member out costs the best weights of the others, on rows that neither has seen; ± one standard error.",
        f"SMAPE points lost without each member: {words}.",
        point_list(rows, listed("member"), x, ("member", "points"), reference_line("x", 0), color=color),
    )


def candidates(stack: Content) -> Chart:
    """Every way to combine that was tried, behind the best of them."""
    choice = stack["choice"]["name"]
    rows = [
        {
            "way": each["name"] + (" (chosen)" if each["name"] == choice else ""),
            "SMAPE": round(each["smape"], 3),
            **spread(each["smape"], each["standard_error"]),
            "chosen": "chosen" if each["name"] == choice else "tried",
        }
        for each in sorted(stack["candidates"], key=lambda each: each["smape"])[:16]
    ]
    x = field("SMAPE", "cross-validated SMAPE (%)", scale={"zero": False, "padding": PADDING})
    color = coded("chosen", {"chosen": SERIES[1], "tried": SERIES[0]}, legend=None)
    return Chart(
        "candidates",
        "Ways to combine the members, each cross-validated over groups of products; ± one standard error.",
        f"Cross-validated SMAPE of {len(rows)} ways to combine; chosen: {choice}.",
        point_list(rows, listed("way"), x, ("way", "SMAPE"), color=color),
    )
