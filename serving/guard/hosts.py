"""Host names and address literals in the one spelling that is taken, and patterns of names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from serving.guard.addresses import Address

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
    """Whether a pattern names the host: `*.example.com` all names below example.com, but not that name itself."""
    name = f"[{host}]" if not isinstance(host, str) and host.version == 6 else str(host)
    return any(
        pattern == ANY or name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in patterns
    )
