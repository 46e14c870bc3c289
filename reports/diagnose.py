"""`python -m reports.diagnose`: runs all checks on a workspace and prints what to try; reads only."""

from __future__ import annotations

import json as jsons
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from core.console import WorkspaceOption, run, say, warn
from core.store.workspace import Workspace, default_folder

if TYPE_CHECKING:
    from reports.checks.finding import Finding

app = typer.Typer(add_completion=False)

_HELP = """
Goes through the troubleshooting guide (docs/troubleshooting.md) on a real run: what each check saw, and what to try.

Examples:

  python -m reports.diagnose

  python -m reports.diagnose --workspace runs/demo

  python -m reports.diagnose --json | jq '.[] | select(.state == "problem")'

Marks: problem, look (worth a look), ok, skipped (the run has nothing to look at). Works during a sweep and changes nothing.

Exit code: 0 without a problem, 1 with one, 2 for a folder that is no workspace or has a damaged file.
"""


@app.command(help=_HELP)
def main(
    workspace: WorkspaceOption = None,
    json: Annotated[bool, typer.Option("--json", help="A list of objects instead of text.")] = False,
) -> None:
    from reports.checks import diagnose  # scikit-learn: a second that --help should not take
    from reports.checks.finding import Grade
    from reports.figures.report_inputs import read_report_inputs

    inputs = read_report_inputs(Workspace(workspace or default_folder()))
    found = diagnose(inputs)
    for note in inputs.notes:
        warn(f"note: {note}")
    if json:
        typer.echo(jsons.dumps([asdict(finding) for finding in found], indent=1, allow_nan=False))
    else:
        show(found)
    if any(finding.state == Grade.PROBLEM for finding in found):
        raise typer.Exit(1)


def show(found: list[Finding]) -> None:
    """Prints them for people: a block each, and a line of counts."""
    from reports.checks.finding import Grade

    styles = {Grade.PROBLEM: "bold red", Grade.LOOK: "yellow", Grade.OK: "green", Grade.SKIPPED: "dim"}
    for finding in found:
        say(
            f"{finding.state:8} {finding.check}{f', {finding.about}' if finding.about else ''}",
            style=styles[finding.state],
        )
        say(f"         {finding.saw}")
        if finding.advice:
            say(f"         try: {finding.advice}")
        if finding.command:
            say(f"         {finding.command}")
    counts = {grade: sum(finding.state == grade for finding in found) for grade in Grade}
    say(", ".join(f"{number} {state}" for state, number in counts.items()), style="bold")


if __name__ == "__main__":
    run(app)
