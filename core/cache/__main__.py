"""`python -m core.cache`: lists a workspace's cache entries, and shrinks the cache with --limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.cache import Entry, parse_size, size_text
from core.console import WorkspaceOption, console, run, say
from core.store.workspace import Workspace, default_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    workspace: WorkspaceOption = None,
    limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Remove the least recently used entries above this size.")
    ] = None,
) -> None:
    """Lists what was computed once for all trainings of a workspace; with --limit, removes what was not used for longest.

    Removed entries are made again when they are needed; a training that reads one goes on reading it.

    \b
    Examples:
      python -m core.cache
      python -m core.cache --workspace runs/demo --limit 2GB
    """
    cache = Workspace(workspace or default_folder()).cache(None if limit is None else parse_size(limit, "--limit"))
    if limit is not None:
        before, removed = len(cache.entries()), cache.prune()
        say(f"removed {len(removed)} of {before} entries, {size_text(sum(entry.size for entry in removed))}")
    show(cache.entries(), cache.folder)


def show(entries: Sequence[Entry], folder: Path) -> None:
    """Kinds with their entries, the one used last first in each."""
    if not entries:
        say(f"{folder} is empty")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("kind", "entry", "size", "last use"):
        table.add_column(name, justify="right" if name == "size" else "left")
    ordered = sorted(entries, key=lambda entry: (entry.path.parent.name, -entry.used))
    for kind, group in groupby(ordered, key=lambda entry: entry.path.parent.name):
        for entry in group:
            used = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M} ({age(time.time() - entry.used)})"
            table.add_row(kind, entry.path.name, size_text(entry.size), used)
    console.print(table)
    say(f"{folder}: {len(entries)} entries, {size_text(sum(entry.size for entry in entries))}")


def age(seconds: float) -> str:
    """`5 min ago`, `3 h ago`, `12 days ago`."""
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days ago"


if __name__ == "__main__":
    run(app)
