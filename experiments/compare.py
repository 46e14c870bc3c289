"""`python -m experiments.compare A B`: compares two trials, members, studies or workspaces, with the noise of the difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.console import console, run, say
from core.errors import UserError
from core.formatting import duration, plain_table
from core.metrics import METRICS
from core.store.workspace import Workspace, default_folder

if TYPE_CHECKING:
    from experiments.tracking.comparison import Comparand

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
BLOCKS = "▁▂▃▄▅▆▇█"

EXAMPLES = """
Examples:

  python -m experiments.compare text#3 text#5                 two trials of the last sweep

  python -m experiments.compare text-1a2b3c4d5e6f boosted-0f1e2d3c4b5a    two members, or two configs

  python -m experiments.compare text-1a2b3c4d text-1a2b3c4d-run2          two studies

  python -m experiments.compare runs runs/other               two workspaces
"""


@app.command(epilog=EXAMPLES)
def main(
    first: Annotated[
        str, typer.Argument(metavar="A", help="trial (text#3), config, member, study or workspace folder")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="of the same kind")],
    workspace: Annotated[Path | None, typer.Option(help="folder that holds everything (runs)")] = None,
    storage: Annotated[str | None, typer.Option(help="Optuna storage URL (the last sweep's)")] = None,
) -> None:
    """Show settings and results of two trials, members, studies or workspaces side by side."""
    one, other = _sides((first, second), Workspace(workspace or default_folder()), storage)
    if {one.kind, other.kind} not in ({one.kind}, {"trial", "member"}):
        raise UserError(
            f"{one.label} is a {one.kind}, {other.label} a {other.kind}",
            code="compare-other-kinds",
            hint="compare two of the same kind, see --help",
        )
    show(one, other)


def _sides(names: tuple[str, str], place: Workspace, storage: str | None) -> list[Comparand]:
    from experiments.tracking.comparison import Finder, workspace_side
    from experiments.tracking.sweep_record import (  # Optuna: half a second that --help should not take
        open_studies,
        reading,
    )

    if all(Path(name).is_dir() for name in names):
        return [workspace_side(Path(name)) for name in names]
    with reading(storage):
        finder = Finder(place, open_studies(place.folder, storage))
        return [workspace_side(Path(name)) if Path(name).is_dir() else finder.find(name) for name in names]


def show(one: Comparand, other: Comparand) -> None:
    """The settings that differ, the figures with their difference, the curves, and the paired difference where there is one."""
    say(f"A: {one.kind} {one.label}\nB: {other.kind} {other.label}", style="bold")
    if one.kind != other.kind:
        say(
            "a trial's figures are of the holdout fold, a member's of all folds: their difference says little",
            style="yellow",
        )
    names = [name for name in dict.fromkeys([*one.facts, *other.facts]) if one.facts.get(name) != other.facts.get(name)]
    if names:
        table = plain_table("differs", "A", "B", left=3)
        for name in names:
            table.add_row(name, _text(one.facts.get(name)), _text(other.facts.get(name)))
        console.print(table)
    else:
        say("the same settings")
    table = plain_table("figure", "A", "B", "B - A", left=1)
    for name in dict.fromkeys([*METRICS, *one.figures, *other.figures]):
        if name in one.figures or name in other.figures:
            table.add_row(name, *_figures(name, one.figures.get(name), other.figures.get(name)))
    console.print(table)
    for line in curves(one.curve, other.curve):
        say(line)
    _show_paired(one, other)


def _show_paired(one: Comparand, other: Comparand) -> None:
    from experiments.tracking.comparison import paired

    found = paired(one, other)
    if found is not None:
        better = "B" if found.difference < 0 else "A"
        verdict = "noise: less than two standard errors" if found.is_noise else f"{better} is better"
        who = "the best members, paired" if one.kind == "workspace" else "paired"
        say(
            f"{who} over the same rows: B - A = {found.difference:+.3f} ± {found.error:.3f} points of SMAPE ({verdict})",
            style="bold",
        )
    elif one.member is not None and other.member is not None and one.kind == other.kind:
        say("not paired: they are of different catalogs or folds", style="yellow")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _figures(name: str, one: float | None, other: float | None) -> list[str]:
    """Both values and their difference, times as times and counts as whole numbers."""
    write = _seconds if name.startswith("seconds") else _number
    both = ["-" if value is None else write(value) for value in (one, other)]
    if one is None or other is None:
        return [*both, ""]
    sign = "+" if other > one else "-" if other < one else ""
    return [*both, f"{sign}{write(abs(other - one))}"]


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else duration(value)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def curves(one: dict[int, float], other: dict[int, float]) -> list[str]:
    """Both curves drawn with blocks on one scale, as lines; none for curves of fewer than two points."""
    if max(len(one), len(other)) < 2:
        return []
    values = [*one.values(), *other.values()]
    low, high = min(values), max(values)
    lines = [
        f"{name} {spark(curve, low, high)}  {curve[min(curve)]:.2f} -> {curve[max(curve)]:.2f}"
        for name, curve in (("A", one), ("B", other))
        if curve
    ]
    return [f"curves of the SMAPE, {low:.2f} (lowest block) to {high:.2f}:", *lines]


def spark(curve: dict[int, float], low: float, high: float) -> str:
    """One block per point, in the order of the epochs; at most 60, evenly picked."""
    points = [curve[epoch] for epoch in sorted(curve)]
    step = max(1, -(-len(points) // 60))
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in points[::step])


if __name__ == "__main__":
    run(app)
