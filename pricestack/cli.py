"""Console command `pricestack`: one name for every command of the project, each the same code as its `python -m` form."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from rich.table import Table

from core.console import console, fail, run, say
from core.errors import UserError, suggestion

COMMANDS = {
    "sweep": ("experiments.sweep", "search configs and cross-validate the best into members"),
    "stack": ("ensemble.stack", "combine members and write the submission"),
    "add": ("ensemble.add", "import predictions made elsewhere as a member"),
    "export": ("serving.export", "write the stack as a bundle for the service"),
    "predict": ("serving.predict", "price the rows of a file with a bundle"),
    "serve": ("serving.api", "serve a bundle over HTTP"),
    "keys": ("serving.keys", "manage the service's API keys"),
    "status": ("experiments.status", "show what a sweep is doing or has done"),
    "compare": ("experiments.compare", "compare two trials, members, studies or workspaces"),
    "dashboard": ("experiments.dashboard", "open Optuna's dashboard and MLflow's UI"),
    "report": ("reports.build", "build report.html of a workspace"),
    "diagnose": ("reports.diagnose", "find what went wrong in a run, and what to try"),
    "cache": ("core.cache.__main__", "list or shrink a workspace's cache"),
    "images": ("core.images", "preview augmented images, fetch a catalog's pictures"),
    "labels": ("core.labels", "list training rows whose price looks wrong"),
    "encoders": ("core.encoders.__main__", "download encoders, list them, count their parameters"),
    "demo": ("pricestack.demo", "run the whole journey on the demo catalog (make demo)"),
}
"""Module of each command (its Typer application is named `app`, and it is imported when it is run) and what it does."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `pricestack COMMAND ...`; `arguments` are those of the command line if not given."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0] in ("-h", "--help"):
        _show_help()
    elif given[0] == "--version":
        say(f"pricestack {version('pricestack')}")
    elif given[0] not in COMMANDS:
        fail(UserError(f"no command '{given[0]}'", code="cli-unknown-command", hint=suggestion(given[0], COMMANDS)))
    else:
        sys.argv[1:] = given[1:]  # as the `python -m` form sees it: sweep.json keeps the command that made it
        run(import_module(COMMANDS[given[0]][0]).app, f"pricestack {given[0]}")


def _show_help() -> None:
    say("Usage: pricestack COMMAND [OPTIONS]\n")
    say("Finds, trains, combines and serves models that predict a product's price.\n")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for name, (module, summary) in COMMANDS.items():
        table.add_row(f"  {name}", summary, f"python -m {module.removesuffix('.__main__')}")
    console.print(table)
    say("\n`pricestack COMMAND --help` shows a command's options and examples; `pricestack --version` the version.")


if __name__ == "__main__":
    main()
