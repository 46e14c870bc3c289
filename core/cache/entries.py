"""Caches: content-keyed folders on disk with atomic writes and eviction, and per-row results in memory; sizes such as 20GB.

cache/<kind>/<key>/        an entry: a folder of files; its time of change is its last use
cache/<kind>/.<key>.lock   held by the process that makes the entry, so that a second one waits instead of working twice
cache/<kind>/.<key>.tmp    what is being made; after a crash, removed by the process that makes the entry next

An entry may be removed while a process reads it: what was opened or memory-mapped stays readable until it is closed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from core.atomic_files import locked, sync
from core.console import warn
from core.errors import UserError

_T = TypeVar("_T")
_TRIES = 10
_RECENT = 3600.0
"""Seconds. An entry that has to go sooner after its use will most likely be made again: worth a warning."""


@dataclass(frozen=True)
class Entry:
    """A complete entry. used: seconds since the epoch of its last use. size: bytes of its files."""

    path: Path
    used: float
    size: int

    @property
    def name(self) -> str:
        """`kind/key`."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Cache:
    """A folder of entries. limit: bytes that all entries together may take, the newest apart; None for no limit.

    Safe for threads and processes.
    """

    folder: Path
    limit: int | None = None

    def get(self, kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], _T]) -> _T:
        """`read(folder)` of the entry, which `make(folder)` has filled if it was not there: once, while others wait for it.

        key: a hash of everything that the content depends on. What `make` wrote is on the disk before the entry appears;
        whatever it raises goes through and leaves nothing.
        """
        path = self.folder / kind / key
        tries = _TRIES
        while True:
            if not path.is_dir():
                self._make(path, make)
            tries -= 1
            try:
                _touch(path)
                return read(path)
            except FileNotFoundError:  # another process needed the room between our two looks
                if not tries:
                    raise

    def paths(self, kind: str) -> list[Path]:
        """Folders of the complete entries of a kind. Other processes may remove any of them at any time."""
        return sorted((self.folder / kind).glob("[!.]*"))

    def entries(self) -> list[Entry]:
        """All complete entries, the one that was used longest ago first."""
        found = []
        for path in self.folder.glob("*/[!.]*"):
            with suppress(FileNotFoundError):  # removed by another process while we looked
                found.append(Entry(path, path.stat().st_mtime, _size(path)))
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, keep: Path | None = None) -> list[Entry]:
        """Removes leftovers of killed processes, then entries, least recently used first and never `keep`, until the limit is
        kept. Returns the entries that were removed."""
        for left in self.folder.glob("*/.*.tmp"):  # unless another process is making that entry right now
            with locked(left.with_suffix(".lock"), wait=False) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
        for left in self.folder.glob("*/.*.trash"):
            shutil.rmtree(left, ignore_errors=True)
        if self.limit is None:
            return []
        entries = self.entries()
        total, removed = sum(entry.size for entry in entries), []
        for entry in entries:
            if total <= self.limit:
                break
            if entry.path != keep:
                _remove(entry.path)
                removed.append(entry)
                total -= entry.size
        return removed

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(_beside(path, "lock")):
            if path.is_dir():
                return
            temporary = _beside(path, "tmp")
            shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed: we hold its lock
            temporary.mkdir()
            try:
                make(temporary)
                for written in (*temporary.rglob("*"), temporary):
                    sync(written)
                _touch(temporary)
                size = _size(temporary)  # once it is there another process may remove it
                temporary.rename(path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self._make_room(path, size)

    def _make_room(self, made: Path, size: int) -> None:
        if self.limit is not None and size > self.limit:
            warn(
                f"cache limit: {made.parent.name}/{made.name} takes {size_text(size)}, more than the whole limit of "
                f"{size_text(self.limit)}; it is kept until the next one is made; raise the limit with --cache-limit"
            )
        for entry in self.prune(keep=made):
            if (age := time.time() - entry.used) < _RECENT:
                warn(
                    f"cache limit: removed {entry.name} ({size_text(entry.size)}), used {age / 60:.0f} min ago, to make "
                    f"room for {made.parent.name}/{made.name}; raise it with --cache-limit"
                )


def _touch(path: Path) -> None:
    now = time.time_ns()  # finer than the kernel's own clock, by which uses of the same moment could not be ordered
    os.utime(path, ns=(now, now))


def _remove(path: Path) -> None:
    """Removes an entry in one step, so that no process sees half of it."""
    trash = _beside(path, f"{uuid4().hex}.trash")
    try:
        path.rename(trash)
    except FileNotFoundError:
        return  # another process was faster
    shutil.rmtree(trash, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})", re.IGNORECASE | re.ASCII)


def parse_size(text: str, flag: str) -> int:
    """Bytes of `20GB`, `1.5 TB` or `512MiB`. Raises UserError, which names the flag, for anything else and for zero."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise UserError(
            f"{flag} {text} is no size",
            code="size-unreadable",
            hint=f"give a number above zero and a unit (KB, MB, GB, TB): {flag} 20GB",
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


class RowCache:
    """Arrays of one shape by key, the most recently used ones, in at most `most_bytes`. Safe for threads."""

    def __init__(self, most_bytes: int) -> None:
        self._rows: LRUCache[str, NDArray[Any]] = LRUCache(most_bytes, getsizeof=lambda row: row.nbytes)
        self._lock = Lock()

    def rows(self, keys: Sequence[str], compute: Callable[[NDArray[np.intp]], NDArray[Any]]) -> NDArray[Any]:
        """(n, ...) of these n keys, at least one. compute: gives (m, ...) for the positions (m,) of keys that are not cached;
        of equal keys, for the first."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        with self._lock:
            found = {key: self._rows[key] for key in first if key in self._rows}
        places = sorted(place for key, place in first.items() if key not in found)
        if places:
            # Copies, so that a row that is kept does not keep all rows it was computed with.
            computed = {
                keys[place]: np.array(row) for place, row in zip(places, compute(np.array(places)), strict=True)
            }
            with self._lock:
                for key, row in computed.items():
                    if row.nbytes <= self._rows.maxsize:
                        self._rows[key] = row
            found |= computed
        return np.stack([found[key] for key in keys])
