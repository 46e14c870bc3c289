"""Observer of requests, rows and true prices: feeds metrics, drift and run log, and raises alerts beyond thresholds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.atomic_files import read_json
from core.fields.learnt_fields import labelled_values
from serving.bundle.bundle import STATISTICS, Bundle
from serving.bundle.reference_stats import script
from serving.engine.service import PricedRow
from serving.monitoring.alerts import Alert, AlertKind, Alerts, Thresholds
from serving.monitoring.drift import Drift, Figure, Row
from serving.monitoring.feedback import Feedback, FeedbackStatus
from serving.monitoring.prometheus_metrics import Metrics


@dataclass
class MinuteStats:
    """Statistics of one minute, for the run log and for alerts. seconds: of requests for prices. prices: predicted."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0
    prices: list[float] = field(default_factory=list)
    cached: int = 0
    fallbacks: int = 0
    batches: list[int] = field(default_factory=list)

    def request(self, status: int, seconds: float) -> None:
        """An answered request for prices."""
        self.seconds.append(seconds)
        self.refused += status == 503
        self.failed += status >= 500 and status != 503

    def row(self, priced: PricedRow) -> None:
        self.prices.append(priced.answer.price)
        self.cached += priced.cached
        self.fallbacks += priced.fallback

    def figures(self, minutes: float) -> dict[str, float]:
        """Metrics for the run log; figures of what did not happen are left out. minutes: that it was collected for."""
        found: dict[str, float] = {"requests_per_second": len(self.seconds) / (60 * minutes)}
        if self.seconds:
            p50, p95, p99 = 1000 * np.quantile(self.seconds, [0.5, 0.95, 0.99])
            found |= {
                "inference_latency_ms": 1000 * float(np.mean(self.seconds)),
                "inference_latency_p50_ms": float(p50),
                "inference_latency_p95_ms": float(p95),
                "inference_latency_p99_ms": float(p99),
                "error_rate": self.failed / len(self.seconds),
                "overload_rate": self.refused / len(self.seconds),
            }
        if self.prices:
            found |= {
                "prediction_mean": float(np.mean(self.prices)),
                "prediction_std": float(np.std(self.prices)),
                "prediction_min": float(np.min(self.prices)),
                "prediction_max": float(np.max(self.prices)),
                "cache_hit_rate": self.cached / len(self.prices),
                "fallback_rate": self.fallbacks / len(self.prices),
            }
        if self.batches:
            found["batch_size"] = float(np.mean(self.batches))
        return found

    def alerts(self, thresholds: Thresholds) -> Sequence[Alert]:
        """Alerts of figures beyond their thresholds."""
        if len(self.seconds) < thresholds.requests:
            return []
        count, answered = len(self.seconds), max(1, len(self.prices))
        p99 = float(np.quantile(self.seconds, 0.99))
        shares = [
            (AlertKind.ERRORS, self.failed / count, thresholds.errors, "of the last minute's requests failed"),
            (AlertKind.OVERLOAD, self.refused / count, thresholds.errors, "of the last minute's requests found no room"),
            (AlertKind.FALLBACKS, self.fallbacks / answered, thresholds.fallbacks,
             "of the rows were not answered by the whole stack"),
        ]  # fmt: skip
        found = [Alert(name, share, most, f"{share:.0%} {what}") for name, share, most, what in shares if share > most]
        if p99 > thresholds.p99_seconds:
            found.append(
                Alert(AlertKind.LATENCY, p99, thresholds.p99_seconds, f"one request in a hundred took over {p99:.2f} s")
            )
        return found


MINUTE = 60.0
PRICING = frozenset({"/predict", "/predict/batch"})
"""Paths whose seconds are the service's latency."""

RunLogger = Callable[[dict[str, float]], None]


class Observer:
    """Collects what the service did, for metrics, alerts and the run log; used from one event loop.

    run_logger: written each minute, in a thread. minute: seconds of one."""

    def __init__(
        self, alerts: Alerts, thresholds: Thresholds, run_logger: RunLogger | None = None, minute: float = MINUTE
    ) -> None:
        self.metrics, self.alerts, self.feedback, self.run_logger = Metrics(), alerts, Feedback(), run_logger
        self.drift: Drift | None = None
        self._thresholds, self._minute = thresholds, minute
        self._stats, self._since = MinuteStats(), time.monotonic()
        self._nested = 0.0

    def serve(self, bundle: Bundle) -> None:
        """From now on what comes is compared with this bundle's catalog."""
        self.drift = Drift(read_json(bundle.path(STATISTICS)))
        self._nested = float(bundle.facts.nested["smape"])

    def record_batch(self, rows: int, seconds: float) -> None:
        self.metrics.batch(rows, seconds)
        self._stats.batches.append(rows)

    def record_request(self, path: str, status: int, seconds: float) -> None:
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if path in PRICING:
            self._stats.request(status, seconds)

    def record_row(self, text: str, image: bool, priced: PricedRow) -> None:
        """A row was priced."""
        self.metrics.row(priced)
        self._stats.row(priced)
        answer = priced.answer
        if self.drift is not None:
            labelled = labelled_values(text) if self.drift.reads_fields else {}
            row = Row(len(text), answer.unit, answer.brand, script(text), not image, answer.price, labelled)
            figures = self.drift.add(row)
            if figures is not None:
                self.metrics.drift(figures)
                self._report([_drift_alert(figure) for figure in figures if figure.drifted])

    def record_prediction(self, prediction_id: str, priced: PricedRow) -> None:
        """Remembers a prediction by the id under which its true price may come later."""
        self.feedback.record_prediction(prediction_id, priced.answer)

    def record_true_prices(self, prices: Iterable[tuple[str, float]]) -> Counter[FeedbackStatus]:
        """True prices by id: how many were what."""
        found = Counter(self.feedback.record_true_price(name, price) for name, price in prices)
        live = self.feedback.live
        self.metrics.live(live, self.feedback.rows)
        if live is not None and live.rows >= self._thresholds.outcomes:
            limit = self._nested + self._thresholds.smape_errors * live.standard_error
            if live.smape > limit:
                text = f"live SMAPE {live.smape:.2f} over {live.rows} outcomes; {self._nested:.2f} was to be expected"
                self._report([Alert(AlertKind.ACCURACY, live.smape, limit, text)])
        return found

    async def run(self) -> None:
        """Minute by minute, until it is cancelled."""
        while True:
            await asyncio.sleep(self._minute)
            await self.close_minute()

    async def close_minute(self) -> None:
        """Checks the minute against the thresholds, and writes its metrics into the run log."""
        now = time.monotonic()
        stats, self._stats = self._stats, MinuteStats()
        minutes, self._since = (now - self._since) / MINUTE, now
        self._report(stats.alerts(self._thresholds))
        if self.run_logger is not None:
            await asyncio.get_running_loop().run_in_executor(
                None, self.run_logger, stats.figures(minutes) | self._live_figures()
            )

    def _live_figures(self) -> dict[str, float]:
        live = self.feedback.live
        figures: dict[str, Any] = {} if live is None else {"live_smape": live.smape, "live_coverage": live.coverage}
        for figure in self.drift.figures if self.drift else ():
            figures[f"drift_{figure.what}_{figure.measure}"] = figure.value
        return figures

    def _report(self, alerts: Sequence[Alert]) -> None:
        before = dict(self.alerts.raised)
        self.alerts.report(alerts)
        for name, count in self.alerts.raised.items():
            self.metrics.alerts.labels(name).inc(count - before.get(name, 0))


def _drift_alert(figure: Figure) -> Alert:
    beyond = f"{figure.measure.upper()} {figure.value:.2f}, limit {figure.limit:.2f}"
    text = f"{figure.what} has drifted from the bundle's catalog: {beyond}"
    return Alert(f"{AlertKind.DRIFT}-{figure.what}", figure.value, figure.limit, text)
