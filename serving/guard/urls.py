"""What an image URL may look like. Nothing is resolved or fetched here (serving/guard/fetch.py does)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

from serving.guard.addresses import Address
from serving.guard.hosts import parse_host

PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]*\]|[a-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?].*)?",
    re.ASCII | re.IGNORECASE,
)
_PLAIN = re.compile(r"[!-\[\]-~]*", re.ASCII)
"""Printable ASCII without space and backslash, which readers of URLs understand differently."""

Kind = Literal["off", "url", "host", "redirects", "time", "status", "type", "size", "network"]


class ImageUrlError(Exception):
    """A picture that is not fetched, or could not be. kind: which bound it met, for counting. Its text is fit for answers.

    kind `host` says the same of hosts that are not allowed, do not resolve and are not public, so that nobody learns from
    it which names exist inside.
    """

    def __init__(self, kind: Kind, what: str) -> None:
        super().__init__(what)
        self.kind = kind


@dataclass(frozen=True)
class ImageUrl:
    """A URL taken apart. target: path and query, as they are sent."""

    scheme: str
    host: str | Address
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = self.host if isinstance(self.host, str) else literal(self.host)
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str, *, chars: int) -> ImageUrl:
        """Where a redirect leads. Raises ImageUrlError."""
        return parse_url(urljoin(f"{self.scheme}://{self.authority}{self.target}", location), chars=chars)


def literal(address: Address) -> str:
    """The address as it stands in a URL."""
    return f"[{address}]" if address.version == 6 else str(address)


def parse_url(url: str, *, chars: int) -> ImageUrl:
    """Takes apart an http or https URL of at most `chars` characters; a fragment is dropped. Raises ImageUrlError.

    One strict reading instead of what browsers forgive: scheme, host, port and target, where the host is
    what is later looked up, checked and connected to. User names and passwords have no place in it.
    """
    if len(url) > chars:
        raise ImageUrlError("url", f"the image URL is longer than {chars:,} characters")
    parts = _URL.fullmatch(url) if _PLAIN.fullmatch(url) else None
    if parts is None:
        raise ImageUrlError("url", "the image URL is not a plain http or https URL")
    scheme = parts["scheme"].lower()
    try:
        host = parse_host(parts["host"])
    except ValueError:
        raise ImageUrlError("url", "the image URL's host is neither a full name nor a plain address") from None
    target = (parts["target"] or "").partition("#")[0]
    return ImageUrl(
        scheme, host, int(parts["port"] or PORTS[scheme]), target if target.startswith("/") else f"/{target}"
    )
