"""`python -m serving.export`: writes a workspace's stack as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from core.command_config import CommandConfig, Flag, takes_flags
from core.console import progress, run, say, warn
from core.store.workspace import DEFAULT, ENVIRONMENT, Workspace, default_folder
from serving.bundle.bundle import check_name
from serving.bundle.export_formats import NetworkFormatConfig

if TYPE_CHECKING:  # what computes is imported when there is something to compute, so that --help answers at once
    from serving.bundle.bundle import Bundle

BUNDLES = "bundles"
_HELP = """
Turns the stack of a workspace into a bundle: a folder with all that a service needs to give the submission's prices.

Examples:

  python -m serving.export

  python -m serving.export --workspace runs --name shop --onnx --precision int8

  python -m serving.export --distil 3 --register

Only members that the stack looks at are taken, with all their fold models. The bundle is written once its prices for up to
200 test rows are those that the stack submitted; the same content is never written twice.
"""

app = typer.Typer(add_completion=False)


class ExportConfig(CommandConfig):
    """Flags of `python -m serving.export`."""

    workspace: Annotated[
        Path,
        Flag(shown=f"{ENVIRONMENT} or {DEFAULT}"),
        Field(default_factory=default_folder, description="Folder of the workspace."),
    ]
    name: Annotated[str | None, Flag(shown="the workspace folder's"), Field(description="Of the bundle.")] = None
    out: Annotated[Path | None, Flag(shown="bundles in the workspace"), Field(description="Folder of the bundles.")] = (
        None
    )
    networks: NetworkFormatConfig = NetworkFormatConfig()
    distil: Annotated[
        int | None,
        Flag(metavar="N"),
        Field(ge=1, description="Only the fewest members, at most N, within 0.2 points of the whole stack."),
    ] = None
    registered: Annotated[
        bool, Flag(name="register"), Field(description="Also in MLflow's model registry, as a pyfunc.")
    ] = False
    mlflow: Annotated[str | None, Flag(shown="the workspace's"), Field(description="MLflow's tracking URI.")] = None


@app.command(help=_HELP)
@takes_flags(ExportConfig)
def main(config: ExportConfig) -> None:
    from serving.bundle.builder import export

    network_format = config.networks.export_name
    home = Workspace(config.workspace)
    name = home.folder.resolve().name if config.name is None else config.name
    check_name(name)
    with progress("exporting") as report:
        bundle, new = export(
            home, config.out or home.path(BUNDLES), name, network_format, report, most=config.distil, begin=report.begin
        )
    _show(bundle, new)
    if config.registered:
        from serving.bundle.mlflow_registry import image_notes, register

        uri = config.mlflow or f"sqlite:///{home.path('mlflow.db')}"
        say(f"registered: {register(bundle, uri)}")
        for note in image_notes(bundle.facts):
            warn(f"note: {note}")


def _show(bundle: Bundle, new: bool) -> None:
    facts = bundle.facts
    for member in facts.members:
        evaluated = f"prices within {member.difference:.2%} of the original's"
        if member.worsened is not None:
            evaluated += f", SMAPE {member.worsened:+.2f} points"
        say(f"{member.id}  {member.form}  {len(member.folds)} fold models  weight {member.weight:.3f}  {evaluated}")
    say(f"compared on {facts.compared} test rows: prices within {facts.largest_difference:.2%} of the submission's")
    say(f"nested SMAPE {facts.nested['smape']:.2f}; {facts.coverage:.1%} of held-out prices lie in their 80% interval")
    say(f"bundle:     {bundle.folder}{'' if new else ' (was there already, with this content)'}")


if __name__ == "__main__":
    run(app)
