"""Image URL checks: syntax, host patterns and public address ranges; nothing is resolved or fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal
from urllib.parse import urljoin

PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]*\]|[a-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?].*)?",
    re.ASCII | re.IGNORECASE,
)
_PLAIN = re.compile(r"[!-\[\]-~]*", re.ASCII)
"""Printable ASCII without space and backslash, which readers of URLs understand differently."""

Kind = Literal["off", "url", "host", "redirects", "time", "status", "type", "size", "network"]


class ImageError(Exception):
    """Reason why an image cannot be had, fit for a response: the price then comes from the text alone."""


class ImageUrlError(ImageError):
    """An image that is not fetched, or could not be. kind: which bound it met, for counting.

    kind `host` says the same of hosts that are not allowed, do not resolve and are not public, so that callers do not learn
    from it which names exist inside. unresolved tells them apart for those who ask for links of their own. status: of an
    answer, with its `Retry-After`, if any.
    """

    def __init__(
        self,
        kind: Kind,
        what: str,
        *,
        status: int | None = None,
        retry_after: str | None = None,
        unresolved: bool = False,
    ) -> None:
        super().__init__(what)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.unresolved = unresolved


@dataclass(frozen=True)
class ImageUrl:
    """A URL taken apart. target: path and query, as they are sent."""

    scheme: str
    host: str | Address
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Value of the `Host` header."""
        host = self.host if isinstance(self.host, str) else literal(self.host)
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str, *, chars: int) -> ImageUrl:
        """Target of a redirect. Raises ImageUrlError."""
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


_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LONGEST = 253
ANY = "*"


def parse_host(text: str) -> str | Address:
    """A name in lower case, or the address that a literal (`93.184.215.14`, `[2606:2800::1]`) stands for.

    Raises ValueError for every other spelling that some resolver understands: numbers in decimal, octal or hexadecimal, fewer
    than four of them, zones, trailing dots, letters beyond ASCII (names in other scripts are written `xn--`), single labels.
    """
    if text.startswith("[") and text.endswith("]"):
        address = ip_address(text[1:-1])
        if address.version != 6 or "%" in text:
            raise ValueError("not an IPv6 address without a zone")
        return address
    name = text.lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # WHATWG URL: whatever ends in a number is an IPv4 address, or nothing
        address = ip_address(name)
        if address.version != 4:
            raise ValueError("not an IPv4 address")
        return address
    if len(name) > _LONGEST or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("not a full host name")
    return name


def check_pattern(pattern: str) -> str:
    """The pattern in lower case. Raises ValueError unless it is `*`, a name or an address, or `*.` and a name."""
    if pattern != ANY:
        parse_host(pattern.removeprefix("*."))
    return pattern.lower()


def matches(host: str | Address, patterns: Iterable[str]) -> bool:
    """True where a pattern names the host: `*.example.com` all names below example.com, but not that name itself."""
    name = f"[{host}]" if not isinstance(host, str) and host.version == 6 else str(host)
    return any(
        pattern == ANY or name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in patterns
    )


Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network; 0.0.0.0 reaches the machine itself
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carriers' own, and a cloud's metadata (100.100.100.200)
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's metadata and agent, public by its number only
            "169.254.0.0/16",  # link-local, and most clouds' metadata (169.254.169.254)
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols' own, and a cloud's metadata (192.0.0.192)
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # protocols' own, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address inside
            "2620:4f:8000::/48",  # AS112
            "3ffe::/16",  # 6bone, given back
            "3fff::/20",  # documentation
        ),
    )
)
"""IANA IPv4 and IPv6 special-purpose address registries, and the metadata addresses of large clouds that are not in them."""

_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that IANA has given out (RFC 4291). Outside lie loopback, link-local and unique local addresses, multicast, and what
has an IPv4 address inside: mapped (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96 and 64:ff9b:1::/48)."""


def is_public(address: Address, refused: Iterable[Network] = ()) -> bool:
    """True where the address can be another's machine on the internet. `refused`: networks of one's own that are not either.

    Not Python's `is_global`: its tables differ between releases, and 6to4, AS112 or multicast count as global in some.
    """
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_V6 or address.scope_id is not None):
        return False
    return not any(address in network for network in (*_SPECIAL, *refused) if network.version == address.version)
