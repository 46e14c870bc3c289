"""Middleware stack: applies security headers and all guards to the application in order."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.common.limits import Limits
from serving.middleware.access import OPEN, Access
from serving.middleware.bodies import BodyLimits
from serving.middleware.key_store import KeyRing
from serving.middleware.logs import OnRequest, RequestLog
from serving.middleware.problems import answer_http_exception, answer_validation_error
from serving.middleware.rate import RateLimit, RateLimiter


def protect(
    app: FastAPI,
    limits: Limits,
    ring: KeyRing | None,
    *,
    open_paths: Collection[str] = OPEN,
    on_request: OnRequest = lambda path, status, seconds: None,
) -> RateLimiter:
    """Guards the application; returns its rate limiter, from which routes may take more (for a batch's rows).

    Headers first, so that refusals carry them; then id and log; then the key, before anything else of the caller's is
    read; then the rate; then the body.
    """
    limiter = RateLimiter(limits)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    # The last one added is the first that sees a request.
    app.add_middleware(BodyLimits, limits=limits)
    app.add_middleware(RateLimit, limiter=limiter)
    app.add_middleware(Access, ring=ring, open_paths=open_paths)
    app.add_middleware(RequestLog, on_request=on_request)
    app.add_middleware(SecurityHeaders)
    return limiter


POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # a dropped image is shown from memory
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No script or style but files of the service's own: none inline, none from elsewhere."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SET = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_NAMES = frozenset(name for name, _ in _SET)
_NO_STORE = (b"cache-control", b"no-store")
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """ASGI middleware: sets `HEADERS` on every answer, `Cache-Control: no-store` where it has none, and HSTS over https."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [one for one in message.get("headers", ()) if one[0].lower() not in _NAMES]
                if not any(name.lower() == _NO_STORE[0] for name, _ in own):
                    own.append(_NO_STORE)
                if scope["scheme"] == "https":
                    own.append(_HTTPS_ONLY)
                message["headers"] = own + _SET
            await send(message)

        await self._app(scope, receive, send_with_headers)
