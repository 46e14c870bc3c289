"""Alerts: sent once, to the log and to a webhook. Outcomes: live figures."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from core.metrics import smape
from serving.engine.process_worker import RowAnswer
from serving.engine.service import PricedRow
from serving.monitoring import feedback as outcomes_module
from serving.monitoring.alerts import Alert, Alerts, NotSent, Thresholds, webhook
from serving.monitoring.feedback import WINDOW, Feedback, FeedbackStatus
from serving.monitoring.observer import MinuteStats
from tests.serving_tests.conftest import Clock

ALERT = Alert("drift-unit", 0.5, 0.25, "unit has drifted")


def test_the_same_alert_is_sent_once_in_the_quiet_time(caplog: pytest.LogCaptureFixture) -> None:
    clock, alerts_seen = Clock(), []

    async def send(alert: Alert) -> None:
        alerts_seen.append(alert.name)

    async def work() -> dict[str, int]:
        alerts = Alerts(send, 60.0, clock=clock)
        for now in (0.0, 59.0, 61.0):
            clock.now = now
            alerts.report([ALERT])
        alerts.report([Alert("errors", 0.2, 0.05, "20% failed")])
        await alerts.close()
        return alerts.raised

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(work()) == {"drift-unit": 2, "errors": 1}
    assert alerts_seen == ["drift-unit", "drift-unit", "errors"]
    assert caplog.records[0].getMessage() == "alert drift-unit: unit has drifted"


def test_a_webhook_that_fails_is_logged_without_its_url(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        alerts = Alerts(webhook("http://127.0.0.1:9/secret-token"))
        alerts.report([ALERT])
        await alerts.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert "did not reach the webhook" in caplog.text
    assert "secret-token" not in caplog.text


def test_a_failed_webhook_names_the_error() -> None:
    with pytest.raises(NotSent, match="ConnectError"):
        asyncio.run(webhook("http://127.0.0.1:9/")(ALERT))


def a_row(price: float, *, level: str = "stack", cached: bool = False) -> PricedRow:
    return PricedRow(RowAnswer(price, price / 2, 2 * price, ("one",), level), cached, "1-0")


def test_a_minute_is_a_few_figures() -> None:
    recent = MinuteStats()
    for place in range(100):
        recent.request(500 if place < 10 else 503 if place < 15 else 200, 0.01 * (place + 1))
    for each in (a_row(10.0), a_row(20.0, cached=True), a_row(30.0, level="light"), a_row(40.0)):
        recent.row(each)
    recent.batches += [2, 4]
    figures = recent.figures(0.5)
    expected: dict[str, Any] = {
        "requests_per_second": 100 / 30, "error_rate": 0.1, "overload_rate": 0.05, "prediction_mean": 25.0,
        "prediction_min": 10.0, "prediction_max": 40.0, "cache_hit_rate": 0.25, "fallback_rate": 0.25, "batch_size": 3.0,
        "inference_latency_ms": 505.0, "inference_latency_p50_ms": 505.0,
    }  # fmt: skip
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert {alert.name for alert in recent.alerts(Thresholds(p99_seconds=0.9))} == {"errors", "fallbacks", "latency"}
    assert recent.alerts(Thresholds(requests=101)) == []


def test_a_minute_of_nothing_has_no_figures_of_what_did_not_happen() -> None:
    assert MinuteStats().figures(1.0) == {"requests_per_second": 0.0}


TEN = RowAnswer(10.0, 5.0, 15.0, (), "stack")


def test_outcomes_find_their_predictions() -> None:
    outcomes = Feedback()
    outcomes.record_prediction("a", TEN)
    outcomes.record_prediction("b", RowAnswer(20.0, 18.0, 22.0, (), "stack"))
    assert outcomes.record_true_price("c", 3.0) is FeedbackStatus.UNKNOWN
    assert (outcomes.live, outcomes.rows) == (None, 0)
    assert outcomes.record_true_price("a", 12.0) is FeedbackStatus.FIRST
    assert (outcomes.live, outcomes.rows) == (None, 1)
    assert outcomes.record_true_price("b", 30.0) is FeedbackStatus.FIRST
    assert (outcomes.live.rows, outcomes.live.coverage) == (2, 0.5)
    assert outcomes.live.smape == pytest.approx(smape([12.0, 30.0], [10.0, 20.0]))


def test_an_id_counts_once_with_its_last_price() -> None:
    outcomes = Feedback()
    for name in ("a", "b"):
        outcomes.record_prediction(name, TEN)
        outcomes.record_true_price(name, 10.0)
    assert outcomes.record_true_price("a", 10.0) is FeedbackStatus.AGAIN
    assert outcomes.record_true_price("a", 30.0) is FeedbackStatus.AGAIN
    assert (outcomes.live.rows, outcomes.live.coverage) == (2, 0.5)
    assert outcomes.live.smape == pytest.approx(smape([30.0, 10.0], [10.0, 10.0]))


def test_the_window_moves_and_what_has_left_it_does_not_come_back() -> None:
    outcomes = Feedback()
    for number in range(WINDOW + 1):
        outcomes.record_prediction(str(number), TEN)
        outcomes.record_true_price(str(number), 100.0 if number == 0 else 10.0)
    before = outcomes.live
    assert (before.rows, before.smape) == (WINDOW, 0.0)
    assert outcomes.record_true_price("0", 100.0) is FeedbackStatus.AGAIN
    assert outcomes.live == before


def test_predictions_are_forgotten_by_age_and_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "REMEMBERED", 3)
    clock = Clock()
    outcomes = Feedback(clock=clock)
    for name in ("a", "b", "a", "c", "d"):
        outcomes.record_prediction(name, RowAnswer(1e300, 5.0, 15.0, (), "stack"))
    found = [outcomes.record_true_price(name, 10.0) for name in "abcd"]
    assert found == [FeedbackStatus.UNKNOWN, *[FeedbackStatus.FIRST] * 3]
    clock.now = outcomes_module.REMEMBERED_SECONDS + 60
    assert outcomes.record_true_price("d", 10.0) is FeedbackStatus.UNKNOWN
