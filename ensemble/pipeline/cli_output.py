"""Terminal output of `python -m ensemble.stack`: tables of members and methods, nested score, paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from core.console import console, say

if TYPE_CHECKING:
    from ensemble.pipeline.result import StackResult


def show(result: StackResult) -> None:
    """Prints the table of members and candidates, the nested-CV score and the paths."""
    record, seconds = result.record, result.matrix.seconds
    table = Table(title="out-of-fold scores", title_justify="left")
    for heading in ("member", "SMAPE", "± s.e.", "MAE", "RMSE", "R²", "weight", "seconds"):
        table.add_column(heading, justify="left" if heading == "member" else "right", no_wrap=heading != "member")
    for member in sorted(record["members"], key=lambda each: each["oof"]["smape"]):
        name = member["name"]
        spent = f"{seconds[name]:.1f}" if name in seconds else "–"
        table.add_row(name, *_figures(member["oof"]), f"{member['weight']:.3f}", spent)
    table.add_section()
    for each in record["candidates"]:
        scores = {**each["metrics"], "standard_error": each["standard_error"]}
        chosen = "chosen" if each["name"] == record["choice"]["name"] else ""
        table.add_row(f"stack: {each['name']}", *_figures(scores), chosen, "")
    table.add_section()
    floor = record["floor"]
    table.add_row(f"constant floor ({floor['price']:.2f})", f"{floor['smape']:.2f}", *[""] * 6)
    table.add_row("stack, nested", *_figures(record["nested"]), "", f"{result.seconds['total']:.1f}", style="bold")
    console.print(table)
    low, high = result.interval
    say(
        f"nested SMAPE {result.nested_smape:.2f} ± {result.standard_error:.2f}, 95% interval {low:.2f} to {high:.2f} "
        f"(on the rows it was fitted to: {record['in_sample']['smape']:.2f}, optimism {record['optimism']:.2f})"
    )
    say(f"chosen: {_choice(record)}")
    if not_tried := record["choice"]["not_tried"]:
        say(f"not tried, for want of members, rows or groups: {', '.join(not_tried)}")
    for what, path in vars(result.paths).items():
        if path is not None:
            say(f"{what + ':':<12}{path}")


def _choice(record: dict[str, Any]) -> str:
    """The candidate, what a blend is made of, and the post-processing steps that were kept."""
    name = record["choice"]["name"]
    parts = [f"{each['share']:.0%} {each['name']}" for each in record["combination"]]
    steps = [each["name"] for each in record["steps"] if each["kept"]]
    return name + (f" ({', '.join(parts)})" if len(parts) > 1 else "") + (f", then {', '.join(steps)}" if steps else "")


def _figures(scores: dict[str, float]) -> list[str]:
    return [
        f"{scores['smape']:.2f}",
        f"{scores['standard_error']:.2f}",
        f"{scores['mae']:,.2f}",
        f"{scores['rmse']:,.2f}",
        f"{scores['r2']:.3f}",
    ]
