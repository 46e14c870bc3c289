"""What a refused or failed request is answered: problem+json (RFC 9457) with the request's id, and nothing from inside."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, also in the threads that work for it; "" outside requests."""


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """An answer of RFC 9457; `detail` must be fit for strangers. `members`: further members of the object."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "request_id": request_id.get(), **members}
    if detail:
        content["detail"] = detail
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


async def answer_http_exception(_: Request, error: Exception) -> JSONResponse:
    """The handler of what FastAPI and routes raise with a status. Its detail goes out where it is a sentence."""
    assert isinstance(error, HTTPException)
    detail = error.detail if isinstance(error.detail, str) else ""
    return problem(
        error.status_code, "" if detail == HTTPStatus(error.status_code).phrase else detail, headers=error.headers
    )


async def answer_validation_error(_: Request, error: Exception) -> JSONResponse:
    """The handler of bodies that the schema does not allow: where and why, without sending the input back."""
    assert isinstance(error, RequestValidationError)
    faults = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request does not fit the schema", errors=faults)
