"""The pictures of a report, each drawn from the numbers that `report.json` holds and described in words for who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from core.architectures import ARCHITECTURES
from reports.drawing import HEAT, INK, MUTED, SERIES, canvas, log_axis, plain, to_svg
from reports.verdict import figure_text

_MARKERS = ("o", "s", "^", "D", "P")
_ROW = 0.3  # inches for one row of a picture that is a list
_LONGEST_LABEL = 22
Content = Mapping[str, Any]


def draw(content: Content) -> dict[str, str]:
    """Inline SVG by name, of every picture that there is material for."""
    pictures: dict[str, str] = {}
    if content["sweep"]:
        pictures["sweep"] = sweep_picture(content["sweep"])
    if content["members"]:
        pictures["members"] = member_picture(content["members"], content["stack"])
    if content["rows"]:
        rows = content["rows"]
        pictures["density"] = density_picture(rows["density"])
        pictures["by_price"] = band_picture(rows["by_price"], "by_price", "true price (currency units)")
        pictures["by_length"] = band_picture(rows["by_length"], "by_length", "text length (characters)")
    data = content["data"]
    pictures["prices"] = histogram_picture(
        data["price_histogram"], "prices", "price (currency units)", ["training rows"]
    )
    pictures["lengths"] = histogram_picture(
        data["length_histogram"], "lengths", "text length (characters)", ["training rows", "test rows"]
    )
    return pictures


def sweep_picture(sweep: Content) -> str:
    """Each trial as a dot, and a line for the best of its architecture so far."""
    trials = sweep["trials"]
    values = np.array([trial["metrics"]["smape"] for trial in trials])
    top = min(float(values.max()), 1.5 * float(np.median(values)))  # one hopeless trial must not flatten all others
    with canvas() as (figure, axes):
        for each in sweep["architectures"]:
            own = [trial for trial in trials if trial["architecture"] == each["name"]]
            order = np.array([trial["order"] for trial in own])
            scores = np.array([trial["metrics"]["smape"] for trial in own])
            color, marker = _look(each["name"])
            inside = scores <= top
            axes.plot(order[inside], scores[inside], marker, color=color, ms=4.5, alpha=0.55, mew=0)
            axes.plot(order[~inside], np.full((~inside).sum(), top), "|", color=color, ms=9, mew=1.5, clip_on=False)
            best = [*(trial["best_so_far"] for trial in own), own[-1]["best_so_far"]]
            axes.step([*order, len(trials) + 0.5], best, where="post", color=color, lw=1.8)
            axes.plot([], [], color=color, marker=marker, ms=4.5, lw=1.8, label=f"{_cut(each['name'])} {best[-1]:.2f}")
        above = int((values > top).sum())
        axes.set_xlim(0.5, len(trials) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("finished trials, in order")
        axes.set_ylabel("SMAPE on the holdout fold (%)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.6)
        words = "; ".join(f"{each['name']} {each['best']['metrics']['smape']:.2f}" for each in sweep["architectures"])
        beyond = f" {above} trials lie above the frame (ticks at its upper edge)." if above else ""
        return to_svg(
            figure, "sweep", f"SMAPE of {len(trials)} trials in the order they finished. Best: {words}.{beyond}"
        )


def member_picture(members: Sequence[Content], stack: Content | None) -> str:
    """SMAPE with one standard error per member, its folds as pale dots, and the stack's nested figure below."""
    lines = [(member["label"], member, member["fold_smape"], _look(member["architecture"])) for member in members]
    if stack:
        lines.append(("stack, nested", stack["nested"], [], (INK, "o")))
    with canvas(height=0.9 + _ROW * len(lines)) as (figure, axes):
        for place, (_, scores, folds, (color, marker)) in enumerate(lines):
            known = [value for value in folds if value is not None]
            axes.plot(known, [place] * len(known), ".", color=color, alpha=0.5, ms=7, mew=0)
            _whisker(axes, scores, place, color, marker)
        _list_axis(axes, [label for label, *_ in lines])
        axes.set_xlabel("out-of-fold SMAPE (%)")
        words = "; ".join(f"{label} {figure_text(scores)}" for label, scores, *_ in lines)
        return to_svg(figure, "members", f"Out-of-fold SMAPE: {words}.")


def density_picture(density: Content) -> str:
    """Rows per cell of log true against log predicted price; on the diagonal the two are equal."""
    edges, cells = np.array(density["edges"]), density["cells"]
    most = max(rows for _, _, rows in cells)
    strength = [0.16 + 0.84 * (np.log(rows) / np.log(most) if most > 1 else 1.0) for _, _, rows in cells]
    with canvas(height=4.4) as (figure, axes):
        patches = [
            Rectangle((edges[x], edges[y]), edges[x + 1] - edges[x], edges[y + 1] - edges[y]) for x, y, _ in cells
        ]
        tones = [(*_rgb(HEAT), alpha) for alpha in strength]
        axes.add_collection(PatchCollection(patches, facecolors=tones, edgecolors="none", linewidths=0))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(edges[0], edges[-1])
        log_axis(axes, "x")
        log_axis(axes, "y")
        axes.plot(edges[[0, -1]], edges[[0, -1]], color=INK, lw=1, alpha=0.7)
        axes.set_aspect("equal")
        axes.set_xlabel("true price (currency units)")
        axes.set_ylabel("predicted price (currency units)")
        total = sum(rows for _, _, rows in cells)
        near = sum(rows for x, y, rows in cells if abs(x - y) <= 1)
        return to_svg(
            figure,
            "density",
            f"Predicted against true price of {total} rows on logarithmic axes; {near / total:.0%} of them lie on or next "
            f"to the diagonal. The darkest cell holds {most} rows.",
        )


def band_picture(bands: Sequence[Content], name: str, what: str) -> str:
    """SMAPE with one standard error in each band, the lowest band on top."""
    with canvas(height=0.9 + _ROW * len(bands)) as (figure, axes):
        for place, band in enumerate(bands):
            _whisker(axes, band, place, SERIES[0], "o")
        _list_axis(axes, [band_label(band) for band in bands])
        axes.set_ylabel(what)
        axes.set_xlabel("SMAPE (%), ± one standard error")
        words = "; ".join(f"{band_label(band)}: {figure_text(band)}" for band in bands)
        return to_svg(figure, name, f"SMAPE by {what}. {words}.")


def histogram_picture(histogram: Content, name: str, what: str, labels: Sequence[str]) -> str:
    """Shares of rows in bins of a logarithmic axis, one outline per column."""
    edges = np.array(histogram["edges"])
    with canvas(height=3.0) as (figure, axes):
        for place, (shares, label) in enumerate(zip(histogram["shares"], labels, strict=True)):
            percent = 100 * np.array(shares)
            dashes = "-" if place == 0 else (0, (4, 1.5))
            axes.stairs(percent, edges, color=SERIES[place], lw=1.8, linestyle=dashes, label=label)
            if place == 0:
                axes.stairs(percent, edges, color=SERIES[place], fill=True, alpha=0.14, lw=0)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        log_axis(axes, "x")
        axes.set_xlabel(what)
        axes.set_ylabel("share of rows (%)")
        if len(labels) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        modes = [int(np.argmax(shares)) for shares in histogram["shares"]]
        words = "; ".join(
            f"{label}: most between {plain(edges[mode])} and {plain(edges[mode + 1])}"
            for label, mode in zip(labels, modes, strict=True)
        )
        return to_svg(
            figure,
            name,
            f"Distribution of {what}, from {plain(float(edges[0]))} to {plain(float(edges[-1]))}. {words}.",
        )


def band_label(band: Content) -> str:
    """`2.50–4.99`, or the value alone where the band has just one."""
    low, high = plain(band["low"]), plain(band["high"])
    return low if low == high else f"{low}–{high}"


def _whisker(axes: Axes, scores: Content, place: int, color: str, marker: str) -> None:
    error = scores["standard_error"] or 0.0
    axes.errorbar(scores["smape"], place, xerr=error, fmt=marker, color=color, ms=5.5, lw=1.6, mew=0)


def _list_axis(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [_cut(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=MUTED)


def _look(architecture: str) -> tuple[str, str]:
    """Colour and marker, the same in every picture: shape carries what colour may not."""
    known = list(ARCHITECTURES)
    place = known.index(architecture) if architecture in known else len(SERIES) - 1
    return SERIES[place], _MARKERS[place]


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _rgb(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue
