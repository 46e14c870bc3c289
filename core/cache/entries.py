"""The cache's one class. Entries appear complete or not at all, and leave least recently used first.

cache/<kind>/<key>/         an entry: a folder of files; its time of change is its last use
cache/<kind>/.<key>.lock    shared while somebody opens the entry, exclusive while it is made or removed
cache/<kind>/.<key>.tmp     what is being made
cache/<kind>/.<key>.trash   what is being removed

A process that dies lets go of its locks; what it left behind is removed by whoever makes the same entry or prunes next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from core.cache.sizes import size_text
from core.console import warn

_T = TypeVar("_T")
_RECENT = 3600.0
"""Seconds. An entry that has to go sooner after its use will most likely be made again: worth a warning."""

_held: dict[Path, tuple[Path, IO[str]]] = {}
"""By kind, the entry over the limit that this process uses, with its shared lock, held until the process ends."""


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
    """A folder of entries. limit: bytes that all entries together may take once one was made; None for no limit.

    Safe for threads and processes. An entry that is larger than the limit by itself is not counted while a process that
    used it lives. What was opened or memory-mapped stays readable after its entry was removed.
    """

    folder: Path
    limit: int | None = None

    def get(self, kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], _T]) -> _T:
        """`read(folder)` of the entry, which `make(folder)` has filled if it was not there: once, while others wait for it.

        key: a hash of everything that the content depends on. What `make` wrote is on the disk before the entry appears;
        whatever it raises goes through and leaves nothing. `make` and `read` may use other entries.
        """
        path, made = self.folder / kind / key, False
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path, fcntl.LOCK_SH):
                if path.is_dir():
                    found = self._read(path, read)
                    break
            with _locked(path, fcntl.LOCK_EX):
                if not path.is_dir():
                    _make(path, make)
                    made = True
        if made:
            self._make_room(path)
        return found

    def paths(self, kind: str) -> list[Path]:
        """Folders of the complete entries of a kind. Other processes may remove any of them at any time."""
        return sorted((self.folder / kind).glob("[!.]*"))

    def entries(self) -> list[Entry]:
        """All complete entries, the one that was used longest ago first."""
        found = []
        for path in self.folder.glob("*/[!.]*"):
            try:
                found.append(Entry(path, path.stat().st_mtime, _size(path)))
            except FileNotFoundError:
                continue  # removed by another process while we looked
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, keep: Path | None = None) -> list[Entry]:
        """Removes leftovers of dead processes, then entries until the limit is kept; never `keep`. Returns these entries.

        Entries over the limit go first, the others least recently used first; what a process is opening stays.
        """
        for lock in self.folder.glob("*/.*.lock"):
            _remove_leftovers(lock.with_name(lock.name.removeprefix(".").removesuffix(".lock")))
        if self.limit is None:
            return []
        entries = self.entries()
        too_large = [entry for entry in entries if entry.size > self.limit]
        removed = [entry for entry in too_large if entry.path != keep and _remove(entry.path)]
        rest = [entry for entry in entries if entry.size <= self.limit]
        total = sum(entry.size for entry in rest)
        for entry in rest:
            if total <= self.limit:
                break
            if entry.path != keep and _remove(entry.path):
                removed.append(entry)
                total -= entry.size
        return removed

    def _read(self, path: Path, read: Callable[[Path], _T]) -> _T:
        now = time.time_ns()  # finer than the kernel's own clock, by which uses of the same moment could not be ordered
        os.utime(path, ns=(now, now))
        found = read(path)
        if self.limit is not None and (size := _size(path)) > self.limit and _hold(path):
            warn(
                f"the cache entry {path} takes {size_text(size)}, more than the whole limit of {size_text(self.limit)}; "
                "it is kept while it is needed; raise the limit with --cache-limit"
            )
        return found

    def _make_room(self, made: Path) -> None:
        for entry in self.prune(keep=made):
            if (age := time.time() - entry.used) < _RECENT:
                warn(
                    f"cache limit: removed {entry.name} ({size_text(entry.size)}), used {age / 60:.0f} min ago, to make "
                    f"room for {made.parent.name}/{made.name}; raise it with --cache-limit"
                )


def _make(path: Path, make: Callable[[Path], None]) -> None:
    """Fills the entry under its temporary name and renames it. The caller holds the exclusive lock."""
    temporary = _beside(path, "tmp")
    try:
        _delete(temporary)
        temporary.mkdir()
        make(temporary)
        for written in (*temporary.rglob("*"), temporary):
            _sync(written)
        temporary.rename(path)
        _sync(path.parent)
    except BaseException:
        _delete(temporary)
        _beside(path, "lock").unlink(missing_ok=True)
        raise


def _remove(path: Path) -> bool:
    """Takes an entry away in one step, so that nobody sees half of it; False if somebody is using it."""
    try:
        with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            trash = _beside(path, "trash")
            _delete(trash)
            if path.is_dir():
                path.rename(trash)
            _delete(trash)
            _beside(path, "lock").unlink(missing_ok=True)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Removes what a process that died while it made or removed this entry has left, unless another is at work on it."""
    if path.is_dir() and not any(_beside(path, ending).exists() for ending in ("tmp", "trash")):
        return
    try:
        with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for ending in ("tmp", "trash"):
                _delete(_beside(path, ending))
            if not path.is_dir():
                _beside(path, "lock").unlink(missing_ok=True)
    except BlockingIOError:
        return


def _hold(path: Path) -> bool:
    """Keeps the entry's shared lock until this process ends or holds another entry of the kind; False if it holds it already."""
    held, handle = _held.get(path.parent, (None, None))
    if held == path:
        return False
    if handle is not None:
        handle.close()
    _held[path.parent] = (path, _lock(path, fcntl.LOCK_SH))
    return True


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    """Holds the lock beside the entry; with LOCK_NB, raises BlockingIOError where another holds it."""
    handle = _lock(path, how)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone would not do where a forked child has the file open too
        handle.close()


def _lock(path: Path, how: int) -> IO[str]:
    file = _beside(path, "lock")
    while True:
        handle = file.open("a")
        try:
            fcntl.flock(handle, how)
            if file.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                return handle
        except FileNotFoundError:
            pass  # whoever held the lock removed it together with the entry: take the new one
        except BaseException:
            handle.close()
            raise
        handle.close()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _delete(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
