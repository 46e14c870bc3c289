"""Image fetcher (SSRF-safe): public addresses only, bounded in time, bytes and type."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated

import httpx2
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from core.inputs.images.image_urls import (
    PORTS,
    Address,
    ImageUrl,
    ImageUrlError,
    check_pattern,
    is_public,
    matches,
    parse_url,
)
from core.protocols.architecture import Config

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
"""All addresses of a host name; none where it has none."""

TYPES = frozenset(f"image/{kind}" for kind in ("jpeg", "jpg", "pjpeg", "png", "webp", "gif", "bmp", "x-ms-bmp"))
"""Media types of `core.inputs.images.files.FORMATS` without TIFF, in the spellings that servers use."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRIED = 2
_HEADERS = {"User-Agent": "pricestack", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}


class FetchLimits(Config):
    """The bounds of fetching. image_hosts: names that images may be fetched from, `*.example.com` for all below a name, `*` for
    all; with none, nothing is fetched. url_chars: of a URL. fetch_seconds: of one fetch in all: name, redirects, bytes.
    redirects: followed at most. fetches: at the same time; others wait within their own time. refused_networks: addresses that
    are never fetched from, beside all that are not public. picture_bytes: of the file.
    """

    image_hosts: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = ()
    url_chars: PositiveInt = 2048
    fetch_seconds: PositiveFloat = 3.0
    redirects: Annotated[int, Field(ge=0)] = 3
    fetches: PositiveInt = 16
    refused_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    picture_bytes: PositiveInt = 8 * 2**20


class ImageFetcher:
    """Fetches images for one event loop, `limits.fetches` at a time.

    resolve: how names become addresses; the system's resolver if not given. permits: which addresses are connected to; public
    ones outside `limits.refused_networks` if not given. ports: which are connected to. tls: whose certificates are trusted;
    the system's if not given. All four are there for networks with rules of their own, and the defaults are the safe ones.

    Proxies from the environment are not used: behind one, the address of a name is unknown.
    """

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolve: Resolve | None = None,
        permits: Callable[[Address], bool] | None = None,
        ports: Collection[int] = frozenset(PORTS.values()),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._resolve = resolve or _system_resolver(threads=limits.fetches)
        self._permits = permits or partial(is_public, refused=limits.refused_networks)
        self._ports = ports
        self._tls = tls or _system_tls()
        self._slots = asyncio.Semaphore(limits.fetches)

    async def fetch(self, url: str) -> bytes:
        """The bytes of the image, at most `limits.picture_bytes`; what they are shows only when they are decoded.

        Raises ImageUrlError, before anything is looked up where the URL itself is not one that is fetched.
        """
        if not self._limits.image_hosts:
            raise ImageUrlError("off", "this service fetches no image URLs")
        first = self._allowed(parse_url(url, chars=self._limits.url_chars))
        try:
            async with asyncio.timeout(self._limits.fetch_seconds), self._slots:
                return await self._follow(first)
        except TimeoutError:
            seconds = self._limits.fetch_seconds
            raise ImageUrlError("time", f"the image URL took longer than {seconds:g} s") from None

    def _allowed(self, url: ImageUrl) -> ImageUrl:
        if url.port not in self._ports:
            raise ImageUrlError("url", "the image URL's port is not one that pictures are fetched from")
        if not matches(url.host, self._limits.image_hosts):
            raise _no_such_host()
        return url

    async def _follow(self, url: ImageUrl) -> bytes:
        for _ in range(self._limits.redirects + 1):
            answer = await self._request(url)
            if isinstance(answer, bytes):
                return answer
            url = self._allowed(url.join(answer, chars=self._limits.url_chars))
        raise ImageUrlError("redirects", f"the image URL redirects more than {self._limits.redirects} times")

    async def _request(self, url: ImageUrl) -> bytes | str:
        """The image, or where a redirect leads."""
        addresses = [url.host] if not isinstance(url.host, str) else await self._resolve(url.host)
        # One address inside is enough to refuse: who answers with both tries to get in.
        if not addresses or not all(map(self._permits, addresses)):
            raise _no_such_host(unresolved=not addresses)
        try:
            for address in addresses[:_TRIED]:
                try:
                    return await self._request_from(url, address)
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    continue
        except httpx2.HTTPError:
            raise ImageUrlError("network", "the image URL's server broke off or made no sense") from None
        raise ImageUrlError("network", "the image URL's server cannot be reached, or its certificate is not valid")

    async def _request_from(self, url: ImageUrl, address: Address) -> bytes | str:
        """Connects to the address that was checked, not to the name, which might lead elsewhere by now (DNS rebinding).

        The name is what the `Host` header says and the certificate must be for. A client for each request shares no
        connection and no cookie with another.
        """
        pinned = httpx2.URL(scheme=url.scheme, host=str(address), port=url.port, raw_path=url.target.encode("ascii"))
        timeout = httpx2.Timeout(None, connect=self._limits.fetch_seconds / _TRIED)
        async with (
            httpx2.AsyncClient(verify=self._tls, trust_env=False, timeout=timeout) as client,
            client.stream(
                "GET", pinned, headers={**_HEADERS, "Host": url.authority}, extensions={"sni_hostname": str(url.host)}
            ) as response,
        ):
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return response.headers["location"]
            return await self._body(response)

    async def _body(self, response: httpx2.Response) -> bytes:
        if response.status_code != httpx2.codes.OK:
            raise ImageUrlError(
                "status",
                f"the image URL's server answered {response.status_code}",
                status=response.status_code,
                retry_after=response.headers.get("retry-after"),
            )
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in TYPES or response.headers.get("content-encoding", "identity") != "identity":
            raise ImageUrlError("type", "what is behind the image URL is no picture, by its type")
        limit = self._limits.picture_bytes
        too_large = ImageUrlError("size", f"the picture behind the image URL has more than {limit:,} bytes")
        if int(response.headers.get("content-length", 0)) > limit:
            raise too_large
        data = bytearray()
        async for part in response.aiter_raw():
            data += part
            if len(data) > limit:
                raise too_large
        return bytes(data)


def _no_such_host(*, unresolved: bool = False) -> ImageUrlError:
    return ImageUrlError("host", "pictures are not fetched from the image URL's host", unresolved=unresolved)


@cache
def _system_tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


def _system_resolver(*, threads: int) -> Resolve:
    """The system's resolver, in threads of its own: lookups that hang take none that others wait for."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(host: str) -> list[Address]:
        # The dot keeps the system from trying the name below its own domains (`search` in resolv.conf) first.
        look_up = partial(socket.getaddrinfo, f"{host}.", None, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(pool, look_up)
        except (OSError, UnicodeError):
            return []
        return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))

    return resolve
