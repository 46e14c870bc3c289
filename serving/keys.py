"""`python -m serving.keys`: adds, lists and revokes API keys of the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.console import console, run, say, warn
from core.store.workspace import DEFAULT, ENVIRONMENT, default_folder
from serving.middleware.key_store import add_key, read_keys, revoke_key, utc_now

FILE = "keys.json"
"""In the workspace."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who will use it, and since when: shop-2026-11.")]
File = Annotated[
    Path | None, typer.Option("--keys", help="File of keys.", show_default=f"{FILE} in {ENVIRONMENT} or {DEFAULT}")
]


@app.command()
def add(
    name: Name,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; never, if not given.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may also swap bundles.")] = False,
    keys: File = None,
) -> None:
    """Makes a key and prints it, this once: only its hash is kept. A running service takes it at once.

    \b
    Examples:
      python -m serving.keys add shop-2026-11 --days 400
      python -m serving.keys add operator --admin

    To replace a key, add one of another name, hand it out, and revoke the old one.
    """
    expires = None if days is None else utc_now().replace(microsecond=0) + timedelta(days=days)
    secret = add_key(file_of(keys), name, admin=admin, expires=expires)
    warn("send it as `Authorization: Bearer KEY`; it is not shown again:")
    say(secret)


@app.command("list")
def list_keys(keys: File = None) -> None:
    """Lists names, times and rights of all keys."""
    path = file_of(keys)
    found = read_keys(path)
    if not found:
        say(f"{path} holds no keys")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "created", "expires", "may"):
        table.add_column(column)
    for key in found:
        until = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        expired = "" if key.valid(utc_now()) else " (expired)"
        table.add_row(
            key.name, f"{key.created:%Y-%m-%d %H:%M}", until + expired, "predict, admin" if key.admin else "predict"
        )
    console.print(table)


@app.command()
def revoke(name: Name, keys: File = None) -> None:
    """Takes a key away. A running service refuses it at once."""
    revoke_key(file_of(keys), name)
    say(f"revoked {name}")


def file_of(keys: Path | None) -> Path:
    """The file of keys: the one named, or the workspace's."""
    return keys or default_folder() / FILE


if __name__ == "__main__":
    run(app)
