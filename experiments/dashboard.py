"""`python -m experiments.dashboard` (`make dashboard`): serves Optuna's dashboard and MLflow's UI until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer
from optuna.storages import BaseStorage

from core.console import run, say
from core.errors import UserError
from core.store.workspace import Workspace, default_folder
from experiments.tracking.mlflow_log import UI_PORT, tracking_uri
from experiments.tracking.sweep_record import open_studies, read_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
START_SECONDS = 180.0
"""MLflow's server needs ten seconds on a quick machine."""


@app.command()
def main(
    workspace: Annotated[Path | None, typer.Option(help="folder that holds everything (runs)")] = None,
    storage: Annotated[str | None, typer.Option(help="Optuna storage URL (the last sweep's)")] = None,
    tracking: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="URL of an MLflow server (the last sweep's)")
    ] = None,
    port: Annotated[int, typer.Option(help="of the Optuna dashboard, or the next free one")] = 8080,
    mlflow_port: Annotated[int, typer.Option(help="of MLflow's UI, or the next free one")] = UI_PORT,
) -> None:
    """Show trials and runs in the browser, while a sweep runs or afterwards. Ctrl-C ends both servers."""
    place = Workspace(workspace or default_folder())
    studies = open_studies(place.folder, storage)
    record = read_record(place.folder)
    uri = tracking or (record.tracking if record is not None and record.tracking else None)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where Ctrl-C is ignored, as in a shell's background jobs
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        url = stack.enter_context(optuna_dashboard(studies, free_port(port)))
        say(
            f"trials:  {url}  (a trial's page shows its learning curve, why it failed or was stopped, and its MLflow run)"
        )
        if uri is not None and uri.startswith("http"):
            say(f"runs:    {uri}")
            process = None
        else:
            process, url = stack.enter_context(mlflow_ui(tracking_uri(place, uri), place, free_port(mlflow_port)))
            say(f"runs:    {url}  (choose Model training at the upper left)")
            if not url.endswith(f":{UI_PORT}"):
                say(f"port {UI_PORT} is taken by another program: the links from trials to runs lead there")
        say("Ctrl-C ends both")
        while process is None or process.poll() is None:
            time.sleep(0.5)
        raise UserError(
            f"MLflow's UI ended with code {process.returncode}",
            code="dashboard-mlflow-ended",
            hint=f"see {place.path('mlflow-ui.log')}",
        )


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Requests are not logged."""


@contextmanager
def optuna_dashboard(storage: BaseStorage, port: int) -> Iterator[str]:
    """Serves the storage, in this process: its URL, and a password in it, stay out of the process list. Gives the address."""
    from optuna_dashboard import wsgi  # seconds that --help should not take

    application = wsgi(storage)
    with make_server("127.0.0.1", port, application, server_class=_Server, handler_class=_Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.shutdown()


@contextmanager
def mlflow_ui(uri: str, workspace: Workspace, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs `mlflow ui` and waits until it answers; what it prints goes to `mlflow-ui.log`. Gives the process and the address."""
    log = workspace.path("mlflow-ui.log")
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise UserError("MLflow's UI did not start", code="dashboard-mlflow-not-started", hint=f"see {log}")
            time.sleep(0.2)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and its workers, by force if they do not end within five seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(5)
            return
        except subprocess.TimeoutExpired:
            continue


def free_port(wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on."""
    for port in range(wanted, min(wanted + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UserError(
        f"no free port between {wanted} and {wanted + 99}",
        code="dashboard-no-port",
        hint="name others with --port and --mlflow-port",
    )


def answers(port: int) -> bool:
    """True if something listens on the port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


if __name__ == "__main__":
    run(app)
