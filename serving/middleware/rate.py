"""Rate limiter: a token bucket per caller, bounded in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address, ip_network

from cachetools import LRUCache
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.common.limits import Limits
from serving.middleware.access import caller_of
from serving.middleware.problems import answer_http_exception

_SITE = 64
"""Bits of an IPv6 address that one customer of a provider holds all addresses of."""


class RateLimiter:
    """Token buckets: `burst` tokens when full, `requests_per_second` more each second; `tracked` callers, those seen last.

    A caller that was forgotten starts with a full bucket, as one that rested does. clock: seconds, never going back.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = limits.requests_per_second
        self._burst = float(limits.burst)
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(limits.tracked)

    def take(self, caller: str, cost: float = 1.0, *, taken: float = 0.0) -> float:
        """Takes `cost` tokens and returns 0; or takes none and returns the seconds until there are so many.

        What costs more than a full bucket takes a full one, so that it is not refused for ever. taken: tokens that the same
        request has taken before, which a full bucket lacks by now.
        """
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        missing = min(cost, self._burst - taken) - tokens
        self._buckets[caller] = (tokens if missing > 0 else -missing, now)
        return max(0.0, missing / self._rate)

    def __len__(self) -> int:
        """Number of tracked callers."""
        return len(self._buckets)


class RateLimit:
    """ASGI middleware: a token for each request, of its key, or of its address where no keys are asked for; else 429.

    Requests that `Access` lets through to open paths cost nothing.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if caller_of(scope) is not None and scope["type"] == "http":
            try:
                check_rate(self._limiter, scope)
            except HTTPException as error:
                answer = await answer_http_exception(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def check_rate(limiter: RateLimiter, scope: Scope, cost: float = 1.0, *, taken: float = 0.0) -> None:
    """Takes tokens of the scope's caller, as `RateLimiter.take` does. Raises HTTPException 429 where there are too few."""
    caller = caller_of(scope)
    wait = limiter.take((caller.name if caller else "") or client_network(scope), cost, taken=taken)
    if wait > 0:
        seconds = str(math.ceil(wait))
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, f"try again in {seconds} s", headers={"Retry-After": seconds})


def client_network(scope: Scope) -> str:
    """The client's address, of IPv6 the first 64 bits; "" where the server does not know it (a socket file)."""
    client = scope.get("client")
    if not client:
        return ""
    try:
        address = ip_address(client[0])
    except ValueError:
        return str(client[0])
    return str(address) if address.version == 4 else str(ip_network((address.packed, _SITE), strict=False))
