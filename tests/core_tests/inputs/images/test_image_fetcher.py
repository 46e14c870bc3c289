"""Images behind URLs: real servers on this machine that answer well, or misbehave in every way."""

from __future__ import annotations

import asyncio

import pytest

from core.inputs.images.image_urls import ImageUrlError
from tests.core_tests.inputs.images.image_servers import (
    LIMITS,
    Answer,
    Server,
    fetch,
    fetcher_for,
    refusal_kind,
    reply,
    running,
)


def test_an_image_is_fetched_with_the_name_as_host_and_no_identifying_header() -> None:
    body, server = fetch({"/a?w=1": reply(b"\xff\xd8picture")}, "/a?w=1")
    assert body == b"\xff\xd8picture"
    lines = server.requests[0].lower().split("\r\n")
    assert lines[0] == "get /a?w=1 http/1.1"
    assert f"host: cdn.example.com:{server.port}" in lines
    assert "accept-encoding: identity" in lines and "user-agent: pricestack" in lines
    assert not any(line.startswith(("cookie", "authorization", "referer")) for line in lines)


def test_chunked_images_are_fetched() -> None:
    chunked = reply(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", content_length="", transfer_encoding="chunked")
    assert fetch({"/a": chunked})[0] == b"abcde"


@pytest.mark.parametrize("announced", ["7000", ""])
def test_large_bodies_are_cut(announced: str) -> None:
    assert fetch({"/a": reply(b"x" * 7000, content_length=announced)})[0] == "size"


def test_a_body_without_end_is_cut() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            writer.write(b"x" * 100)
            await writer.drain()

    async def run() -> None:
        async with running({"/a": endless}) as server:
            with pytest.raises(ImageUrlError) as refused:
                await fetcher_for(server).fetch(f"http://cdn.example.com:{server.port}/a")
            assert refused.value.kind == "size"
            await asyncio.wait(server.connections)
            assert len(server.left) == 1, "who writes for ever is hung up on"

    asyncio.run(run())


def dripping(head: bytes, part: bytes) -> Answer:
    """Sends one part every 10 ms for ever: no single read takes long."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)

    return drip


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"", b""),
    ],
    ids=["body", "headers", "answers", "silence"],
)
def test_servers_that_never_finish_are_left(head: bytes, part: bytes) -> None:
    assert fetch({"/a": dripping(head, part)}, limits=LIMITS.model_copy(update={"fetch_seconds": 0.3}))[0] == "time"


@pytest.mark.parametrize(
    "kind", ["text/html", "", "image/svg+xml", "application/json", "application/octet-stream", "image/tiff"]
)
def test_other_types_are_refused(kind: str) -> None:
    assert fetch({"/a": reply(content_type=kind)})[0] == "type"


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG", "image/webp; charset=binary"])
def test_types_of_images_are_taken(kind: str) -> None:
    assert fetch({"/a": reply(content_type=kind)})[0] == b"picture"


def test_packed_bodies_are_refused() -> None:
    assert fetch({"/a": reply(content_encoding="gzip")})[0] == "type"


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal", "204 No Content", "206 Partial", "302 Found"])
def test_other_answers_are_refused(status: str) -> None:
    assert fetch({"/a": reply(b"", status)})[0] == "status"


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", b"HTTP/1.1 302 Found\r\nlocation: \xff\xfe\r\n\r\n"],
)  # fmt: skip
def test_servers_that_make_no_sense_are_refused(raw: bytes) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    assert fetch({"/a": write})[0] in ("network", "url")


def test_a_closed_port_is_a_network_error() -> None:
    async def run() -> Server:
        async with running({}) as server:
            pass
        return server

    server = asyncio.run(run())
    assert refusal_kind(fetcher_for(server), f"http://cdn.example.com:{server.port}/a") == "network"


def test_only_so_many_are_fetched_at_once() -> None:
    async def run() -> None:
        free, waiting, most = asyncio.Event(), 0, 0

        async def wait(writer: asyncio.StreamWriter) -> None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            if most == 2:
                free.set()
            await free.wait()
            waiting -= 1
            await reply()(writer)

        async with running({"/a": wait}) as server:
            fetcher = fetcher_for(server, LIMITS.model_copy(update={"fetches": 2}))
            url = f"http://cdn.example.com:{server.port}/a"
            assert await asyncio.gather(*(fetcher.fetch(url) for _ in range(6))) == [b"picture"] * 6
        assert most == 2

    asyncio.run(run())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch({"/a": reply()})[0] == b"picture"
