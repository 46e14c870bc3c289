"""Atomic file writes (temporary name, then rename), file locks, and content hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STRINGS = 4_096
_PIECE = 2**22


@contextmanager
def atomic_path(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` if the block succeeds, removes it if not.

    The bytes are on the disk before the rename, so that a power cut leaves the old file or the new one, never half of one.

    private: for its owner alone, from the first byte on. A file that was there keeps its owner and a new one gets the folder's,
    where this process may give it away: a service must be able to read what root has changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if private:
            _give_away(temporary, path if path.exists() else path.parent)
        else:
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _give_away(path: Path, like: Path) -> None:
    if os.geteuid() == 0:
        facts = like.stat()
        os.chown(path, facts.st_uid, facts.st_gid)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sync(path: Path) -> None:
    """Flushes the bytes of a file, or the names in a folder, to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds the lock file exclusively; the kernel lets go of it when the process dies.

    Without `wait`, False where another holds it: then the block runs without the lock.
    """
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone would not do where a forked child has the file open too


def link(source: Path, target: Path) -> None:
    """Hard-links an unchanging file; copies it where the file system has no links or the target lies on another."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, temporary)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` atomically as sorted, indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def digest(*parts: bytes | str | NDArray[np.object_]) -> str:
    """BLAKE2b of the parts, each behind its length, as 32 hex digits; strings (n,) count as one text with unit separators."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(sum(map(len, _pieces(part))).to_bytes(8, "little"))
        for piece in _pieces(part):
            state.update(piece)
    return state.hexdigest()


def _pieces(part: bytes | str | NDArray[np.object_]) -> Iterator[bytes]:
    """The bytes of a part; of many strings some at a time, since all of them joined would be the largest thing in memory."""
    if isinstance(part, bytes):
        yield part
    elif isinstance(part, str):
        yield part.encode("utf-8", "surrogatepass")
    else:
        for start in range(0, len(part), _STRINGS):
            joined = "\x1f".join(map(str, part[start : start + _STRINGS]))
            yield ("\x1f" * (start > 0) + joined).encode("utf-8", "surrogatepass")


def digest_file(path: Path) -> str:
    """`digest` of the file's bytes, read piece by piece: weights need not fit into memory."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        state.update(os.fstat(file.fileno()).st_size.to_bytes(8, "little"))
        while piece := file.read(_PIECE):
            state.update(piece)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """`digest` of the value as sorted JSON."""
    return digest(json.dumps(value, sort_keys=True, allow_nan=False))
