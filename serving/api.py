"""`python -m serving.api`: serves a bundle over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging.config
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from core.console import run, say, warn
from core.errors import UserError
from core.hardware import usable_cores
from core.store.workspace import default_folder
from serving import api_options as options
from serving.keys import FILE as KEYS
from serving.listening import bind, listen, url

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serving.common.limits import Limits
    from serving.engine.engine import EngineSettings
    from serving.engine.service import Service
    from serving.middleware import KeyRing
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


@app.command(help=_HELP)
def main(
    bundle: options.Bundle,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    keys: options.Keys = None,
    workers: options.Workers = None,
    batch_rows: options.BatchRows = 64,
    batch_ms: options.BatchMs = 4.0,
    queue_rows: options.QueueRows = 512,
    remembered: options.Remembered = 20_000,
    remembered_seconds: options.RememberedSeconds = 3600.0,
    image_hosts: options.ImageHosts = None,
    limit: options.Limit = None,
    watch: options.Watch = False,
    mlflow: options.Mlflow = None,
    quiet_minutes: options.QuietMinutes = 60.0,
    log_level: options.Level = options.LogLevel.INFO,
    log_texts: options.Texts = False,
) -> None:
    from serving.engine.service import ResponseCache, Service
    from serving.middleware import check_exposure, logging_config
    from serving.web.app import make_app

    limits, ring = _limits(limit or [], image_hosts or []), _ring(keys)
    check_exposure(host, ring)
    sockets = bind(host, port)
    config = logging_config(texts=log_texts, level=log_level.upper())
    logging.config.dictConfig(config)
    run_logger, observer = _run_logger(mlflow), _observer(quiet_minutes)
    service = Service(
        bundle,
        _settings(workers, batch_rows, batch_ms, queue_rows),
        limits,
        cache=ResponseCache(remembered, remembered_seconds),
        log_config=config,
        on_batch=observer.record_batch,
        on_row=observer.record_row,
    )
    if ring is None:
        warn("no keys: this machine alone may ask")
    asyncio.run(
        _serve(make_app(service, observer, limits, ring, follow=watch), sockets, host, service, observer, run_logger)
    )


async def _serve(
    application: FastAPI,
    sockets: list[socket.socket],
    host: str,
    service: Service,
    observer: Observer,
    run_logger: MlflowRunLogger | None,
) -> None:
    """The bundle is loaded before anybody can ask, so that what is wrong with it is said in a sentence."""
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
    say(f"{bundle.folder.name} at {url(host, sockets)}    (Ctrl-C ends it)")
    await uvicorn.Server(config).serve(sockets)


def _settings(workers: int | None, batch_rows: int, batch_ms: float, queue_rows: int) -> EngineSettings:
    """Processes share the cores."""
    from serving.engine.engine import EngineSettings

    cores = usable_cores()
    count = workers or cores
    return EngineSettings(count, max(1, cores // count), batch_rows, batch_ms, queue_rows)


def _observer(quiet_minutes: float) -> Observer:
    from serving.monitoring.alerts import Alerts, Thresholds, webhook
    from serving.monitoring.observer import Observer

    address = os.environ.get(WEBHOOK)
    return Observer(Alerts(webhook(address) if address else None, 60 * quiet_minutes), Thresholds())


def _run_logger(uri: str | None) -> MlflowRunLogger | None:
    """MLflow is imported, which takes seconds, only where it is wanted."""
    if uri is None:
        return None
    from serving.monitoring.mlflow_logger import MlflowRunLogger

    return MlflowRunLogger(uri)


def _limits(assignments: list[str], hosts: list[str]) -> Limits:
    from serving.common.limits import read_limits

    return read_limits([*assignments, *([f"image_hosts={json.dumps(hosts)}"] if hosts else [])])


def _ring(keys: Path | None) -> KeyRing | None:
    """None where no file of keys is named and the workspace has none."""
    from serving.middleware import KeyRing

    path = keys or default_folder() / KEYS
    if keys is None and not path.exists():
        return None
    return KeyRing(path)


if __name__ == "__main__":
    run(app)
