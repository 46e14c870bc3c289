"""`python -m serving.api`: serves a bundle over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging.config
import os
import socket
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from core.command_config import CommandConfig, Flag, takes_flags
from core.console import run, say, warn
from core.errors import UserError
from core.store.workspace import default_folder
from serving.engine.engine import EngineConfig
from serving.engine.service import CacheConfig, Service
from serving.keys import FILE as KEYS
from serving.listening import bind, listen, url

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serving.middleware.key_store import KeyRing
    from serving.monitoring.mlflow_logger import MlflowRunLogger
    from serving.monitoring.observer import Observer

_HELP = """
Serves a bundle over HTTP: POST /predict, POST /predict/batch, a page at /, metrics at /metrics.

Examples:

  python -m serving.api --bundle runs/bundles/runs-1-0a1b2c3d4e5f

  python -m serving.keys add shop && python -m serving.api --bundle B --host 0.0.0.0

  python -m serving.api --bundle B --allow-image-urls images.example.com --allow-image-urls '*.shop.example'

  curl -d '{"catalog_content": "Item Name: Jam, 9 oz"}' -H 'Content-Type: application/json' http://127.0.0.1:8000/predict

Without keys it listens to this machine alone. Ctrl-C and SIGTERM answer what has come, then end.
"""

WEBHOOK = "PRICESTACK_ALERT_WEBHOOK"
"""Environment variable of the webhook for alerts, beside the log: a URL, often a secret, and so no option."""
DRAIN_SECONDS = 60
"""Seconds that requests are given to be answered when the service ends."""

app = typer.Typer(add_completion=False)


class LogLevel(StrEnum):
    """Lowest level of the lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ServiceConfig(CommandConfig):
    """Flags of `python -m serving.api`."""

    bundle: Annotated[
        Path, Field(description="Folder that serving.export has written; others beside it may be swapped in.")
    ]
    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="0 is any one that is free.")] = 8000
    keys: Annotated[
        Path | None, Flag(shown=f"{KEYS} in the workspace, if it is there"), Field(description="File of keys.")
    ] = None
    engine: EngineConfig = EngineConfig()
    cache: CacheConfig = CacheConfig()
    image_hosts: Annotated[
        tuple[str, ...],
        Flag(option="--allow-image-urls", metavar="HOST"),
        Field(description="Fetch pictures from this host; may be repeated. Off without."),
    ] = ()
    limit: Annotated[tuple[str, ...], Field(description="NAME=VALUE of docs/security.md; may be repeated.")] = ()
    watch: Annotated[bool, Field(description="Serve a newer bundle of the same name as soon as it is there.")] = False
    mlflow: Annotated[str | None, Field(description="MLflow's tracking URI: a line of figures each minute.")] = None
    quiet_minutes: Annotated[float, Field(ge=0, description="In which the same alert is not told again.")] = 60.0
    log_level: Annotated[
        LogLevel, Flag(metavar="LEVEL", any_case=True), Field(description="debug, info, warning or error.")
    ] = LogLevel.INFO
    log_texts: Annotated[bool, Field(description="Write texts of products into the log, too.")] = False


@app.command(help=_HELP)
@takes_flags(ServiceConfig)
def main(config: ServiceConfig) -> None:
    from serving.common.limits import read_limits
    from serving.middleware.access import check_exposure
    from serving.middleware.logs import logging_config
    from serving.monitoring.alerts import Alerts, Thresholds, webhook
    from serving.monitoring.observer import Observer
    from serving.web.app import make_app

    hosts = [f"image_hosts={json.dumps(config.image_hosts)}"] if config.image_hosts else []
    limits, ring = read_limits([*config.limit, *hosts]), _ring(config.keys)
    check_exposure(config.host, ring)
    sockets = bind(config.host, config.port)
    log_config = logging_config(texts=config.log_texts, level=config.log_level.upper())
    logging.config.dictConfig(log_config)
    address = os.environ.get(WEBHOOK)
    observer = Observer(Alerts(webhook(address) if address else None, 60 * config.quiet_minutes), Thresholds())
    run_logger = None
    if config.mlflow is not None:
        from serving.monitoring.mlflow_logger import MlflowRunLogger  # MLflow, whose import takes seconds

        run_logger = MlflowRunLogger(config.mlflow)
    service = Service(
        config.bundle,
        config.engine,
        limits,
        cache=config.cache,
        log_config=log_config,
        on_batch=observer.record_batch,
        on_row=observer.record_row,
    )
    if ring is None:
        warn("no keys: this machine alone may ask")
    application = make_app(service, observer, limits, ring, follow=config.watch)
    asyncio.run(_serve(application, sockets, config.host, service, observer, run_logger))


async def _serve(
    application: FastAPI,
    sockets: list[socket.socket],
    host: str,
    service: Service,
    observer: Observer,
    run_logger: MlflowRunLogger | None,
) -> None:
    """Loads the bundle before anybody can ask, so that a damaged one ends the command with an error, and serves it."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    await service.start()
    try:
        bundle = service.served.bundle
        if run_logger is not None:
            run_logger.begin(bundle)
            observer.run_logger = run_logger
        listen(sockets, config.backlog)
    except UserError:
        await service.stop()
        raise
    place = service.served.engine.config.device.place
    say(f"{bundle.folder.name} at {url(host, sockets)}, pricing {place}    (Ctrl-C ends it)")
    await uvicorn.Server(config).serve(sockets)


def _ring(keys: Path | None) -> KeyRing | None:
    """None where no file of keys is named and the workspace has none."""
    from serving.middleware.key_store import KeyRing

    path = keys or default_folder() / KEYS
    if keys is None and not path.exists():
        return None
    return KeyRing(path)


if __name__ == "__main__":
    run(app)
