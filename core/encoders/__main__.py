"""`python -m core.encoders`: downloads encoders (fetch), lists them (list), counts their parameters (count)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.cache import size_text
from core.console import console, run, say
from core.encoders import hub_download
from core.encoders.hub_cache import cache_folder, found, licence, needed
from core.encoders.hub_download import HubEncoder, ask, parameters_text, repository_of
from core.encoders.presets import PRESETS
from core.encoders.weights import count as count_parameters
from core.encoders.weights import weight_files

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Names = Annotated[
    list[str], typer.Argument(help="Short names (neobert, clip) or hub names (owner/name).", metavar="NAME...")
]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Encoders on this machine: downloads and lists them; without a command, counts their parameters.

    \b
    Examples:
      python -m core.encoders fetch neobert clip
      python -m core.encoders list
    """
    if context.invoked_subcommand is None:
        count()


@app.command()
def fetch(names: Names) -> None:
    """Downloads encoders into the hub's cache (HF_HOME): size, licence and parameters first; goes on where it was cut.

    \b
    Examples:
      python -m core.encoders fetch neobert clip
      python -m core.encoders fetch sentence-transformers/all-MiniLM-L6-v2
    """
    from core.encoders.loading import check_encoder, check_name  # torch, which `list` can do without

    for name in names:
        check_name(name)
    hub_download.fetch(names)
    for name in dict.fromkeys(names):
        say(f"{name} is here: {check_encoder(name)}")


@app.command("list")
def show(
    names: Annotated[list[str] | None, typer.Argument(help="These (all short names).", metavar="NAME...")] = None,
    ask_hub: Annotated[
        bool, typer.Option("--ask", help="Ask the hub for size and licence of those that are not here.")
    ] = False,
) -> None:
    """Lists encoders: here or not, size, licence, parameters. Asks nobody unless told to.

    \b
    Examples:
      python -m core.encoders list
      python -m core.encoders list --ask
    """
    table = Table(box=None, pad_edge=False)
    for title in ("encoder", "here", "size", "licence", "parameters", "repository"):
        table.add_column(title, justify="right" if title in ("size", "parameters") else "left")
    for name in names or PRESETS:
        folder = found(repository_of(name))
        facts = _here(name, folder) if folder is not None else _there(name, ask(name) if ask_hub else None)
        table.add_row(name, "yes" if folder is not None else "no", *facts, repository_of(name))
    console.print(table)
    say(f"cache: {cache_folder()}")
    say("python -m core.encoders fetch NAME... says size and licence, then downloads")


@app.command()
def count() -> None:
    """Counts the parameters of the encoders with short names and of the documented networks, without their weights."""
    from core.backbones import main as show_counts  # torch, which `list` can do without

    show_counts()


def _here(name: str, folder: Path) -> tuple[str, str, str]:
    """Size, licence and parameters of an encoder in the cache."""
    size = sum((folder / each).stat().st_size for each in needed(path.name for path in folder.iterdir()))
    known = PRESETS[name].parameters * 1e6 if name in PRESETS else None
    parameters = count_parameters(folder) if known is None and weight_files(folder) else known
    return size_text(size), licence(folder) or hub_download.NOT_STATED, _parameters(parameters)


def _there(name: str, asked: HubEncoder | None) -> tuple[str, str, str]:
    """Size, licence and parameters of an encoder that is not here, as far as they are known."""
    if asked is None:
        return "-", "-", _parameters(PRESETS[name].parameters * 1e6 if name in PRESETS else None)
    return size_text(asked.size), asked.licence or hub_download.NOT_STATED, _parameters(asked.parameters)


def _parameters(number: float | None) -> str:
    return hub_download.NOT_STATED if number is None else parameters_text(round(number)).removesuffix(" parameters")


if __name__ == "__main__":
    run(app)
