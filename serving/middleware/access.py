"""API key authentication; without keys only this machine is served."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import UserError
from serving.middleware.bodies import replay_body
from serving.middleware.key_store import KeyRing
from serving.middleware.problems import problem

OPEN = frozenset({"/health", "/ready"})
"""Paths of probes, which have no keys. The page at `/` and its files are the API's to add: they hold nothing."""

_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_CALLER = "caller"


@dataclass(frozen=True)
class Caller:
    """name: of the key; "" where no keys are asked for. admin: whether bundles may be swapped."""

    name: str
    admin: bool


def caller_of(scope: Scope) -> Caller | None:
    """Caller that `Access` let in; None on open paths and outside requests."""
    return scope.get("state", {}).get(_CALLER)


def admin_only(request: Request) -> None:
    """A FastAPI dependency: 403 for callers whose key is no admin's."""
    caller = caller_of(request.scope)
    if caller is None or not caller.admin:
        raise HTTPException(HTTPStatus.FORBIDDEN, "this takes a key made with --admin")


def check_exposure(host: str, ring: KeyRing | None) -> None:
    """Raises UserError where a service without keys would listen to other machines, or one with keys could let nobody in."""
    if ring is None and not is_loopback(host):
        raise UserError(
            f"without keys the service listens to this machine alone, and {host} is open to others",
            code="keys-needed",
            hint="make a key with python -m serving.keys add NAME, or listen on 127.0.0.1",
        )
    if ring is not None and not len(ring):
        raise UserError(
            "the file of keys holds no valid key",
            code="keys-none-valid",
            hint="make one with python -m serving.keys add NAME",
        )


def is_loopback(host: str) -> bool:
    """True where a host to listen on, or a client's address, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """ASGI middleware: `Authorization: Bearer KEY` with a valid key of the ring, else 401; open paths need none.

    Without a ring callers are this machine's, and the `Host` and `Origin` they send must be too, else 403: a browser on this
    machine would carry requests of any page (DNS rebinding, cross-site requests), a proxy those of the whole internet.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing | None, open_paths: Collection[str] = OPEN) -> None:
        self._app = app
        self._ring = ring
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["path"] in self._open:
            # Callers without a key leave no body in memory: it is not read.
            await self._app(scope, replay_body(b"", receive), send)
            return
        headers = Headers(scope=scope)
        caller = _local(scope, headers) if self._ring is None else _keyed(self._ring, headers)
        if caller is not None:
            scope.setdefault("state", {})[_CALLER] = caller
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = (
            problem(HTTPStatus.FORBIDDEN, "without keys this service answers its own machine alone")
            if self._ring is None
            else problem(HTTPStatus.UNAUTHORIZED, "send a valid key", headers={"WWW-Authenticate": "Bearer"})
        )
        await answer(scope, receive, send)


def _keyed(ring: KeyRing, headers: Headers) -> Caller | None:
    given = headers.getlist("authorization")
    scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    found = ring.find(key.strip()) if scheme.lower() == "bearer" else None
    return None if found is None else Caller(found.name, found.admin)


def _local(scope: Scope, headers: Headers) -> Caller | None:
    client, host, origin = scope.get("client"), headers.get("host", ""), headers.get("origin")
    own_client = client is None or is_loopback(client[0])
    own_page = origin is None or origin in (f"http://{host}", f"https://{host}")
    return Caller("", admin=True) if own_client and own_page and _LOOPBACK_HOST.fullmatch(host) else None
