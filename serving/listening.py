"""Listening sockets of the service, bound before the bundle is loaded."""

from __future__ import annotations

import errno
import socket
from typing import Any

from core.errors import UserError

_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}
"""An address that this machine does not have, such as IPv6's where it is switched off."""


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each of the host's addresses; connections are refused until `listen`. Port 0 is any one that is free.

    Raises UserError for a port that is taken or not allowed, and for a host that is not this machine.
    """
    found: list[socket.socket] = []
    for family, address in _addresses(host, port):
        one = _socket(family)
        if one is None:
            continue
        try:
            one.bind((address[0], found[0].getsockname()[1] if found else port, *address[2:]))
        except OSError as error:
            one.close()
            if error.errno in _ABSENT:
                continue
            for each in found:
                each.close()
            raise _refusal(error, host, port) from None
        found.append(one)
    if not found:
        raise UserError(
            f"--host {host} is no address of this machine",
            code="listen-foreign-host",
            hint="name one that it has; 127.0.0.1 is for itself alone, 0.0.0.0 for all",
        )
    return found


def listen(sockets: list[socket.socket], backlog: int) -> None:
    """Lets callers in. Raises UserError where another service, which was bound at the same time, was first."""
    for each in sockets:
        try:
            each.listen(backlog)
        except OSError as error:
            raise _refusal(error, *each.getsockname()[:2]) from None


def url(host: str, sockets: list[socket.socket]) -> str:
    """URL of the service for a browser on this machine."""
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}/"


def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host {host} cannot be looked up: {error}",
            code="listen-host-unknown",
            hint="name an address of this machine, such as 127.0.0.1",
        ) from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _socket(family: int) -> socket.socket | None:
    """None where this machine has no such addresses."""
    try:
        # TCP by name: asyncio sends small answers at once only on connections of such sockets, others wait 40 ms for more.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last service may still be closing
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4's have a socket of their own
    return made


def _refusal(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        hint = "choose another with --port, or end what listens there"
        return UserError(f"port {port} is taken", code="listen-port-taken", hint=hint)
    if error.errno == errno.EACCES:
        hint = "choose one above 1023 with --port"
        return UserError(f"port {port} is not this user's to listen on", code="listen-port-forbidden", hint=hint)
    return error
