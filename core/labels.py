"""`python -m core.labels`: lists training rows whose price looks wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from core.console import WorkspaceOption, run, say
from core.data.folds import catalog_links
from core.data.vocabulary import read_vocabulary
from core.quality.label_noise import (
    FILE,
    SuspectLabel,
    find_against_members,
    find_label_noise,
    summary,
    worst_first,
    write_findings,
)
from core.store.workspace import Workspace, default_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    workspace: WorkspaceOption = None,
    worst: Annotated[int, typer.Option(min=0, help="How many to print, the worst first.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="The table to write.", show_default=f"{FILE} in the workspace")
    ] = None,
) -> None:
    """Lists training rows whose price contradicts that of the same product, of similar rows, or all members' out-of-fold prices.

    Nothing is changed by it: correct the prices in the training file where they are wrong. After a sweep it finds more.

    \b
    Examples:
      python -m core.labels
      python -m core.labels --workspace runs/demo --worst 30
      python -m core.labels --out doubtful.csv
    """
    home = Workspace(workspace or default_folder())
    path = out or home.path(FILE)
    found = find_in(home)
    write_findings(path, found)
    for line in summary(found, path, worst) or [
        f"labels: no price of the {len(home.train):,} training rows looks wrong"
    ]:
        say(line)


def find_in(workspace: Workspace) -> list[SuspectLabel]:
    """All findings of a workspace, the worst first. Raises UserError for a folder that is none."""
    train, test = workspace.train_in_units, workspace.test
    links = catalog_links(train, test).among(np.arange(len(train)))
    found = find_label_noise(train, links, read_vocabulary(list(train.texts)))
    members = [workspace.in_units(workspace.store.read(name).oof) for name in workspace.store.complete()]
    if members:
        found += find_against_members(train.ids, train.known_prices, np.column_stack(members))
    return worst_first(found)


if __name__ == "__main__":
    run(app)
