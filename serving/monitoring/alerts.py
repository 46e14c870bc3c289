"""Alert sender: each alert at most once per quiet time, to the log and a webhook."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

log = logging.getLogger(__name__)

QUIET_SECONDS = 3600.0
_WEBHOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Thresholds:
    """Of one minute, where it had at least `requests`: shares of failed requests and of rows that not the whole stack answered,
    and the 99th percentile of seconds. Of outcomes, at least `outcomes`: how many standard errors the live SMAPE may lie above
    the nested one."""

    requests: int = 20
    errors: float = 0.05
    fallbacks: float = 0.1
    p99_seconds: float = 2.0
    outcomes: int = 100
    smape_errors: float = 4.0


class AlertKind(StrEnum):
    """Rules that raise alerts."""

    ERRORS = "errors"
    OVERLOAD = "overload"
    FALLBACKS = "fallbacks"
    LATENCY = "latency"
    ACCURACY = "accuracy"
    DRIFT = "drift"


@dataclass(frozen=True)
class Alert:
    """name: kind and, of drift, what has drifted (`drift-brand`); figure and threshold as they were; text: for people."""

    name: str
    figure: float
    threshold: float
    text: str


class NotSent(Exception):
    """Raised where an alert did not get through; its text holds no URL."""


Send = Callable[[Alert], Awaitable[None]]


class Alerts:
    """Used from one event loop. send: sends one, beside the log. quiet: seconds in which the same alert is not repeated."""

    def __init__(
        self, send: Send | None = None, quiet: float = QUIET_SECONDS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.raised: dict[str, int] = {}
        self._send, self._quiet, self._clock = send, quiet, clock
        self._last: dict[str, float] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def report(self, alerts: Sequence[Alert]) -> None:
        """Logs and sends the alerts that were not reported within the quiet time."""
        for alert in alerts:
            now = self._clock()
            if now - self._last.get(alert.name, -self._quiet) < self._quiet:
                continue
            self._last[alert.name] = now
            self.raised[alert.name] = self.raised.get(alert.name, 0) + 1
            log.warning("alert %s: %s", alert.name, alert.text, extra={"alert": asdict(alert)})
            if self._send is not None:
                task = asyncio.create_task(self._sent(self._send, alert))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Waits for what is being sent."""
        await asyncio.gather(*self._sending)

    @staticmethod
    async def _sent(send: Send, alert: Alert) -> None:
        try:
            async with asyncio.timeout(_WEBHOOK_SECONDS):
                await send(alert)
        except (NotSent, TimeoutError) as error:  # the service goes on, and the alert is in the log already
            log.error("alert %s did not reach the webhook: %s", alert.name, error or "it took too long")


def webhook(url: str) -> Send:
    """Sends alerts as JSON, by POST. The URL is the operator's, and often a secret: it is never logged."""
    import httpx2

    async def send(alert: Alert) -> None:
        async with httpx2.AsyncClient(timeout=_WEBHOOK_SECONDS) as client:
            try:
                answer = await client.post(url, json={**asdict(alert), "time": time.time()})
                answer.raise_for_status()
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise NotSent(type(error).__name__) from None

    return send
