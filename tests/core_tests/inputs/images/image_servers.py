"""Servers of images on this machine with scripted answers, and a fetcher that may connect to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest

from core.inputs.images.image_fetcher import FetchLimits, ImageFetcher
from core.inputs.images.image_urls import Address, ImageUrlError, is_public
from tests.core_tests.inputs.images.hostile import NAMES, resolve

LOOPBACK = ip_address("127.0.0.1")
LIMITS = FetchLimits(image_hosts=("*",), picture_bytes=1000, fetch_seconds=20)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"picture", status: str = "200 OK", **headers: str) -> Answer:
    """An answer that is written at once; its headers are those of a JPEG unless they are given (`_` stands for `-`)."""
    fields = {"content-type": "image/jpeg", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)

    async def write(writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".replace("{port}", str(port)).encode() + body)

    return write


def moved(location: str, status: str = "302 Found") -> Answer:
    """A redirect; `{port}` in its location is the server's own."""
    return reply(b"", status, location=location)


@dataclass
class Server:
    """A server on 127.0.0.1 that sends what `answers` has for a path, and remembers its requests.

    left: how connections ended that the fetcher closed before its answer was written.
    """

    answers: dict[str, Answer]
    port: int = 0
    requests: list[str] = field(default_factory=list)
    connections: list[asyncio.Task[None]] = field(default_factory=list)
    left: list[Exception] = field(default_factory=list)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            await self.answers[head.split()[1]](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError) as left:
            self.left.append(left)
        finally:
            writer.close()


@asynccontextmanager
async def running(answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """The server while the block runs. Afterwards its connections are cut off, and what went wrong in it is raised."""
    server = Server(answers)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.cancel()
        for ended in await asyncio.gather(*server.connections, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def here(host: str) -> Sequence[Address]:
    """Every name leads to this machine, but those of the hostile table."""
    return await resolve(host) if host in NAMES else [LOOPBACK]


def fetcher_for(server: Server, limits: FetchLimits = LIMITS, **changed: Any) -> ImageFetcher:
    """Connects to the server's port and, besides public addresses, to 127.0.0.1 itself: rules of a network of its own."""
    rules: dict[str, Any] = {
        "resolve": here,
        "ports": {server.port},
        "permits": lambda one: one == LOOPBACK or is_public(one),
    }
    return ImageFetcher(limits, **(rules | changed))


def refusal_kind(fetcher: ImageFetcher, url: str) -> str:
    """The kind of error with which the fetcher refuses a URL."""
    with pytest.raises(ImageUrlError) as refused:
        asyncio.run(fetcher.fetch(url))
    return refused.value.kind


def fetch(
    answers: dict[str, Answer], path: str = "/a", limits: FetchLimits = LIMITS, **changed: Any
) -> tuple[bytes | str, Server]:
    """The image, or the kind of refusal. Nobody may leave a server whose image is taken."""

    async def run() -> tuple[bytes | str, Server]:
        async with running(answers) as server:
            url = f"http://cdn.example.com:{server.port}{path}"
            try:
                image = await fetcher_for(server, limits, **changed).fetch(url)
            except ImageUrlError as refused:
                return refused.kind, server
            assert server.left == []
            return image, server

    return asyncio.run(run())
