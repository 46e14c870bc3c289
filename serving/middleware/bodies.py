"""Request body limits: size, arrival time and JSON nesting, checked in middleware before anything is parsed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.common.limits import Limits
from serving.middleware.problems import problem

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, detail: str, *, on_its_way: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.on_its_way = on_its_way


class BodyLimits:
    """ASGI middleware: reads each body within `body_seconds`, then hands it on in one piece.

    More than `form_bytes` of a form, `json_bytes` of anything else, announced or (chunked) arrived, are answered 413, too slow
    ones 408. What is no form counts as JSON: brackets deeper than `json_depth`, or bytes that no JSON has, are answered 400.
    Nothing of such a body is parsed.

    A refused body that is still on its way is dropped as it comes, for `linger_seconds` after the answer: a connection closed
    on unread bytes is reset, and the reset may overtake the answer (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except _Refused as refused:
            answer = problem(refused.status, str(refused), headers={"Connection": "close"})
            await answer(scope, receive, _without_end(send))
            if refused.on_its_way:
                await self._drop_rest(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if body is not None:
            await self._app(scope, replay_body(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None where the client left in the middle of it."""
        form = headers.get("content-type", "").lower().startswith(_FORMS)
        limit = self._limits.form_bytes if form else self._limits.json_bytes
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit, on_its_way=True)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await _whole(receive, limit)
        except TimeoutError:
            seconds = self._limits.body_seconds
            detail = f"the body took longer than {seconds:g} s"
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT, detail, on_its_way=True) from None
        if body and not form:
            self._check_json(body)
        return body

    async def _drop_rest(self, receive: Receive) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                    pass

    def _check_json(self, body: bytes) -> None:
        if b"\0" in body:  # UTF-16 and UTF-32, in which brackets could hide from this check; JSON is UTF-8 (RFC 8259)
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON in UTF-8")
        limit = self._limits.json_depth
        if deeper_than(limit, body):
            raise _Refused(
                HTTPStatus.BAD_REQUEST, f"the body's brackets are nested deeper than {limit}, or do not match"
            )


async def _whole(receive: Receive, limit: int) -> bytes | None:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise _too_large(limit, on_its_way=more)
    return b"".join(parts)


def _too_large(limit: int, *, on_its_way: bool) -> _Refused:
    detail = f"the body has more than {limit:,} bytes"
    return _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, on_its_way=on_its_way)


def _without_end(send: Send) -> Send:
    """Sends an answer whole (its length is in its header), and leaves it to the caller to end it."""

    async def send_open(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    return send_open


def deeper_than(depth: int, body: bytes) -> bool:
    """True where JSON in UTF-8 nests arrays and objects deeper than `depth`, and where brackets have no partner.

    Strings and all but brackets are taken out, then innermost pairs, once for each level: linear, and without a loop in Python
    over the bytes, as bodies are checked on the event loop.
    """
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(depth):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Gives the body as one message; afterwards the server's own, that the client has left."""
    waiting = [body]

    async def receive_body() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_body
