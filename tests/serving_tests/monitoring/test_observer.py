"""Monitoring of the service: each minute in MLflow, drift and accuracy as alerts, a webhook that gets them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from serving.bundle.bundle import open_bundle
from serving.engine.process_worker import RowAnswer
from serving.engine.service import PricedRow
from serving.monitoring.alerts import Alerts, Send, Thresholds, webhook
from serving.monitoring.feedback import FeedbackStatus
from serving.monitoring.mlflow_logger import EXPERIMENT, MlflowRunLogger
from serving.monitoring.observer import Observer
from tests.errors import refused


def a_row(price: float = 20.0, brand: str = "acme") -> PricedRow:
    return PricedRow(RowAnswer(price, price / 2, 2 * price, ("one",), "stack", unit="ounce", brand=brand), False, "1-0")


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook's address, and what it was sent."""
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", sent
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_minute_is_a_line_in_mlflow(exported: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    bundle = open_bundle(exported)

    async def work() -> None:
        run_logger = MlflowRunLogger(uri)
        run_logger.begin(bundle)
        written: list[dict[str, float]] = []

        def write(figures: dict[str, float]) -> None:
            run_logger(figures)
            written.append(figures)

        observer = Observer(Alerts(), Thresholds(), write, minute=0.05)
        observer.serve(bundle)
        running = asyncio.create_task(observer.run())
        for price in (10.0, 30.0):
            observer.record_request("/predict", 200, 0.02)
            observer.record_row("Item Name: nut", False, a_row(price))
        while len(written) < 2:
            await asyncio.sleep(0.01)
        running.cancel()
        run_logger.close()

    asyncio.run(work())
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["version"] == bundle.version and run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "requests_per_second")
    assert len(history) >= 2 and history[0].step == 1
    assert run.data.metrics["prediction_mean"] == pytest.approx(20.0)
    assert run.data.metrics["inference_latency_ms"] == pytest.approx(20.0)


@pytest.mark.timeout(120)  # MLflow's own patience is an hour
@pytest.mark.parametrize(
    "uri", ["no-such-scheme://run_logger", "http://127.0.0.1:{}", "postgresql://me:hunter2@127.0.0.1:{}/x"]
)
def test_a_run_log_that_cannot_be_written_is_refused_at_the_start(uri: str) -> None:
    with socket.socket() as nobody:  # bound, and does not listen
        nobody.bind(("127.0.0.1", 0))
        with refused("run-log-unwritable") as error:
            MlflowRunLogger(uri.format(nobody.getsockname()[1]))
    assert "hunter2" not in str(error.value)


def test_rows_of_another_kind_reach_the_webhook(exported: Path, received: tuple[str, list[dict[str, Any]]]) -> None:
    url, sent = received

    async def work(observer: Observer) -> None:
        for _ in range(300):
            observer.record_row("Название: гайка", False, a_row(5_000.0, brand="никто"))
        await observer.alerts.close()

    raised = alerts_of(exported, work, webhook(url))
    assert {"drift-script", "drift-price", "drift-brand"} <= set(raised)
    assert set(raised.values()) == {1}
    assert {each["name"] for each in sent} == set(raised)
    assert all(each["figure"] > each["threshold"] and each["text"] for each in sent)


def alerts_of(bundle: Path, work: Callable[[Observer], Awaitable[None]], send: Send | None = None) -> dict[str, int]:
    """How often each alert is raised by an observer that serves the bundle."""

    async def whole() -> dict[str, int]:
        observer = Observer(Alerts(send), Thresholds(outcomes=20))
        observer.serve(open_bundle(bundle))
        await work(observer)
        return observer.alerts.raised

    return asyncio.run(whole())


def test_a_live_error_far_above_the_promised_one_is_an_alert(exported: Path) -> None:
    async def work(observer: Observer) -> None:
        for place in range(40):
            observer.record_prediction(f"batch:{place}", a_row(10.0))
            assert observer.record_true_prices([(f"batch:{place}", 1_000.0 + place)]) == {FeedbackStatus.FIRST: 1}

    assert alerts_of(exported, work) == {"accuracy": 1}


def test_a_minute_of_failures_is_an_alert(exported: Path) -> None:
    async def work(observer: Observer) -> None:
        for _ in range(30):
            observer.record_request("/predict", 500, 0.01)
        observer.record_request("/health", 200, 0.01)
        await observer.close_minute()

    assert alerts_of(exported, work) == {"errors": 1}
