"""Listening sockets: bound before anything slow, and refused by code where they cannot be."""

from __future__ import annotations

import asyncio
import socket

import pytest

from core.errors import UserError
from serving.listening import bind, listen, url
from tests.errors import refused

HERE = "127.0.0.1"


def closed(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_connections_are_refused_before_it_listens() -> None:
    sockets = bind(HERE, 0)
    address = sockets[0].getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address).close()
    listen(sockets, 8)
    socket.create_connection(address).close()
    assert url(HERE, sockets) == f"http://127.0.0.1:{address[1]}/"
    closed(sockets)


def test_small_answers_are_sent_at_once() -> None:
    """As a service sends them: asyncio switches Nagle's algorithm off on what such a socket accepts."""

    async def no_delay() -> int:
        found = asyncio.get_running_loop().create_future()

        def came(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            found.set_result(option)
            writer.close()

        (listening,) = bind(HERE, 0)
        async with await asyncio.start_server(came, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.close()
            return int(await found)

    assert asyncio.run(no_delay()) == 1


def test_all_addresses_of_a_host_have_the_same_port() -> None:
    sockets = bind("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    closed(sockets)


def test_a_taken_port_is_refused() -> None:
    with socket.create_server((HERE, 0)) as other:
        port = other.getsockname()[1]
        with refused("listen-port-taken") as error:
            bind(HERE, port)
    assert "--port" in error.value.hint


def test_of_two_that_were_bound_together_one_listens() -> None:
    first = bind(HERE, 0)
    second = bind(HERE, first[0].getsockname()[1])
    listen(first, 8)
    with refused("listen-port-taken"):
        listen(second, 8)
    closed([*first, *second])


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 80])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(UserError) as error:
        bind(host, 0)
    assert error.value.code in {"listen-foreign-host", "listen-host-unknown"} and host in str(error.value)
    assert "127.0.0.1" in error.value.hint


def test_an_address_of_version_6_is_bracketed() -> None:
    sockets = bind(HERE, 0)
    assert url("::1", sockets).startswith("http://[::1]:")
    closed(sockets)
