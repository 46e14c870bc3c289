"""`python -m reports.build`: builds report.html and report.json of a workspace; reads only."""

from __future__ import annotations

from pathlib import Path

import typer

from core.atomic_files import write_json, write_text
from core.console import WorkspaceOption, run, say
from core.store.workspace import Workspace, default_folder

PAGE, FIGURES = "report.html", "report.json"

app = typer.Typer(add_completion=False)


def build_report(workspace: Workspace) -> Path:
    """Writes `report.html` (one file, opens from disk, loads nothing), `report.json` (its figures) and `doubtful_rows.csv` (rows
    whose price is better corrected, or left out) into the workspace.

    Returns the page's path. The same workspace gives the same bytes. Raises UserError for a folder that is no workspace and
    for damaged files in it.
    """
    from reports.figures.data_quality import FILE, all_findings, suggested_corrections, write_suggested
    from reports.figures.error_figures import top_residual_images
    from reports.figures.report_inputs import read_report_inputs
    from reports.page.page import (
        make_content,  # pandas and LightGBM: a second that --help should not take
        render,
    )

    inputs = read_report_inputs(workspace)
    findings = all_findings(inputs)
    content = make_content(inputs, findings)
    page, text = workspace.path(PAGE), render(content, top_residual_images(content["errors"], inputs.train))
    write_json(workspace.path(FIGURES), content)
    write_suggested(workspace.path(FILE), suggested_corrections(findings), inputs.train)
    write_text(page, text)
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
    workspace: WorkspaceOption = None,
) -> None:
    say(f"report: {build_report(Workspace(workspace or default_folder()))}")


if __name__ == "__main__":
    run(app)
