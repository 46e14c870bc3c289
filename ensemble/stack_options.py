"""Command-line options of `python -m ensemble.stack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError

Workspace = Annotated[
    Path | None, typer.Option(help="Folder of the workspace.", show_default="PRICESTACK_WORKSPACE or runs")
]
Oof = Annotated[Path | None, typer.Option(help="Out-of-fold predictions made anywhere, with --test.")]
Test = Annotated[Path | None, typer.Option(help="The same members' test predictions, with --oof.")]
Out = Annotated[
    Path | None, typer.Option(help="The submission to write.", show_default="submission.csv in the workspace")
]
Folds = Annotated[
    int | None,
    typer.Option(help="Folds to make for --oof; a workspace has its own.", show_default="5, or a group each"),
]
Groups = Annotated[
    str | None,
    typer.Option(
        help="Column of --oof: rows of one value are one product and stay in one fold; empty ones stand for themselves."
    ),
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="Column of --oof and --test that is no member but tells of the row; repeatable."
    ),
]
Drop = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Member to leave out; repeatable.")]
Keep = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Member to take even if the checks would leave it out; repeatable."),
]
MaxMissing = Annotated[
    float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of rows for which a member may lack a price.")
]
Methods = Annotated[
    str | None,
    typer.Option(help="The only ways to combine that are tried, with commas between them.", show_default="all of them"),
]
Seed = Annotated[int, typer.Option(help="Seed of folds and boosters.", min=0)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the submission's path.")]


def check_together(
    *, workspace: Path | None, oof: Path | None, test: Path | None, for_tables: tuple[object, ...]
) -> None:
    """Raises UserError for options that exclude or need each other. for_tables: the values of those that --oof alone takes."""
    if (oof is None) != (test is None):
        raise UserError(
            "--oof and --test belong together",
            code="stack-oof-without-test",
            hint="give both, or neither to stack the workspace's members",
        )
    if oof is not None and workspace is not None:
        raise UserError(
            "--workspace and --oof exclude each other",
            code="stack-workspace-and-oof",
            hint="give either a workspace or two tables",
        )
    if oof is None and any(value is not None and value != [] for value in for_tables):
        raise UserError(
            "--folds, --groups and --features are for --oof",
            code="stack-needs-oof",
            hint="leave them out: a workspace has its own folds, and fields of its texts",
        )
