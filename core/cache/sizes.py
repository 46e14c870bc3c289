"""Amounts of bytes as people write them."""

from __future__ import annotations

import re

from core.errors import UserError

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE | re.ASCII)


def parse_size(text: str, flag: str) -> int:
    """Bytes of `20GB`, `1.5 TB` or `512MiB`. Raises UserError, which names the flag, for anything else and for zero."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise UserError(
            f"{flag} {text} is no size", cure=f"give a number above zero and a unit (KB, MB, GB, TB): {flag} 20GB"
        )
    return size


def size_text(size: int) -> str:
    """`512 B`, `1.5 MB`, `20 GB`: three digits at most, in powers of 1,000."""
    value, unit = float(size), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
