"""Learning-curve picture of a trial over its study's best and median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from core.atomic_files import atomic_path

Curve = Mapping[int, float]
"""SMAPE by epoch."""
_INK, _BEST, _MIDDLE = "#1f5fbf", "#2e8b57", "#9a9a9a"


def best_of(curves: Sequence[Curve]) -> Curve | None:
    """The curve that came lowest."""
    return min((curve for curve in curves if curve), key=lambda curve: min(curve.values()), default=None)


def middle_of(curves: Sequence[Curve]) -> Curve:
    """The median over the curves at each epoch that at least two of them reached."""
    epochs = sorted({epoch for curve in curves for epoch in curve})
    values = {epoch: [curve[epoch] for curve in curves if epoch in curve] for epoch in epochs}
    return {epoch: median(reached) for epoch, reached in values.items() if len(reached) > 1}


def draw(path: Path, title: str, curve: Curve, others: Sequence[Curve]) -> None:
    """Writes a PNG of 640 x 400 pixels, about 20 KB. others: the curves of the study's other ended trials."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, which the caller's thread pays
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.11, 0.13, 0.86, 0.77))  # a layout that is computed takes half as long again
    middle, best = middle_of([curve, *others]), best_of(others)
    if others and middle:
        axes.plot(list(middle), list(middle.values()), color=_MIDDLE, linestyle="--", label="median of the study")
    if best is not None:
        axes.plot(list(best), list(best.values()), color=_BEST, label=f"best other trial ({min(best.values()):.2f})")
    lowest = min(curve, key=lambda epoch: curve[epoch])
    axes.plot(list(curve), list(curve.values()), color=_INK, marker="o", markersize=4, linewidth=2, label="this trial")
    axes.annotate(f"{curve[lowest]:.2f}", (lowest, curve[lowest]), xytext=(0, -14), textcoords="offset points",
                  ha="center", color=_INK)  # fmt: skip
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel("SMAPE on the holdout, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", pil_kwargs={"compress_level": 3})
