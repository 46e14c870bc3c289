"""Hosts that images are fetched from: a table of hostile URLs, redirects, names that change, certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.inputs.images.image_fetcher import FetchLimits, ImageFetcher
from core.inputs.images.image_urls import Address, ImageUrlError
from tests.core_tests.inputs.images.hostile import URLS, resolve
from tests.core_tests.inputs.images.image_servers import (
    LIMITS,
    LOOPBACK,
    fetch,
    fetcher_for,
    here,
    moved,
    refusal_kind,
    reply,
    running,
)


def test_there_are_enough_hostile_urls() -> None:
    assert len(set(URLS)) == len(URLS) >= 100


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_every_hostile_url_is_refused_before_anything_is_connected_to(url: str) -> None:
    assert refusal_kind(ImageFetcher(FetchLimits(image_hosts=("*",)), resolve=resolve), url) in ("url", "host")


def test_nothing_is_fetched_unless_hosts_are_named() -> None:
    assert fetch({"/a": reply()}, limits=FetchLimits())[0] == "off"


@pytest.mark.parametrize(("pattern", "answer"), [("*.example.com", b"picture"), ("shop.example.com", "host")])
def test_only_named_hosts_are_fetched_from(pattern: str, answer: bytes | str) -> None:
    found, server = fetch({"/a": reply()}, limits=LIMITS.model_copy(update={"image_hosts": (pattern,)}))
    assert (found, len(server.connections)) == (answer, int(answer == b"picture"))


def test_refused_networks_are_not_connected_to() -> None:
    limits = FetchLimits(image_hosts=("*",), refused_networks=("93.184.0.0/16",))  # type: ignore[arg-type]
    assert refusal_kind(ImageFetcher(limits, resolve=resolve), "http://cdn.example.com/a.jpg") == "host"


def test_this_machine_is_refused_by_the_rules_that_are_the_default() -> None:
    found, server = fetch({"/a": reply()}, permits=None)
    assert (found, len(server.connections)) == ("host", 0)


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


async def redirecting_resolver(host: str) -> Sequence[Address]:
    """As `here`, but that the loopback name of the table is a second address of this machine, which no rule permits."""
    return [ip_address("127.0.0.2")] if host == "loop.example.com" else await here(host)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/b", "http://169.254.169.254:{port}/", "http://[::1]:{port}/b", "http://inside.example.com:{port}/b",
     "http://both.example.com:{port}/b", "//loop.example.com:{port}/b", "http://2130706433:{port}/b", "file:///etc/passwd",
     "http://cdn.example.com:22/b", "http://x@cdn.example.com:{port}/b", "gopher://127.0.0.1:{port}/b", "http://nowhere.example.com:{port}/"],
)  # fmt: skip
def test_redirects_inside_are_refused(location: str, status: str) -> None:
    found, server = fetch({"/a": moved(location, status), "/b": reply(b"secret")}, resolve=redirecting_resolver)
    assert found in ("url", "host")
    assert len(server.connections) == 1


def test_a_redirect_to_a_host_that_was_not_named_is_refused() -> None:
    limits = LIMITS.model_copy(update={"image_hosts": ("cdn.example.com",)})
    assert fetch({"/a": moved("http://other.example.com/b")}, limits=limits)[0] in ("url", "host")
    assert fetch({"/a": moved("//other.example.com:{0}/b")}, limits=limits)[0] == "url"


def test_redirects_end() -> None:
    found, server = fetch({"/a": moved("/a")}, limits=LIMITS.model_copy(update={"redirects": 2}))
    assert (found, len(server.connections)) == ("redirects", 3)


def test_a_name_that_changes_after_the_check_changes_nothing() -> None:
    """DNS rebinding: the first answer is permitted, every later one leads inside."""
    asked = 0

    async def rebinding(host: str) -> Sequence[Address]:
        nonlocal asked
        asked += 1
        return [LOOPBACK] if asked == 1 else [ip_address("10.0.0.7")]

    found, server = fetch({"/a": reply()}, resolve=rebinding)
    assert (found, asked, len(server.connections)) == (b"picture", 1, 1)
    asked = 0
    assert fetch({"/a": moved("/b"), "/b": reply()}, resolve=rebinding)[0] == "host"


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async def two(host: str) -> Sequence[Address]:
        return [ip_address("127.0.0.9"), LOOPBACK]

    assert fetch({"/a": reply()}, resolve=two, permits=lambda one: one.is_loopback)[0] == b"picture"


def test_names_that_never_resolve_are_left() -> None:
    async def never(host: str) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    assert fetch({}, limits=LIMITS.model_copy(update={"fetch_seconds": 0.1}), resolve=never)[0] == "time"


def test_messages_hold_no_addresses() -> None:
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
    assert refusal_kind(ImageFetcher(LIMITS), "http://cdn.example.com/a.jpg") == "host"
    assert asked == ["cdn.example.com."]
