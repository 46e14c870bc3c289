"""Error responses: problem+json (RFC 9457) with the request id, nothing internal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
_SHOWN = 20

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, also in the threads that work for it; "" outside requests."""


class _Problem(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """In ASCII: names that callers sent may hold half a surrogate pair, which no UTF-8 can."""
        return json.dumps(content).encode("ascii")


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """An answer of RFC 9457; `detail` must be fit for callers. `members`: further members of the object."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "request_id": request_id.get(), **members}
    if detail:
        content["detail"] = detail
    return _Problem(content, status, headers)


async def answer_http_exception(_: Request, error: Exception) -> JSONResponse:
    """The handler of what FastAPI and routes raise with a status. Its detail goes out where it is a sentence."""
    assert isinstance(error, HTTPException)
    detail = error.detail if isinstance(error.detail, str) else ""
    return problem(
        error.status_code, "" if detail == HTTPStatus(error.status_code).phrase else detail, headers=error.headers
    )


async def answer_validation_error(_: Request, error: Exception) -> JSONResponse:
    """The handler of what the schema does not allow: where and why, at most 20 places, without sending the input back."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    shown = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in found[:_SHOWN]]
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"the request does not fit the schema in {len(found)} place{'' if len(found) == 1 else 's'}",
        errors=shown,
    )
