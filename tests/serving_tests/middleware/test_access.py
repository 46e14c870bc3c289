"""Access: with keys, callers who send one; without, this machine and none of the pages that its browsers show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from serving.middleware.access import Access, admin_only, caller_of, check_exposure
from serving.middleware.key_store import KeyRing, add_key, revoke_key
from tests.errors import refused
from tests.serving_tests.asgi_toys import converse, scope_of


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    caller = caller_of(scope)
    await PlainTextResponse(f"{caller.name}/{caller.admin}" if caller else "nobody")(scope, receive, send)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_valid_key_gets_in_under_its_name(path: Path) -> None:
    secret, boss = add_key(path, "shop"), add_key(path, "boss", admin=True)
    app = Access(who, KeyRing(path))
    assert converse(app, scope_of(authorization=f"Bearer {secret}"))[::2] == (200, b"shop/False")
    assert converse(app, scope_of(authorization=f"bearer {boss}", client=None))[::2] == (200, b"boss/True")
    revoke_key(path, "shop")
    assert converse(app, scope_of(authorization=f"Bearer {secret}"))[0] == 401


def test_everything_else_is_answered_401(path: Path) -> None:
    secret = add_key(path, "shop")
    app = Access(who, KeyRing(path))
    bearers = [f"Bearer {key}".rstrip() for key in ("", f"{secret}x", f"{secret} {secret}", "ü")]
    for given in ("", secret, f"Basic {secret}", "Bearer ", *bearers):
        status, headers, body = converse(app, scope_of(authorization=given))
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["detail"] == "send a valid key"
    assert converse(app, scope_of())[0] == 401
    twice = scope_of(authorization=f"Bearer {secret}")
    twice["headers"] *= 2
    assert converse(app, twice)[0] == 401


def test_open_paths_need_no_key_and_are_exact(path: Path) -> None:
    add_key(path, "shop")
    app = Access(who, KeyRing(path))
    assert converse(app, scope_of("/health"))[::2] == (200, b"nobody")
    for other in ("/health/", "/healthy", "//health", "/HEALTH", "/metrics", "/"):
        assert converse(app, scope_of(other))[0] == 401


LOCAL = {"host": "127.0.0.1:8000"}


def test_without_keys_this_machine_gets_in() -> None:
    app = Access(who, None)
    for host in ("127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"):
        assert converse(app, scope_of(host=host))[::2] == (200, b"/True")
    assert converse(app, scope_of(client=("::1", 1), origin="http://127.0.0.1:8000", **LOCAL))[0] == 200


HOSTS = ("", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "127.0.0.1@evil", "0.0.0.0")
ORIGINS = ("null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:9000", "http://localhost:8000")


@pytest.mark.parametrize(
    "scope",
    [
        *(scope_of(host=host) for host in HOSTS),
        *(scope_of(origin=origin, **LOCAL) for origin in ORIGINS),
        scope_of(client=("10.0.0.7", 1), **LOCAL),
    ],
    ids=[*(f"host {host}" for host in HOSTS), *(f"origin {origin}" for origin in ORIGINS), "client"],
)
def test_without_keys_other_hosts_pages_and_machines_are_refused(scope: Scope) -> None:
    """Hosts: DNS rebinding, where a page's name leads to 127.0.0.1 by now."""
    status, _, body = converse(Access(who, None), scope)
    assert (status, json.loads(body)["detail"]) == (403, "without keys this service answers its own machine alone")


def test_admins_alone_pass_the_dependency(path: Path) -> None:
    keys = {"shop": add_key(path, "shop"), "boss": add_key(path, "boss", admin=True)}

    async def swap(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            admin_only(Request(scope))
            await PlainTextResponse("swapped")(scope, receive, send)
        except HTTPException as error:
            await PlainTextResponse("no", error.status_code)(scope, receive, send)

    app = Access(swap, KeyRing(path))
    assert converse(app, scope_of(authorization=f"Bearer {keys['boss']}"))[0] == 200
    assert converse(app, scope_of(authorization=f"Bearer {keys['shop']}"))[0] == 403
    assert converse(app, scope_of("/health"))[0] == 403


def test_a_service_without_keys_does_not_listen_to_others(path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, None)
    for host in ("0.0.0.0", "::", "10.0.0.7", "service.example"):
        with refused("keys-needed"):
            check_exposure(host, None)
    with refused("keys-none-valid"):
        check_exposure("0.0.0.0", KeyRing(path))
    add_key(path, "shop")
    check_exposure("0.0.0.0", KeyRing(path))
