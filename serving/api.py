"""`python -m serving.api`: a bundle as an HTTP service."""

from __future__ import annotations

import asyncio
import json
import logging.config
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.console import run, say, warn
from core.machine import usable_cores
from core.workspace import default_folder
from serving.keys import FILE as KEYS

if TYPE_CHECKING:
    import uvicorn

    from serving.guard import KeyRing, Limits
    from serving.service.service import Service
    from serving.watch.observer import Observer

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
"""Where alerts are sent, beside the log: a URL, often a secret, and so no option."""
DRAIN_SECONDS = 60
"""What requests are given to be answered when the service ends."""

app = typer.Typer(add_completion=False)


@app.command(help=_HELP)
def main(
    bundle: Annotated[
        Path, typer.Option(help="Folder that serving.export has written; others beside it may be swapped in.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="File of keys.", show_default=f"{KEYS} in the workspace, if it is there")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that compute.", show_default="one per core")
    ] = None,
    batch_rows: Annotated[int, typer.Option(min=1, max=4096, help="Most rows computed together.")] = 64,
    batch_ms: Annotated[float, typer.Option(min=0, max=1000, help="How long the first row waits for others.")] = 4.0,
    queue_rows: Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond, the answer is 503.")] = 512,
    remembered: Annotated[int, typer.Option(min=0, help="Answers kept by content.")] = 20_000,
    remembered_seconds: Annotated[float, typer.Option(min=0, help="For so long.")] = 3600.0,
    allow_image_urls: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Fetch pictures from this host; may be repeated. Off without."),
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of docs/security.md; may be repeated.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a newer bundle of the same name as soon as it is there.")
    ] = False,
    mlflow: Annotated[str | None, typer.Option(help="MLflow's tracking URI: a line of figures each minute.")] = None,
    quiet_minutes: Annotated[float, typer.Option(min=0, help="In which the same alert is not told again.")] = 60.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Write texts of products into the log, too.")] = False,
) -> None:
    import uvicorn

    from serving.guard import check_exposure, logging_config
    from serving.service.engine import EngineSettings
    from serving.service.service import Service
    from serving.watch.alerts import Alerts, Thresholds, webhook
    from serving.watch.observer import Observer
    from serving.web.app import make_app

    limits, ring = _limits(limit or [], allow_image_urls or []), _ring(keys)
    check_exposure(host, ring)
    config = logging_config(texts=log_texts, level=log_level.upper())
    logging.config.dictConfig(config)
    cores = usable_cores()
    count = workers or cores
    settings = EngineSettings(count, max(1, cores // count), batch_rows, batch_ms, queue_rows)
    url = os.environ.get(WEBHOOK)
    observer = Observer(Alerts(webhook(url) if url else None, 60 * quiet_minutes), Thresholds())
    service = Service(
        bundle,
        settings,
        limits,
        remembered=remembered,
        remembered_seconds=remembered_seconds,
        log_config=config,
        watch=observer.batch,
        seen=observer.seen,
    )
    if ring is None:
        warn("no keys: this machine alone may ask")
    server = uvicorn.Config(
        make_app(service, observer, limits, ring, follow=watch),
        host,
        port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    asyncio.run(_serve(server, service, observer, mlflow))


async def _serve(config: uvicorn.Config, service: Service, observer: Observer, mlflow: str | None) -> None:
    """The bundle is loaded before anybody can ask, so that what is wrong with it is said in a sentence."""
    import uvicorn

    await service.start()
    if mlflow is not None:
        from serving.watch.diary import MlflowDiary

        observer.diary = MlflowDiary(mlflow, service.served.bundle)
    say(f"{service.served.bundle.folder.name} at http://{config.host}:{config.port}/    (Ctrl-C ends it)")
    await uvicorn.Server(config).serve()


def _limits(assignments: list[str], hosts: list[str]) -> Limits:
    from serving.guard import read_limits

    return read_limits([*assignments, *([f"image_hosts={json.dumps(hosts)}"] if hosts else [])])


def _ring(keys: Path | None) -> KeyRing | None:
    """None where no file of keys is named and the workspace has none."""
    from serving.guard import KeyRing

    path = keys or default_folder() / KEYS
    if keys is None and not path.exists():
        return None
    return KeyRing(path)


if __name__ == "__main__":
    run(app)
