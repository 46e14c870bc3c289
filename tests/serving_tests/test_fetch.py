"""Pictures behind URLs: a table of hostile URLs, and real servers on this machine that misbehave in every way."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.guard.addresses import Address, is_public
from serving.guard.fetch import ImageFetcher
from serving.guard.limits import Limits
from serving.guard.urls import ImageUrlError
from tests.serving_tests.hostile import NAMES, URLS, resolve

LOOPBACK = ip_address("127.0.0.1")
LIMITS = Limits(image_hosts=("*",), picture_bytes=1000, fetch_seconds=20)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"picture", status: str = "200 OK", **headers: str) -> Answer:
    """An answer that is written at once; its headers are those of a JPEG unless they say otherwise (`_` stands for `-`)."""
    fields = {"content-type": "image/jpeg", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    return write


@dataclass
class Server:
    """A server on 127.0.0.1 that says what `answers` has for a path, and remembers what it was asked."""

    answers: dict[str, Answer]
    port: int = 0
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            await self.answers[head.split()[1]](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the fetcher has had enough, which is what most of these tests are about
        finally:
            writer.close()


@asynccontextmanager
async def running(answers: dict[str, Answer], tls: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
    server = Server(answers)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def here(host: str) -> Sequence[Address]:
    """Every name leads to this machine, but those of the hostile table."""
    return await resolve(host) if host in NAMES else [LOOPBACK]


def fetcher_for(server: Server, limits: Limits = LIMITS, **changed: Any) -> ImageFetcher:
    """Connects to the server's port and, besides public addresses, to 127.0.0.1 itself: rules of a network of its own."""
    rules: dict[str, Any] = {
        "resolve": here,
        "ports": {server.port},
        "permits": lambda one: one == LOOPBACK or is_public(one),
    }
    return ImageFetcher(limits, **(rules | changed))


def fetch(
    answers: dict[str, Answer], path: str = "/a", limits: Limits = LIMITS, **changed: Any
) -> tuple[bytes | str, Server]:
    """The picture, or the kind of refusal."""

    async def run() -> tuple[bytes | str, Server]:
        async with running(answers) as server:
            try:
                url = f"http://cdn.example.com:{server.port}{path}"
                return await fetcher_for(server, limits, **changed).fetch(url), server
            except ImageUrlError as refused:
                return refused.kind, server

    return asyncio.run(run())


def test_there_are_enough_hostile_urls() -> None:
    assert len(set(URLS)) == len(URLS) >= 100


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_every_hostile_url_is_refused_before_anything_is_connected_to(url: str) -> None:
    fetcher = ImageFetcher(Limits(image_hosts=("*",)), resolve=resolve)
    with pytest.raises(ImageUrlError) as refused:
        asyncio.run(fetcher.fetch(url))
    assert refused.value.kind in ("url", "host")


def test_a_picture_is_fetched_with_the_name_as_host_and_nothing_that_tells_of_us() -> None:
    body, server = fetch({"/a?w=1": reply(b"\xff\xd8picture")}, "/a?w=1")
    assert body == b"\xff\xd8picture"
    lines = server.requests[0].lower().split("\r\n")
    assert lines[0] == "get /a?w=1 http/1.1"
    assert f"host: cdn.example.com:{server.port}" in lines
    assert "accept-encoding: identity" in lines and "user-agent: pricestack" in lines
    assert not any(line.startswith(("cookie", "authorization", "referer")) for line in lines)


def test_chunked_pictures_are_fetched() -> None:
    chunked = reply(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", content_length="", transfer_encoding="chunked")
    assert fetch({"/a": chunked})[0] == b"abcde"


def test_nothing_is_fetched_unless_hosts_are_named() -> None:
    assert fetch({"/a": reply()}, limits=Limits())[0] == "off"


@pytest.mark.parametrize(("pattern", "answer"), [("*.example.com", b"picture"), ("shop.example.com", "host")])
def test_only_named_hosts_are_fetched_from(pattern: str, answer: bytes | str) -> None:
    found, server = fetch({"/a": reply()}, limits=LIMITS.model_copy(update={"image_hosts": (pattern,)}))
    assert (found, server.connections) == (answer, int(answer == b"picture"))


def test_refused_networks_are_not_connected_to() -> None:
    limits = Limits(image_hosts=("*",), refused_networks=("93.184.0.0/16",))  # type: ignore[arg-type]
    with pytest.raises(ImageUrlError) as refused:
        asyncio.run(ImageFetcher(limits, resolve=resolve).fetch("http://cdn.example.com/a.jpg"))
    assert refused.value.kind == "host"


def test_this_machine_is_refused_by_the_rules_that_are_the_default() -> None:
    async def run() -> int:
        async with running({"/a": reply()}) as server:
            fetcher = ImageFetcher(LIMITS, resolve=here, ports={server.port})
            with pytest.raises(ImageUrlError) as refused:
                await fetcher.fetch(f"http://cdn.example.com:{server.port}/a")
            assert refused.value.kind == "host"
            return server.connections

    assert asyncio.run(run()) == 0


def moved(location: str, status: str = "302 Found") -> Answer:
    return reply(b"", status, location=location)


def test_redirects_are_followed_to_names_that_may_be_fetched_from() -> None:
    async def run() -> None:
        async with running({"/b": reply(b"moved here")}) as target:
            first = {"/a": moved(f"http://img.example.com:{target.port}/x"), "/c": moved("a")}
            target.answers["/x"] = moved("/b", "308 Permanent Redirect")
            async with running(first) as server:
                fetcher = fetcher_for(server, ports={server.port, target.port})
                assert await fetcher.fetch(f"http://cdn.example.com:{server.port}/c") == b"moved here"
                assert f"host: img.example.com:{target.port}" in target.requests[1].lower()

    asyncio.run(run())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/b", "http://169.254.169.254:{port}/", "http://[::1]:{port}/b", "http://inside.example.com:{port}/b",
     "http://both.example.com:{port}/b", "//loop.example.com:{port}/b", "http://2130706433:{port}/b", "file:///etc/passwd",
     "http://cdn.example.com:22/b", "http://x@cdn.example.com:{port}/b", "gopher://127.0.0.1:{port}/b", "http://nowhere.example.com:{port}/"],
)  # fmt: skip
def test_redirects_inside_are_refused(location: str, status: str) -> None:
    async def run() -> int:
        async with running({"/b": reply(b"secret")}) as server:
            server.answers["/a"] = moved(location.format(port=server.port), status)
            rules = {"permits": lambda one: one == LOOPBACK or is_public(one)}
            fetcher = fetcher_for(server, resolve=redirecting_resolver, **rules)
            with pytest.raises(ImageUrlError) as refused:
                await fetcher.fetch(f"http://cdn.example.com:{server.port}/a")
            assert refused.value.kind in ("url", "host")
            return server.connections

    assert asyncio.run(run()) == 1


async def redirecting_resolver(host: str) -> Sequence[Address]:
    """As `here`, but that the loopback name of the table is a second address of this machine, which no rule permits."""
    return [ip_address("127.0.0.2")] if host == "loop.example.com" else await here(host)


def test_a_redirect_to_a_host_that_was_not_named_is_refused() -> None:
    limits = LIMITS.model_copy(update={"image_hosts": ("cdn.example.com",)})
    assert fetch({"/a": moved("http://other.example.com/b")}, limits=limits)[0] in ("url", "host")
    assert fetch({"/a": moved("//other.example.com:{0}/b")}, limits=limits)[0] == "url"


def test_redirects_end() -> None:
    found, server = fetch({"/a": moved("/a")}, limits=LIMITS.model_copy(update={"redirects": 2}))
    assert (found, server.connections) == ("redirects", 3)


def test_a_name_that_changes_after_the_check_changes_nothing() -> None:
    """DNS rebinding: the first answer is permitted, every later one leads inside."""
    asked = 0

    async def rebinding(host: str) -> Sequence[Address]:
        nonlocal asked
        asked += 1
        return [LOOPBACK] if asked == 1 else [ip_address("10.0.0.7")]

    found, server = fetch({"/a": reply()}, resolve=rebinding)
    assert (found, asked, server.connections) == (b"picture", 1, 1)
    asked = 0
    assert fetch({"/a": moved("/b"), "/b": reply()}, resolve=rebinding)[0] == "host"


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async def two(host: str) -> Sequence[Address]:
        return [ip_address("127.0.0.9"), LOOPBACK]

    assert fetch({"/a": reply()}, resolve=two, permits=lambda one: one.is_loopback)[0] == b"picture"


@pytest.mark.parametrize("announced", ["7000", ""])
def test_large_bodies_are_cut(announced: str) -> None:
    assert fetch({"/a": reply(b"x" * 7000, content_length=announced)})[0] == "size"


def test_a_body_without_end_is_cut() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while True:
            writer.write(b"x" * 100)
            await writer.drain()

    assert fetch({"/a": endless})[0] == "size"


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
    await drip(writer, b"x")


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    await drip(writer, b"x")


async def drip_answers(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def silence(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"")


async def drip(writer: asyncio.StreamWriter, part: bytes) -> None:
    """One part every 10 ms for ever: no single read takes long."""
    while not writer.is_closing():
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [drip_body, drip_headers, drip_answers, silence])
def test_servers_that_never_finish_are_left(answer: Answer) -> None:
    assert fetch({"/a": answer}, limits=LIMITS.model_copy(update={"fetch_seconds": 0.3}))[0] == "time"


def test_names_that_never_resolve_are_left() -> None:
    async def never(host: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    assert fetch({}, limits=LIMITS.model_copy(update={"fetch_seconds": 0.1}), resolve=never)[0] == "time"


@pytest.mark.parametrize(
    "kind", ["text/html", "", "image/svg+xml", "application/json", "application/octet-stream", "image/tiff"]
)
def test_other_types_are_refused(kind: str) -> None:
    assert fetch({"/a": reply(content_type=kind)})[0] == "type"


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG", "image/webp; charset=binary"])
def test_types_of_pictures_are_taken(kind: str) -> None:
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


def test_nobody_there_is_refused() -> None:
    async def run() -> None:
        async with running({}) as server:
            pass
        await fetcher_for(server).fetch(f"http://cdn.example.com:{server.port}/a")

    with pytest.raises(ImageUrlError) as refused:
        asyncio.run(run())
    assert refused.value.kind == "network"


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


def test_messages_say_nothing_of_addresses() -> None:
    for host in ("inside.example.com", "nowhere.example.com", "10.0.0.7"):
        with pytest.raises(ImageUrlError) as refused:
            asyncio.run(ImageFetcher(LIMITS, resolve=resolve).fetch(f"http://{host}/?token=secret"))
        assert str(refused.value) == "pictures are not fetched from the image URL's host"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for cdn.example.com, signed by itself, and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cdn.example.com")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cdn.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.mark.parametrize(
    ("host", "trusted", "answer"),
    [
        ("cdn.example.com", True, b"picture"),
        ("other.example.com", True, "network"),
        ("cdn.example.com", False, "network"),
    ],
)
def test_certificates_must_be_for_the_name(certificate: Path, host: str, trusted: bool, answer: bytes | str) -> None:
    offered: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    serving.sni_callback = lambda _, name, __: offered.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate)) if trusted else None

    async def run() -> bytes | str:
        async with running({"/a": reply()}, serving) as server:
            try:
                return await fetcher_for(server, tls=trusting).fetch(f"https://{host}:{server.port}/a")
            except ImageUrlError as refused:
                return refused.kind

    assert asyncio.run(run()) == answer
    assert offered[0] == host


@pytest.mark.parametrize("found", [[(2, 1, 6, "", ("10.0.0.7", 0)), (10, 1, 6, "", ("fe80::1%eth0", 0, 0, 2))], []])
def test_the_systems_resolver_is_asked_for_the_whole_name(monkeypatch: pytest.MonkeyPatch, found: list[object]) -> None:
    asked = []

    def system(host: str, port: None, **_: object) -> list[object]:
        asked.append(host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found

    monkeypatch.setattr(socket, "getaddrinfo", system)
    with pytest.raises(ImageUrlError) as refused:
        asyncio.run(ImageFetcher(LIMITS).fetch("http://cdn.example.com/a.jpg"))
    assert (asked, refused.value.kind) == (["cdn.example.com."], "host")
