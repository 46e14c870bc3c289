"""Prometheus metrics of the service."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE

from serving.engine.service import PricedRow, Service
from serving.monitoring.drift import Figure
from serving.monitoring.feedback import LiveAccuracy

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    """One registry per service, so that two in a process (tests) do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self.requests = Counter("pricestack_requests", "Requests answered.", ["path", "status"], registry=own)
        self.seconds = Histogram("pricestack_request_seconds", "Of requests.", ["path"], buckets=_SECONDS, registry=own)
        self.rows = Counter("pricestack_rows", "Rows priced, by who answered.", ["level", "cached"], registry=own)
        self.row_errors = Counter("pricestack_row_errors", "Rows of batches that were not priced.", registry=own)
        self.images = Counter("pricestack_pictures", "Pictures of requests.", ["outcome"], registry=own)
        self.batch_rows = Histogram("pricestack_batch_rows", "Rows computed together.", buckets=_ROWS, registry=own)
        self.batch_seconds = Histogram("pricestack_batch_seconds", "Of one batch.", buckets=_SECONDS, registry=own)
        self.alerts = Counter("pricestack_alerts", "Alerts raised.", ["name"], registry=own)
        self._waiting = Gauge("pricestack_waiting_rows", "Rows that wait for a process.", registry=own)
        self._workers = Gauge("pricestack_workers", "Processes that answer.", registry=own)
        self._restarts = Gauge(
            "pricestack_worker_restarts", "Processes started again since the bundle was loaded.", registry=own
        )
        self._remembered = Gauge("pricestack_remembered_answers", "Answers in memory.", registry=own)
        self._bundle = Gauge("pricestack_bundle", "1 for the bundle that is served.", ["name", "version"], registry=own)
        self._drift = Gauge(
            "pricestack_drift", "Distance from the bundle's catalog.", ["what", "measure"], registry=own
        )
        self._limit = Gauge("pricestack_drift_limit", "Above which it counts.", ["what", "measure"], registry=own)
        self._smape = Gauge("pricestack_live_smape", "SMAPE in percent over the last outcomes.", registry=own)
        self._coverage = Gauge("pricestack_live_coverage", "Share of outcomes inside their 80% interval.", registry=own)
        self._smape.set(math.nan)  # before there are outcomes 0 would say that all is exact
        self._coverage.set(math.nan)
        self._outcomes = Gauge("pricestack_live_outcomes", "Outcomes that count for these figures.", registry=own)

    def row(self, priced: PricedRow) -> None:
        self.rows.labels(priced.answer.level, str(priced.cached).lower()).inc()

    def batch(self, rows: int, seconds: float) -> None:
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def drift(self, figures: Sequence[Figure]) -> None:
        for figure in figures:
            self._drift.labels(figure.what, figure.measure).set(figure.value)
            self._limit.labels(figure.what, figure.measure).set(figure.limit)

    def live(self, live: LiveAccuracy | None, rows: int) -> None:
        """rows: outcomes that count; the first one makes no figure yet."""
        self._outcomes.set(rows)
        if live is not None:
            self._smape.set(live.smape)
            self._coverage.set(live.coverage)

    def text(self, service: Service) -> bytes:
        """Metrics in Prometheus' text format."""
        if service.ready:
            served = service.served
            self._waiting.set(served.engine.waiting)
            self._restarts.set(served.engine.restarts)
            self._bundle.clear()
            self._bundle.labels(served.bundle.name, served.bundle.version).set(1)
        self._workers.set(service.served.engine.alive if service.started else 0)
        self._remembered.set(service.cached_rows)
        return generate_latest(self._registry)
