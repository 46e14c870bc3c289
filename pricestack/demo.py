"""`pricestack demo`: the whole journey on the demo catalog: sweep over all architectures, stack, submission, report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.architectures import ARCHITECTURES
from core.console import run, say

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    workspace: Annotated[Path, typer.Option(help="folder that holds everything")] = Path("runs/demo"),
    trials: Annotated[int, typer.Option(min=1, help="configs to try per architecture")] = 2,
    members: Annotated[int, typer.Option(min=1, help="best configs per architecture to cross-validate")] = 1,
) -> None:
    """Runs the journey of `make demo`: about three minutes on two cores. Run again, it goes on where it was.

    \b
    Examples:
      pricestack demo
      pricestack demo --workspace runs/try --trials 1
    """
    from ensemble.stack import app as stack
    from experiments.sweep import app as sweep

    place = ["--workspace", str(workspace)]
    budget = ["--trials", str(trials), "--members", str(members)]
    for command, module, arguments in (
        (sweep, "experiments.sweep", [*_documented_order(), *place, *budget]),
        (stack, "ensemble.stack", place),
    ):
        say(f"$ python -m {module} {shlex.join(arguments)}")
        sys.argv[1:] = arguments
        command(standalone_mode=False)


def _documented_order() -> list[str]:
    """Names of the architectures; those that read images first: the main job."""
    return sorted(ARCHITECTURES, key=lambda name: not ARCHITECTURES[name].reads_images)


if __name__ == "__main__":
    run(app)
