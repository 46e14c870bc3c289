"""Charts of the sweep: progress, learning curves, settings, importances, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from core.formatting import setting
from reports.charts.chart_base import (
    ACCENT,
    HEIGHT,
    MUTED,
    PADDING,
    ROW,
    SERIES,
    Chart,
    Content,
    Rows,
    Spec,
    bar_list,
    by_architecture,
    chart,
    coded,
    field,
    kind_of,
    tips,
    toggled,
    zoomable,
)
from reports.figures.study_records import TrialEnd
from reports.figures.sweep_figures import Purpose

PURPOSES = {
    Purpose.FINISHED: SERIES[0],
    Purpose.STOPPED: SERIES[1],
    Purpose.FAILED: SERIES[3],
    Purpose.INTERRUPTED: MUTED,
    Purpose.CROSS_VALIDATION: SERIES[2],
    Purpose.STACKING: SERIES[4],
}
DRAWN = 600
"""Trials in one chart at most."""
_FEW, _PANEL = 4, 190
_POOR = 1.5
"""Times the median beyond which a trial is drawn at the frame: one hopeless trial must not flatten all others."""


def sweep_charts(content: Content) -> Iterator[Chart]:
    """Of very many trials the best and others drawn at random are shown, so that the page stays small."""
    sweep = content["sweep"]
    if not sweep:
        return
    finished = [
        trial for trial in sweep["trials"] if trial["state"] == TrialEnd.COMPLETE and trial["smape"] is not None
    ]
    if finished:
        yield progress(sweep, _some(finished), "minutes", "minutes of training, all trials together")
        yield progress(sweep, _some(finished), "epochs", "epochs of the architecture's trials so far")
    curves = [trial for trial in sweep["trials"] if len(trial["curve"]) > 1]
    if curves:
        yield learning_curves(_some(curves))
    for each in sweep["architectures"]:
        own = [trial for trial in finished if trial["study"] == each["study"] and not trial["repeat"]]
        if len(own) >= _FEW and each["varied"]:
            yield parallel(each["name"], _some(own), list(each["varied"]))
            yield slices(each["name"], _some(own), list(each["varied"]))
    if sweep["importances"]:
        yield importances(sweep["importances"])
    if sweep["time"]:
        yield time_chart(sweep["time"])


def _some(trials: Rows) -> Rows:
    """The best half of as many as are drawn, and others at random, in their order."""
    if len(trials) <= DRAWN:
        return trials
    best = sorted(trials, key=lambda trial: (trial["smape"] is None, trial["smape"], trial["order"]))
    rest = np.random.default_rng(0).permutation(np.arange(DRAWN // 2, len(best)))[: DRAWN // 2]
    return sorted([*best[: DRAWN // 2], *(best[place] for place in rest)], key=lambda trial: trial["order"])


def progress(sweep: Content, finished: Rows, along: str, words: str) -> Chart:
    """Each finished trial as a point, and a line for the best of its architecture so far."""
    values = np.array([trial["smape"] for trial in finished])
    top = min(float(values.max()), _POOR * float(np.median(values)))
    rows = [
        {
            "architecture": kind_of(trial["architecture"]),
            "name": trial["architecture"],
            "trial": trial["label"],
            along: trial[along],
            "SMAPE": round(trial["smape"], 3),
            "shown": round(min(trial["smape"], top), 3),
            "best so far": round(min(trial["best_so_far"], top), 3),
            "documented best": "yes" if trial["documented"] else "no",
        }
        for trial in finished
    ]
    look = by_architecture([row["architecture"] for row in rows])
    select, faded = toggled("architecture")
    scale, measure = {"zero": False, "padding": PADDING}, "SMAPE on the holdout fold (%)"
    x = field(along, words, axis={"format": ",~r"})
    line = {
        "mark": {"type": "line", "interpolate": "step-after"},
        "encoding": {
            "x": x,
            "y": field("best so far", measure, scale=scale),
            "opacity": faded,
            "detail": {"field": "name"},
            "color": look["color"],
        },
    }
    points = {
        "params": [select, zoomable()],
        "mark": {"type": "point"},
        "encoding": {
            "x": x,
            "y": field("shown", measure, scale=scale),
            "tooltip": tips("trial", "SMAPE", "documented best"),
            "opacity": faded,
            **look,
        },
    }
    above = int((values > top).sum())
    best = "; ".join(
        f"{each['name']} {each['best']['smape']:.2f}" for each in sweep["architectures"] if each["best"] is not None
    )
    beyond = f" Beyond {top:.0f}, at the upper edge: {above}." if above else ""
    return Chart(
        f"best_by_{along}",
        f"Points are finished trials, lines the best so far of an architecture, along {words}.{beyond}",
        f"SMAPE of {len(finished)} finished trials along {words}. Best of each architecture: {best}.{beyond}",
        chart(rows, points, line),
    )


def learning_curves(trials: Rows) -> Chart:
    """SMAPE after each epoch; of trials that were stopped, pale and dashed."""
    rows = [
        {
            "architecture": kind_of(trial["architecture"]),
            "trial": trial["label"],
            "epoch": epoch,
            "SMAPE": round(smape, 2),
            "state": trial["state"],
        }
        for trial in trials
        for epoch, smape in trial["curve"]
    ]
    values = np.array([row["SMAPE"] for row in rows])
    low, top = float(values.min()), min(float(values.max()), 2 * float(np.median(values)))
    known = {row["state"] for row in rows}
    dashes = {
        state: dash for state, dash in zip(TrialEnd, ([1, 0], [4, 3], [1, 3], [1, 3]), strict=True) if state in known
    }
    select, _ = toggled("state")
    lines = {
        "params": [select, zoomable()],
        "mark": {"type": "line", "clip": True, "strokeWidth": 1.3, "point": {"size": 14}},
        "encoding": {
            "x": field("epoch", "epoch", axis={"tickMinStep": 1}),
            "y": field("SMAPE", "SMAPE on the holdout fold (%)", scale={"domain": [low, top]}),
            "detail": {"field": "trial"},
            "color": by_architecture([row["architecture"] for row in rows])["color"],
            "strokeDash": coded("state", dashes),
            "opacity": _opacity("datum.state === 'complete'", 0.28),
            "tooltip": tips("trial", "epoch", "SMAPE", "state"),
        },
    }
    stopped = sum(trial["state"] == TrialEnd.PRUNED for trial in trials)
    return Chart(
        "learning_curves",
        f"Learning curves of {len(trials)} trials of several epochs; the {stopped} stopped early are pale and dashed.",
        f"SMAPE by epoch of {len(trials)} trials, {stopped} of them stopped early. The lowest point of any is {low:.2f}.",
        chart(rows, lines, height=320),
        wide=True,
    )


def _opacity(strong: str, pale: float) -> Spec:
    """1 where `strong` holds, else pale; nearly nothing for what the legend leaves out."""
    chosen = {"param": "chosen"}
    return {"condition": [{"test": {"and": [chosen, strong]}, "value": 1}, {**chosen, "value": pale}], "value": 0.05}


def parallel(name: str, trials: Rows, settings: Sequence[str]) -> Chart:
    """One line per trial through its settings, each on an axis of its own, to its SMAPE; the best fifth stands out."""
    rows, ticks = _lines_and_ticks(trials, settings)
    x = field(
        "setting",
        None,
        "nominal",
        sort=[*settings, "SMAPE"],
        axis={"labelAngle": -25, "orient": "top", "grid": True, "domain": False},
    )
    y = field("place", None, axis=None)
    select, _ = toggled("group")
    lines = {
        "params": [select],
        "mark": {"type": "line", "strokeWidth": 1.5},
        "encoding": {
            "x": x,
            "y": y,
            "detail": {"field": "trial"},
            "color": coded("group", {"best fifth": SERIES[1], "others": MUTED}),
            "opacity": _opacity("datum.group === 'best fifth'", 0.25),
            "tooltip": tips("trial", "SMAPE", "setting", "value"),
        },
    }
    labels = {
        "data": {"values": ticks},
        "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 11},
        "encoding": {"x": x, "y": y, "text": field("value", kind="nominal")},
    }
    best = min(trials, key=lambda trial: trial["smape"])
    words = ", ".join(f"{key} {setting(best['params'].get(key))}" for key in settings)
    return Chart(
        f"parallel_{name}",
        f"{name}: every finished trial is a line through its settings to its SMAPE; the best fifth stands out.",
        f"Parallel coordinates of {len(trials)} trials of {name}. The best, SMAPE {best['smape']:.2f}, has {words}.",
        chart(rows, lines, labels, height=300),
        wide=True,
    )


def _lines_and_ticks(trials: Rows, settings: Sequence[str]) -> tuple[list[Spec], list[Spec]]:
    """(a point for each trial on each axis, the values at each axis), all axes from 0 to 1."""
    ordered = {key: _ordered([trial["params"].get(key) for trial in trials]) for key in settings}
    places = {
        key: {value: place / max(1, len(values) - 1) for place, value in enumerate(values)}
        for key, values in ordered.items()
    }
    scores = np.array([trial["smape"] for trial in trials])
    low, high, good = (float(each) for each in (scores.min(), *np.quantile(scores, [0.95, 0.2])))
    rows: list[Spec] = []
    for trial in trials:
        group = "best fifth" if trial["smape"] <= good else "others"
        shared = {"trial": trial["label"], "SMAPE": round(trial["smape"], 2), "group": group}
        values = {key: setting(trial["params"].get(key)) for key in settings}
        rows += [
            {**shared, "setting": key, "place": places[key][value], "value": value} for key, value in values.items()
        ]
        place = min(1.0, (trial["smape"] - low) / max(high - low, 1e-9))
        rows.append({**shared, "setting": "SMAPE", "place": place, "value": f"{trial['smape']:.2f}"})
    ticks: list[Spec] = [
        {"setting": key, "place": place, "value": value} for key in settings for value, place in places[key].items()
    ]
    ticks += [{"setting": "SMAPE", "place": place, "value": f"{value:.1f}"} for place, value in ((0, low), (1, high))]
    return rows, ticks


def slices(name: str, trials: Rows, settings: Sequence[str]) -> Chart:
    """SMAPE by each setting's value, a panel for each; the line goes through the medians."""
    rows = [
        {
            "setting": key,
            "value": setting(trial["params"].get(key)),
            "SMAPE": round(trial["smape"], 2),
            "trial": trial["label"],
        }
        for trial in trials
        for key in settings
    ]
    order = [value for key in settings for value in _ordered([trial["params"].get(key) for trial in trials])]
    x = field("value", None, "ordinal", sort=list(dict.fromkeys(order)), axis={"labelAngle": 0})
    y = field("SMAPE", "SMAPE (%)", scale={"zero": False})
    medians = {"mark": {"type": "line", "color": MUTED}, "encoding": {"x": x, "y": {**y, "aggregate": "median"}}}
    points = {
        "mark": {"type": "point", "color": ACCENT, "opacity": 0.6},
        "encoding": {"x": x, "y": y, "tooltip": tips("trial", "value", "SMAPE")},
    }
    spec = {
        "data": {"values": rows},
        "facet": field("setting", kind="nominal", sort=list(settings)),
        "columns": "fit",  # as many as the place is wide enough for: the page counts them
        "spec": {"width": _PANEL, "height": 130, "layer": [medians, points]},
        "resolve": {"scale": {"x": "independent"}},
        "height": HEIGHT,
    }
    return Chart(
        f"slices_{name}",
        f"{name}: SMAPE of the finished trials by the value of each setting; the line goes through the medians.",
        f"SMAPE of {len(trials)} trials of {name} by {', '.join(settings)}.",
        spec,
        wide=True,
    )


def _ordered(values: Sequence[Any]) -> list[str]:
    """Different values as text: numbers by size, then words by alphabet."""
    numbers = sorted({value for value in values if not _is_word(value)})
    words = sorted({str(value) for value in values if _is_word(value)})
    return list(dict.fromkeys([*map(setting, numbers), *words]))


def _is_word(value: Any) -> bool:
    return isinstance(value, bool) or not isinstance(value, (int, float))


def importances(rows: Rows) -> Chart:
    """Shares of the SMAPE's variance that are owed to each setting."""
    shown = [
        {
            "setting": f"{row['architecture']}: {row['setting']}",
            "percent": round(100 * row["share"], 1),
            "study": row["study"],
        }
        for row in rows
    ]
    x = field("percent", "share of the variance of SMAPE (%)")
    words = "; ".join(f"{row['setting']} {row['percent']} %" for row in shown[:8])
    return Chart(
        "importances",
        "How much of the differences between finished trials each setting explains, alone or with others (functional ANOVA).",
        f"Importances of settings: {words}.",
        bar_list(shown, "setting", x, ("study", "setting", "percent")),
    )


def time_chart(rows: Rows) -> Chart:
    """Minutes by architecture and purpose."""
    shown = [{**row, "minutes": round(row["seconds"] / 60, 3)} for row in rows]
    known = {row["purpose"] for row in rows}
    purposes = {purpose: color for purpose, color in PURPOSES.items() if purpose in known}
    color = coded("purpose", purposes, sort=list(purposes))
    x, tooltip = field("minutes", "minutes of work"), ("architecture", "purpose", "minutes")
    words = "; ".join(f"{row['architecture']}, {row['purpose']}: {row['minutes']:.1f} min" for row in shown)
    height = 70 + ROW * len({row["architecture"] for row in rows})
    return Chart(
        "time",
        "Where the time went. Trials that became a fold of a member count as cross-validation: they were not trained twice.",
        f"Minutes of work. {words}.",
        {**bar_list(shown, "architecture", x, tooltip, color=color), "height": height},
    )
