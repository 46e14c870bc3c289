"""Puts all guards in front of an application, in the one order in which they make sense."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.guard.access import OPEN, Access
from serving.guard.bodies import BodyLimits
from serving.guard.headers import SecurityHeaders
from serving.guard.keys import KeyRing
from serving.guard.limits import Limits
from serving.guard.logs import RequestLog
from serving.guard.problems import answer_http_exception, answer_validation_error
from serving.guard.rate import RateLimit, RateLimiter


def protect(app: FastAPI, limits: Limits, ring: KeyRing | None, *, open_paths: Collection[str] = OPEN) -> RateLimiter:
    """Guards the application; returns its rate limiter, from which routes may take more (for a batch's rows).

    Headers first, so that refusals carry them; then id and log; then who it is, before anything of a stranger's is read; then how
    often; then the body.
    """
    limiter = RateLimiter(limits)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    # The last one added is the first that sees a request.
    app.add_middleware(BodyLimits, limits=limits)
    app.add_middleware(RateLimit, limiter=limiter)
    app.add_middleware(Access, ring=ring, open_paths=open_paths)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders)
    return limiter
