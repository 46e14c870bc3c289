"""Logs as JSON: ids, no texts unless asked, no secrets, no traces, no paths."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from core.formatting import KEY_PREFIX, redact
from serving.common.limits import Limits
from serving.middleware.bodies import BodyLimits
from serving.middleware.logs import JsonFormatter, RequestLog, logging_config
from serving.middleware.problems import request_id
from tests.serving_tests.asgi_toys import converse, echo, scope_of

KEY = KEY_PREFIX + "x" * 43


def logged(
    message: str, *args: object, error: Exception | None = None, texts: bool = False, **fields: object
) -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("serving.x", logging.INFO, "/home/me/secret.py", 1, message, args, info)
    record.__dict__.update(fields)
    line = JsonFormatter(texts=texts).format(record)
    assert "\n" not in line
    return json.loads(line)


@pytest.mark.parametrize(
    ("text", "hidden", "left"),
    [
        (f"the key {KEY} came", KEY, "the key *** came"),
        ("Authorization: Bearer abcdef123456", "abcdef", ""),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz", ""),
        ("Authorization: Negotiate YII=abc, x", "YII", "Authorization: ***"),
        ("bearer abc.def-ghi", "abc.def", "bearer ***"),
        ("X-API-Key=hunter2 then more", "hunter2", "then more"),
        ('{"password": "hun ter2", "a": 1}', "ter2", '"a": 1'),
        ("Set-Cookie: session=abc; x", "session=abc", ""),
        ("GET http://user:hunter2@cdn.example.com/a.jpg", "hunter2", "http://cdn.example.com/a.jpg"),
        ("https://cdn.example.com/a.jpg?X-Amz-Signature=abc&b=c done", "abc", "https://cdn.example.com/a.jpg?*** done"),
        ("http://a.example/x?b=http://c.example/?d=e#f", "d=e", "http://a.example/x?***"),
        ("postgresql://me:hunter2@db.example:5432/x", "hunter2", "postgresql://db.example:5432/x"),
    ],
)
def test_secrets_are_taken_out(text: str, hidden: str, left: str) -> None:
    assert hidden not in redact(text)
    assert left in redact(text)


@pytest.mark.parametrize(
    "text", ["", "12 tokens per pass", "what? nothing", "a@b.example", "http://cdn.example.com/a.jpg", "path /predict"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.text(alphabet="abcXYZ019-_", min_size=20, max_size=43), st.text())
def test_no_key_survives(before: str, secret: str, after: str) -> None:
    assert KEY_PREFIX + secret not in redact(f"{before}{KEY_PREFIX}{secret}{after}")


PARTS = ("a://", "a.", "http://a?", 'token="', "bearer ", "token = ", "://@", "cookie:", 'cookie="', "authorization :")


@pytest.mark.parametrize("part", [*PARTS, "x" * 10])
def test_long_texts_are_redacted_in_linear_time(part: str) -> None:
    """Seconds, if any of the patterns went back over what it has seen: the suite's time limit is the judge."""
    redact(part * (200_000 // len(part)))


def test_a_line_has_the_records_fields() -> None:
    token = request_id.set("abc")
    try:
        line = logged("took %d of %s", 3, "four", rows=5, ok=True, nothing=None, share=0.5, names=("a", {"b": 1}))
    finally:
        request_id.reset(token)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info", "logger": "serving.x", "message": "took 3 of four", "request_id": "abc", "rows": 5, "ok": True,
        "nothing": None, "share": 0.5, "names": ["a", {"b": 1}],
    }  # fmt: skip
    assert "request_id" not in logged("outside")


def test_fields_are_redacted_however_deep() -> None:
    line = logged("x", headers={"k": ["Bearer abcdef123456", {KEY: 1}]}, url="http://u:p@a.example/?q=secret")
    assert "abcdef" not in str(line) and KEY not in str(line) and "secret" not in str(line) and "u:p" not in str(line)


def test_values_without_a_json_form_are_texts() -> None:
    line = logged("half \ud800", price=float("nan"), most=float("inf"), path=ValueError("odd"))
    assert (line["message"], line["price"], line["most"], line["path"]) == ("half \ud800", "nan", "inf", "odd")


def test_texts_are_written_only_where_asked() -> None:
    assert logged("x", catalog_content="organic tea", text="tea", rows=1)["catalog_content"] == "***"
    assert logged("x", catalog_content="organic tea", text="tea")["text"] == "***"
    assert logged("x", catalog_content="organic tea", texts=True)["catalog_content"] == "organic tea"


def caught() -> Exception:
    """Error raised by a function of the project below one of Python's."""
    try:
        BodyLimits(echo, Limits())._check_json(b"\0")
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError


def test_exceptions_leave_type_and_place_alone() -> None:
    line = logged("failed", error=caught())
    assert line["error"] == "_Refused" and line["raised"].startswith("serving.middleware.bodies:")
    assert not {"error_message", "exc_info", "exc_text", "stack_info", "pathname"} & line.keys()
    assert "/" not in str(line) and "UTF-8" not in str(line) and "Traceback" not in str(line)
    assert logged("failed", error=caught(), texts=True)["error_message"] == "the body is not JSON in UTF-8"
    assert logged("failed", error=ValueError("organic tea"))["raised"] == ""


@pytest.mark.usefixtures("own_logging")
def test_all_loggers_write_json(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(logging_config())
    logging.getLogger().handlers[0].stream = sys.stderr  # type: ignore[attr-defined]
    logging.getLogger("uvicorn.error").info("started on %s", "http://127.0.0.1:8000/?a=b")
    logging.getLogger("uvicorn.access").info("GET /?token=secret")
    logging.getLogger("httpx2").info("GET http://cdn.example.com/?token=secret")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "started on http://127.0.0.1:8000/?***"


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError(f"organic tea {KEY} /etc/passwd")


async def failing_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ValueError("late")


def test_requests_are_logged_without_their_queries(caplog: pytest.LogCaptureFixture) -> None:
    scope = scope_of("/predict" + "x" * 500, x_request_id="mine-1")
    scope["query_string"] = b"token=secret"
    with caplog.at_level(logging.INFO):
        status, headers, _ = converse(RequestLog(echo), scope)
    assert (status, headers["x-request-id"]) == (200, "mine-1")
    (record,) = caplog.records
    fields = record.__dict__
    assert (fields["method"], fields["status"], fields["key"], len(fields["path"])) == ("POST", 200, "", 200)
    assert fields["ms"] >= 0 and "secret" not in str(fields)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\nb", '"}', "ü"])
def test_odd_ids_are_replaced(given: str) -> None:
    _, headers, _ = converse(RequestLog(echo), scope_of(x_request_id=given))
    assert len(headers["x-request-id"]) == 32 and headers["x-request-id"].isalnum()


def test_failures_are_answered_with_the_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = converse(RequestLog(failing), scope_of(x_request_id="mine-2"))
    assert (status, headers["content-type"], headers["x-request-id"]) == (500, "application/problem+json", "mine-2")
    assert json.loads(body) == {"title": "Internal Server Error", "status": 500, "request_id": "mine-2"}
    failed = next(record for record in caplog.records if record.exc_info)
    line = JsonFormatter().format(failed)
    assert json.loads(line)["error"] == "ValueError"
    assert "tea" not in line and KEY not in line and "passwd" not in line
    shown = JsonFormatter(texts=True).format(failed)
    assert "tea" in shown and KEY not in shown


def test_an_answer_that_fails_in_the_middle_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    status, headers, body = converse(RequestLog(failing_late), scope_of())
    assert (status, body) == (200, b"") and "x-request-id" in headers
    assert any(record.exc_info for record in caplog.records)


def test_the_id_ends_with_the_request() -> None:
    converse(RequestLog(echo), scope_of())
    assert request_id.get() == ""
