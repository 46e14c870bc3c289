"""`python -m serving.export`: the workspace's stack becomes a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.console import progress, run, say
from core.workspace import Workspace, default_folder
from serving.bundle import check_name

if TYPE_CHECKING:  # what computes is imported when there is something to compute, so that --help answers at once
    from serving.bundle import Bundle

BUNDLES = "bundles"
_HELP = """
Turns the stack of a workspace into a bundle: a folder with all that a service needs to give the submission's prices.

Examples:

  python -m serving.export

  python -m serving.export --workspace runs --name shop --pytorch --precision fp16

Only members that the stack looks at are taken, with all their fold models. The bundle is written once its prices for up to
200 test rows are those that the stack submitted; the same content is never written twice.
"""

app = typer.Typer(add_completion=False)


class Precision(StrEnum):
    """Of the networks' weights in the bundle."""

    fp32 = "fp32"
    fp16 = "fp16"


_FORMS = {Precision.fp32: "saved", Precision.fp16: "saved-fp16"}


@app.command(help=_HELP)
def main(
    workspace: Annotated[
        Path | None, typer.Option(help="Folder of the workspace.", show_default="PRICESTACK_WORKSPACE or runs")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle.", show_default="the workspace folder's")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the bundles.", show_default="bundles in the workspace")
    ] = None,
    pytorch: Annotated[
        bool, typer.Option("--pytorch", help="Networks as safetensors and config; so far the only form.")
    ] = True,
    precision: Annotated[Precision, typer.Option(help="Of the networks' weights.")] = Precision.fp32,
) -> None:
    from serving.assembly import export

    home = Workspace(workspace or default_folder())
    called = home.folder.resolve().name if name is None else name
    check_name(called)
    with progress("exporting") as tell:
        bundle, new = export(home, out or home.path(BUNDLES), called, _FORMS[precision], tell)
    _show(bundle, new)


def _show(bundle: Bundle, new: bool) -> None:
    facts = bundle.facts
    for member in facts.members:
        say(f"{member.id}  {member.form}  {len(member.folds)} fold models  weight {member.weight:.3f}")
    say(f"compared on {facts.compared} test rows: prices within {facts.largest_difference:.2%} of the submission's")
    say(f"nested SMAPE {facts.nested['smape']:.2f}; {facts.coverage:.1%} of held-out prices lie in their 80% interval")
    say(f"bundle:     {bundle.folder}{'' if new else ' (was there already, with this content)'}")


if __name__ == "__main__":
    run(app)
