"""Command-line options of `python -m serving.api`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serving.keys import FILE as KEYS


class LogLevel(StrEnum):
    """From which level on lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Bundle = Annotated[
    Path, typer.Option(help="Folder that serving.export has written; others beside it may be swapped in.")
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 is any one that is free.")]
Keys = Annotated[
    Path | None, typer.Option(help="File of keys.", show_default=f"{KEYS} in the workspace, if it is there")
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes that compute.", show_default="one per core")
]
BatchRows = Annotated[int, typer.Option(min=1, max=4096, help="Most rows computed together.")]
BatchMs = Annotated[float, typer.Option(min=0, max=1000, help="How long the first row waits for others.")]
QueueRows = Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond, the answer is 503.")]
Remembered = Annotated[int, typer.Option(min=0, help="Answers kept by content.")]
RememberedSeconds = Annotated[float, typer.Option(min=0, help="For so long.")]
ImageHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-image-urls", metavar="HOST", help="Fetch pictures from this host; may be repeated. Off without."
    ),
]
Limit = Annotated[list[str] | None, typer.Option(help="NAME=VALUE of docs/security.md; may be repeated.")]
Watch = Annotated[bool, typer.Option("--watch", help="Serve a newer bundle of the same name as soon as it is there.")]
Mlflow = Annotated[str | None, typer.Option(help="MLflow's tracking URI: a line of figures each minute.")]
QuietMinutes = Annotated[float, typer.Option(min=0, help="In which the same alert is not told again.")]
Level = Annotated[LogLevel, typer.Option(case_sensitive=False, metavar="LEVEL", help="debug, info, warning or error.")]
Texts = Annotated[bool, typer.Option("--log-texts", help="Write texts of products into the log, too.")]
