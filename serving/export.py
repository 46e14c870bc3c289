"""`python -m serving.export`: writes a workspace's stack as a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.console import WorkspaceOption, progress, run, say, warn
from core.errors import UserError
from core.store.workspace import Workspace, default_folder
from serving.bundle.bundle import check_name

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


class Precision(StrEnum):
    """Of the networks' weights in the bundle."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


_FORMATS = {
    ("onnx", Precision.fp32): "onnx",
    ("onnx", Precision.fp16): "onnx-fp16",
    ("onnx", Precision.int8): "onnx-int8",
    ("pytorch", Precision.fp32): "saved",
    ("pytorch", Precision.fp16): "saved-fp16",
    ("tensorrt", Precision.fp16): "tensorrt",
}


@app.command(help=_HELP)
def main(
    workspace: WorkspaceOption = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle.", show_default="the workspace folder's")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the bundles.", show_default="bundles in the workspace")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Networks as graphs for ONNX Runtime (the default).")] = False,
    pytorch: Annotated[
        bool, typer.Option("--pytorch", help="Networks as safetensors and config, for PyTorch.")
    ] = False,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Networks for TensorRT, in fp16; where it is installed.")
    ] = False,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the networks' weights.", show_default="fp32; fp16 for TensorRT")
    ] = None,
    named: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Networks in any registered export format.")
    ] = None,
    distil: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Only the fewest members, at most N, within 0.2 points of the whole stack."
        ),
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Also in MLflow's model registry, as a pyfunc.")] = False,
    mlflow: Annotated[str | None, typer.Option(help="MLflow's tracking URI.", show_default="the workspace's")] = None,
) -> None:
    from serving.bundle.builder import export

    network_format = _format({"onnx": onnx, "pytorch": pytorch, "tensorrt": tensorrt}, precision, named)
    home = Workspace(workspace or default_folder())
    called = home.folder.resolve().name if name is None else name
    check_name(called)
    with progress("exporting") as tell:
        bundle, new = export(
            home, out or home.path(BUNDLES), called, network_format, tell, most=distil, begin=tell.begin
        )
    _show(bundle, new)
    if register:
        from serving.bundle.mlflow_registry import image_notes
        from serving.bundle.mlflow_registry import register as into_registry

        uri = mlflow or f"sqlite:///{home.path('mlflow.db')}"
        say(f"registered: {into_registry(bundle, uri)}")
        for note in image_notes(bundle.facts):
            warn(f"note: {note}")


def _format(flags: dict[str, bool], precision: Precision | None, named: str | None) -> str:
    """Export format of the networks. Raises UserError for two at once, and for a precision that the format does not have."""
    from serving.bundle.export_formats import export_format

    chosen = [name for name, wanted in flags.items() if wanted]
    if named is not None:
        chosen += ["precision"] if precision else []
        if not chosen:
            export_format(named)
            return named
        chosen.append("format")
    if len(chosen) > 1:
        raise UserError(f"--{chosen[0]} and --{chosen[1]} together", code="export-two-formats", hint="choose one")
    way = chosen[0] if chosen else "onnx"
    settled = precision or (Precision.fp16 if way == "tensorrt" else Precision.fp32)
    if (way, settled) not in _FORMATS:
        known = [str(each) for name, each in _FORMATS if name == way]
        raise UserError(
            f"--{way} has no --precision {settled}",
            code="export-precision-unknown",
            hint=f"choose {' or '.join(known)}",
        )
    return _FORMATS[way, settled]


def _show(bundle: Bundle, new: bool) -> None:
    facts = bundle.facts
    for member in facts.members:
        judged = f"prices within {member.difference:.2%} of the original's"
        if member.worsened is not None:
            judged += f", SMAPE {member.worsened:+.2f} points"
        say(f"{member.id}  {member.form}  {len(member.folds)} fold models  weight {member.weight:.3f}  {judged}")
    say(f"compared on {facts.compared} test rows: prices within {facts.largest_difference:.2%} of the submission's")
    say(f"nested SMAPE {facts.nested['smape']:.2f}; {facts.coverage:.1%} of held-out prices lie in their 80% interval")
    say(f"bundle:     {bundle.folder}{'' if new else ' (was there already, with this content)'}")


if __name__ == "__main__":
    run(app)
