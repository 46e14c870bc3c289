"""`python -m reports.build`: a workspace in, one page to look at out. Reads only; trains and decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.console import run, say
from core.files import write_json, write_text
from core.workspace import Workspace, default_folder

PAGE, FIGURES = "report.html", "report.json"

app = typer.Typer(add_completion=False)


def build_report(workspace: Workspace) -> Path:
    """Writes `report.html` (one file, opens from disk, loads nothing) and `report.json` (its figures) into the workspace.

    Returns the page's path. The same workspace gives the same bytes. Raises UserError for a folder that is no workspace and
    for damaged files in it.
    """
    from reports.content import make_content  # Matplotlib and pandas: a second that --help should not take
    from reports.figures import draw
    from reports.material import read_material
    from reports.page import render

    content = make_content(read_material(workspace))
    page = workspace.path(PAGE)
    write_json(workspace.path(FIGURES), content)
    write_text(page, render(content, draw(content)))
    return page


_HELP = """
Draws report.html from what a workspace holds: what was tried, how good it is, where it fails, what to do next.

Examples:

  python -m reports.build

  python -m reports.build --workspace runs/demo

Every sweep and every stack draws it as well. The page is one file without network access; report.json has its figures.
"""


@app.command(help=_HELP)
def main(
    workspace: Annotated[
        Path | None, typer.Option(help="Folder of the workspace.", show_default="PRICESTACK_WORKSPACE or runs")
    ] = None,
) -> None:
    say(f"report: {build_report(Workspace(workspace or default_folder()))}")


if __name__ == "__main__":
    run(app)
