"""`python -m experiments.status`: shows what a sweep is doing or has done; reads only."""

from __future__ import annotations

import json as jsons
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.console import console, run, say
from core.errors import UserError
from core.formatting import describe, duration, plain_table
from core.store.workspace import Workspace, default_folder
from experiments.common.jobs import SweepStatus

if TYPE_CHECKING:
    from experiments.tracking.sweep_state import SweepState

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
MOST_ERRORS = 5
MOST_STOPPED = 5


@app.command()
def main(
    workspace: Annotated[Path | None, typer.Option(help="folder that holds everything (runs)")] = None,
    storage: Annotated[str | None, typer.Option(help="Optuna storage URL (the last sweep's)")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Show the sweep in a workspace: is it alive, what has it found, what failed, how much time is left."""
    place = Workspace(workspace or default_folder())
    if not place.folder.is_dir():
        raise UserError(
            f"{place.folder} is not there",
            code="status-no-workspace",
            hint="name a workspace with --workspace, or run `python -m experiments.sweep`",
        )
    from experiments.tracking.sweep_record import (  # Optuna: half a second that --help should not take
        open_studies,
        reading,
    )
    from experiments.tracking.sweep_state import read_state

    with reading(storage):
        state = read_state(place, open_studies(place.folder, storage))
    if json:
        typer.echo(jsons.dumps(asdict(state), default=str))
    else:
        show(state)


def show(state: SweepState) -> None:
    """Prints it for people."""
    say(f"{state.workspace}: {_headline(state)}", style="bold")
    table = plain_table("architecture", "trials", "SMAPE, holdout", "best config", left=2)
    for search in state.searches:
        counts = " ".join(f"{name} {count}" for name, count in search.counts.items()) or "none"
        wanted = "" if search.wanted is None else f"  of {search.wanted} configs"
        best = search.best
        found = (f"{best['smape']:.2f}", f"#{best['trial']} {describe(best['searched'])}") if best else ("", "")
        table.add_row(search.architecture, counts + wanted, *found)
    console.print(table)
    what = "runs" if state.driver.is_live else "was running"
    for search in state.searches:
        for trial in search.running:
            reached = f"epoch {trial.epoch}, SMAPE {trial.smape:.2f}" if trial.epoch is not None else "no epoch yet"
            say(f"{search.architecture} #{trial.trial} {what}: {reached}, started {duration(trial.age)} ago")
    for member in state.members:
        done = f"SMAPE {member.smape:.2f} out of fold" if member.smape is not None else "in the making"
        say(f"member {member.member}: {member.folds_done} of {member.folds} folds, {done}")
    for search in state.searches:
        for number, why in search.stopped[:MOST_STOPPED]:
            say(f"{search.architecture} #{number} stopped: {why}", style="dim")
    for search in state.searches:
        for text, count in search.errors[:MOST_ERRORS]:
            say(f"{search.architecture}: {count}x {text}", style="red")
    say(f"next: {_next(state)}", style="bold")


def _headline(state: SweepState) -> str:
    record, age = state.record, "" if state.age is None else duration(state.age)
    who = "" if record is None else f"process {record.pid} on {record.host}"
    if state.driver == SweepStatus.RUNNING:
        left = "" if state.left is None else f", {duration(state.left)} left"
        return f"a sweep is running ({who}, for {age}{left})" if record is not None else "a sweep is starting"
    if state.driver == SweepStatus.ELSEWHERE:
        assert state.sign is not None, "that is how it is known"
        seconds = time.time() - state.sign.time
        return f"a sweep is running elsewhere ({state.sign}, {seconds:.0f} s ago)"
    if state.driver == SweepStatus.DIED:
        return f"the last sweep died ({who}, started {age} ago): it was killed, or its machine was"
    if state.driver == SweepStatus.UNKNOWN:
        return "no sweep is running, and none has left a record"
    assert record is not None, "it holds how the sweep ended"
    when = f"{duration(time.time() - record.ended)} ago, after {age}" if record.ended is not None else ""
    why = f": {record.error}" if record.error else ""
    ending = "was interrupted" if state.driver == SweepStatus.INTERRUPTED else state.driver
    return f"the last sweep {ending} {when}{why}"


def _next(state: SweepState) -> str:
    where = f" --workspace {state.workspace}"
    if state.driver.is_live:
        return f"python -m experiments.dashboard{where}"
    if state.driver in (SweepStatus.DIED, SweepStatus.INTERRUPTED, SweepStatus.FAILED):
        typed = (state.record.command if state.record is not None else "") or f"python -m experiments.sweep{where}"
        return f"{typed}    (goes on where it was)"
    if any(member.smape is not None for member in state.members):
        return f"python -m ensemble.stack{where}"
    return f"python -m experiments.sweep{where}"


if __name__ == "__main__":
    run(app)
