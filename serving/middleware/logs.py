"""Structured JSON logs with request ids; texts, secrets, paths and stack traces are redacted."""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.formatting import HIDDEN, redact
from serving.middleware.access import caller_of
from serving.middleware.problems import problem, request_id

HEADER = "X-Request-ID"
TEXT_FIELDS = frozenset({"text", "texts", "catalog_content"})
"""Fields of records (`extra=`) that hold what callers sent; written only where texts are asked for."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PROJECT = Path(__file__).resolve().parents[2]
_LONGEST_PATH = 200
_LEFT = 499
"""The status that nginx made customary for clients who left before they were answered."""

_log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """A record as JSON: time (UTC), level, logger, message, request_id, the record's `extra=` fields, each text redacted.

    Of an exception, its type and the line that raised it (`serving.bundle.predictor:120`); its message may
    hold what a caller sent, and is written only with `texts`.
    """

    def __init__(self, *, texts: bool = False) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        head = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line: dict[str, Any] = {"message": record.getMessage()}
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line |= self._error(record.exc_info[1])
        if not self._texts:
            line |= dict.fromkeys(TEXT_FIELDS & line.keys(), HIDDEN)
        return json.dumps(head | _redacted(line))

    def _error(self, error: BaseException) -> dict[str, str]:
        line = {"error": type(error).__name__, "raised": _place(error.__traceback__)}
        return {**line, "error_message": str(error)} if self._texts else line


def _redacted(value: Any) -> Any:
    """JSON-ready and redacted, whatever was logged."""
    if isinstance(value, dict):
        return {redact(str(key)): _redacted(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(one) for one in value]
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return redact(str(value))


def _place(traceback: TracebackType | None) -> str:
    """`module:line` where the exception left the project's own code; "" where it never was in it."""
    place = ""
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        if file.is_relative_to(_PROJECT) and "site-packages" not in file.parts:
            place = f"{'.'.join(file.relative_to(_PROJECT).with_suffix('').parts)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def logging_config(*, texts: bool = False, level: str = "INFO") -> dict[str, Any]:
    """For `logging.config.dictConfig` and uvicorn's `log_config`: all loggers write JSON to the standard error.

    uvicorn's lines about requests are left out, as `RequestLog` writes one for each, without queries.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter, "texts": texts}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {"uvicorn.access": {"level": "CRITICAL", "propagate": False}, "httpcore2": {"level": "WARNING"},
                    "httpx2": {"level": "WARNING"}},
    }  # fmt: skip


OnRequest = Callable[[str, int, float], None]
"""Called with each answered request: the path of its route (one for all that have none), its status and its seconds."""


class RequestLog:
    """ASGI middleware: gives each request an id, logs it when it is answered, and answers what fails with 500 and the id.

    The id is the caller's `X-Request-ID` where that is a plain word, else a new one; it is in the answer's header, in problems
    and in every line that is logged meanwhile. An answer that fails in the middle cannot become a 500; it is cut off.
    """

    def __init__(self, app: ASGIApp, on_request: OnRequest = lambda path, status, seconds: None) -> None:
        self._app, self._on_request = app, on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        token = request_id.set(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        try:
            await self._logged(scope, receive, send)
        finally:
            request_id.reset(token)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id.get()
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # noqa: BLE001  # unexpected: logged here, and the caller gets no more than its id
            _log.exception("the request failed")
            if not status:
                await problem(HTTPStatus.INTERNAL_SERVER_ERROR)(scope, receive, send_with_id)
        finally:
            seconds, caller = time.monotonic() - began, caller_of(scope)
            self._on_request(getattr(scope.get("route"), "path", "(none)"), status or _LEFT, seconds)
            _log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"][:_LONGEST_PATH],
                    "status": status or _LEFT,
                    "ms": round(1000 * seconds, 2),
                    "key": caller.name if caller else "",
                },
            )
