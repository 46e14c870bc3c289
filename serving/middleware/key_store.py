"""API key store: hashed keys in one file that may change while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from core.atomic_files import atomic_path, locked
from core.errors import UserError, suggestion
from core.formatting import KEY_PREFIX

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_BYTES = 32
_log = logging.getLogger(__name__)


class Key(BaseModel):
    """Stored record of a key. sha256: of the whole key as it is sent. admin: whether it may also swap bundles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    admin: bool = False

    def valid(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


def utc_now() -> datetime:
    return datetime.now(UTC)


def hash_key(key: str) -> str:
    """SHA-256 in hex. A key has 256 random bits: there is nothing to guess, and a slow hash would only slow each request down."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of the file, expired ones too; none where there is no file. Raises UserError for a file of anything else."""
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is no file of keys: {place + ': ' if place else ''}{first['msg']}",
            code="keys-damaged",
            hint="mend it, or move it away and make new keys with python -m serving.keys add NAME",
        ) from None


def add_key(path: Path, name: str, *, admin: bool = False, expires: datetime | None = None) -> str:
    """Makes a key, writes its hash to the file, and returns the key, which nobody can find out again.

    Raises UserError for a name that is taken, also by an expired key, or has other characters than letters, digits and `._-`.
    """
    secret = KEY_PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        key = Key(
            name=name, sha256=hash_key(secret), created=utc_now().replace(microsecond=0), expires=expires, admin=admin
        )
    except ValidationError:
        raise UserError(
            f"'{name}' cannot be a key's name",
            code="key-bad-name",
            hint="take at most 64 letters, digits, dots, dashes and underscores",
        ) from None
    with _changing(path):
        keys = read_keys(path)
        if any(one.name == name for one in keys):
            raise UserError(
                f"there is a key named '{name}'",
                code="key-name-taken",
                hint="take another name, or revoke that key first",
            )
        _write(path, (*keys, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Takes a key out of the file. Raises UserError where there is none of that name."""
    with _changing(path):
        keys = read_keys(path)
        left = tuple(key for key in keys if key.name != name)
        if len(left) == len(keys):
            raise UserError(
                f"there is no key named '{name}'", code="key-unknown", hint=suggestion(name, (key.name for key in keys))
            )
        _write(path, left)


def _changing(path: Path) -> AbstractContextManager[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return locked(path.with_name(f".{path.name}.lock"))


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    with atomic_path(path, private=True) as temporary:
        temporary.write_text(_KeyFile(keys=keys).model_dump_json(indent=1) + "\n", encoding="utf-8")


class KeyRing:
    """The valid keys of a file, read again whenever the file has changed.

    A file that is gone holds no keys: nobody gets in. One that cannot be read leaves the keys that were valid before, with an
    error in the log, and is tried again with each request.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        """Raises UserError for a file that is not one of keys."""
        self._path = path
        self._now = now
        self._seen = self._reported = self._state()
        self._keys = read_keys(path)

    def find(self, key: str) -> Key | None:
        """The key's entry, or None where it is unknown or expired. Compares with all of them, in constant time each."""
        self._refresh()
        given, now = hash_key(key), self._now()
        found = [one for one in self._keys if hmac.compare_digest(one.sha256, given)]
        return next((one for one in found if one.valid(now)), None)

    def __len__(self) -> int:
        """Number of keys that are valid now."""
        self._refresh()
        return sum(key.valid(self._now()) for key in self._keys)

    def _refresh(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        try:
            self._keys = read_keys(self._path)
        except (UserError, OSError) as error:
            if state != self._reported:
                self._reported = state
                message = "the changed file of keys cannot be read; the keys before stay valid, revoked ones too (%s)"
                _log.error(message, type(error).__name__)
        else:
            self._seen = self._reported = state
            _log.info("the file of keys was read again: %d keys", len(self._keys))

    def _state(self) -> tuple[int, ...] | None:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return None
        return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
