"""Small applications and conversations that the tests of the middlewares share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes of the body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def scope_of(path: str = "/predict", client: tuple[str, int] | None = ("127.0.0.1", 5000), **headers: str) -> Scope:
    """A POST; of the headers' names, `_` stands for `-`."""
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": raw, "client": client, "server": ("127.0.0.1", 8000),
    }  # fmt: skip


def converse(
    app: ASGIApp, scope: Scope, parts: Iterable[bytes] = (b"",), *, ends: bool = True
) -> tuple[int, dict[str, str], bytes]:
    """Sends the parts of a body; with `ends` false, the last is not the last and nothing more ever comes.

    Returns status, headers and body of the answer; status 0 where there was none.
    """
    waiting: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting[-1]["more_body"] = not ends
    sent: list[Any] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    if not sent:
        return 0, {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])
