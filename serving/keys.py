"""`python -m serving.keys`: adds, lists and revokes API keys of the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.table import Table

from core.command_config import CommandConfig, Flag, takes_flags
from core.console import console, run, say, warn
from core.store.workspace import DEFAULT, ENVIRONMENT, default_folder
from serving.middleware.key_store import add_key, read_keys, revoke_key, utc_now

FILE = "keys.json"
"""In the workspace."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__)

Name = Annotated[
    str, Flag(argument=True, metavar="NAME"), Field(description="Who will use it, and since when: shop-2026-11.")
]


class KeyFileConfig(CommandConfig):
    """The file of keys that every command takes."""

    keys: Annotated[
        Path | None, Flag(shown=f"{FILE} in {ENVIRONMENT} or {DEFAULT}"), Field(description="File of keys.")
    ] = None

    @property
    def path(self) -> Path:
        """The file that is named, or the workspace's."""
        return self.keys or default_folder() / FILE


class NewKeyConfig(CommandConfig):
    """A key to make."""

    name: Name
    days: Annotated[int | None, Field(ge=1, description="Days until it expires; never, if not given.")] = None
    admin: Annotated[bool, Field(description="It may also swap bundles.")] = False
    file: KeyFileConfig = KeyFileConfig()


class RevokedKeyConfig(CommandConfig):
    """A key to take away."""

    name: Name
    file: KeyFileConfig = KeyFileConfig()


@app.command()
@takes_flags(NewKeyConfig)
def add(config: NewKeyConfig) -> None:
    """Makes a key and prints it, this once: only its hash is kept. A running service takes it at once.

    \b
    Examples:
      python -m serving.keys add shop-2026-11 --days 400
      python -m serving.keys add operator --admin

    To replace a key, add one of another name, hand it out, and revoke the old one.
    """
    expires = None if config.days is None else utc_now().replace(microsecond=0) + timedelta(days=config.days)
    secret = add_key(config.file.path, config.name, admin=config.admin, expires=expires)
    warn("send it as `Authorization: Bearer KEY`; it is not shown again:")
    say(secret)


@app.command("list")
@takes_flags(KeyFileConfig)
def list_keys(config: KeyFileConfig) -> None:
    """Lists names, times and rights of all keys."""
    found = read_keys(config.path)
    if not found:
        say(f"{config.path} holds no keys")
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
@takes_flags(RevokedKeyConfig)
def revoke(config: RevokedKeyConfig) -> None:
    """Takes a key away. A running service refuses it at once."""
    revoke_key(config.file.path, config.name)
    say(f"revoked {config.name}")


if __name__ == "__main__":
    run(app)
