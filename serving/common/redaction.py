"""Redaction of log text: removes API keys, credentials, secrets, and the user names and queries of URLs."""

from __future__ import annotations

import re

HIDDEN = "***"
KEY_PREFIX = "psk_"
"""Begins every API key, so that leaked keys are found: in logs here, in repositories by secret scanners."""

_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_-]+")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token|digest)\s+[A-Za-z0-9._~+/=-]{6,}")
_HEADER = re.compile(r"""(?i)((?:proxy-)?authorization["']?\s*[:=]\s*["']?|cookie["']?\s*[:=]\s*["']?)[^"'\r\n]+""")
_NAMED = re.compile(
    r"""(?ix) ( (?:api[_-]?key|password|passwd|secret|token) ["']? \s* [:=] \s* )
    (?: "[^"]*" | '[^']*' | [^\s,;&"']+ )"""
)
_SUSPECT = re.compile(rf"[:=]|{KEY_PREFIX}|(?i:bearer|basic|token|digest)\s")
"""Without one of these, none of the other patterns finds anything; most texts of a log have none."""

# Bounded schemes, and rests that end where another URL begins: what was sent by strangers must not make these search for long.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+]{0,15}://)[^/\s?#]*@")
_QUERY = re.compile(r"(?i)\b([a-z][a-z0-9+]{0,15}://(?:(?!://)[^\s?#\"'<>])*+)[?#][^\s\"'<>]*")


def redact(text: str) -> str:
    """The text without keys of this service, credentials, values named like secrets, and URLs' user names and queries."""
    if not _SUSPECT.search(text):
        return text
    text = _QUERY.sub(rf"\1?{HIDDEN}", _USERINFO.sub(r"\1", text))
    for pattern in (_HEADER, _NAMED):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return _KEY.sub(HIDDEN, _CREDENTIALS.sub(rf"\1 {HIDDEN}", text))
