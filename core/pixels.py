"""Pictures decoded once per resolution, kept as memory-mapped arrays that all trainings share.

pixels/<size>/<key>.npy     (m, size, size, 3) uint8
pixels/<size>/<key>.json    picture key -> row of the array, or -1 for a bad picture that the user said to drop; written
                                last, so an array without it is not there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from core.catalog import Catalog
from core.errors import UserError
from core.files import atomic_path, digest, read_json, write_json
from core.images import (
    BadPicture,
    PictureFile,
    Progress,
    UnreadablePictureError,
    bad_pictures_error,
    decode,
    in_threads,
    list_pictures,
)

_VERSION = "1"
"""Raised when `core.images.decode` makes other pixels of the same file."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded pictures of n catalog rows. index: (n,) int64 row of `array`, -1 where the row has no picture.

    array: (m, size, size, 3) uint8, read-only; rows that share a picture share its row here, and other rows' pictures may be
    in it too.
    """

    index: NDArray[np.int64]
    array: NDArray[np.uint8]

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """(len(rows), size, size, 3) copies of the pictures of these catalog rows; black where there is none."""
        chosen = self.index[rows]
        there = chosen >= 0
        taken = np.zeros((len(chosen), *self.array.shape[1:]), dtype=np.uint8)
        taken[there] = self.array[chosen[there]]
        return taken


@dataclass(frozen=True)
class _Decoding:
    """How missing pictures are decoded."""

    size: int
    threads: int | None
    progress: Progress | None
    drop_bad: bool = False


def load_pixels(
    catalog: Catalog, cache: Path, size: int, *, threads: int | None = None, progress: Progress | None = None
) -> Pixels:
    """The catalog's pictures at `size` x `size`, from the cache or decoded into it.

    Pictures are known by name, bytes and time of change, so any selection of rows finds what another one decoded. What is
    missing makes a new array, which also holds everything that an older one held; `prepare_pixels` on all rows first leaves
    it at one array. Safe for several processes at once: arrays appear complete or not at all.

    Raises UserError for pictures that cannot be decoded (the first ten, and their number), for an unreadable folder of
    pictures, and for a cache that cannot be written.
    """
    files = _files_by_row(catalog)
    array, rows = _ensure({"catalog": catalog}, cache, _Decoding(size, threads, progress))
    index = np.array([-1 if file is None else rows[file.key] for file in files], dtype=np.int64)
    return Pixels(index, array)


def prepare_pixels(
    catalogs: Mapping[str, Catalog],
    cache: Path,
    size: int,
    *,
    drop_bad: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Decodes the pictures of these catalogs, by role (`train`, `test`), so that `load_pixels` on any of their rows only reads.

    Returns how many pictures could not be decoded: 0 unless `drop_bad`, which has the cache remember them as missing.
    Otherwise raises what `load_pixels` raises; messages name the role. `core.images.check_pictures` finds nearly all bad
    pictures sooner; damage inside a JPEG shows only here.
    """
    _, rows = _ensure(catalogs, cache, _Decoding(size, threads, progress, drop_bad))
    keys = {file.key for catalog in catalogs.values() for file in _files_by_row(catalog) if file is not None}
    return sum(rows[key] < 0 for key in keys)


class _UnreadableFilesError(Exception):
    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__(f"{len(faults)} unreadable pictures")
        self.faults = faults


def _files_by_row(catalog: Catalog) -> list[PictureFile | None]:
    files = list_pictures(catalog.images)
    return [files.get(name) for name in catalog.picture_names]


def _ensure(
    catalogs: Mapping[str, Catalog], cache: Path, decoding: _Decoding
) -> tuple[NDArray[np.uint8], Mapping[str, int]]:
    """An array with all pictures of the catalogs, and its index by picture key."""
    files = {role: _files_by_row(catalog) for role, catalog in catalogs.items()}
    needed = {file.key: file for column in files.values() for file in column if file is not None}
    folder = cache / "pixels" / str(decoding.size)
    array, rows = _largest(folder, needed, decoding.size)
    if all(key in rows for key in needed):
        return array, rows
    try:
        return _grow(folder, array, rows, needed, decoding)
    except _UnreadableFilesError as error:
        bad = {
            role: [
                BadPicture(row, file.path, error.faults[file.key])
                for row, file in enumerate(column)
                if file is not None and file.key in error.faults
            ]
            for role, column in files.items()
        }
        first = next(role for role in bad if bad[role])
        raise bad_pictures_error(catalogs[first], bad[first], first) from None


def _largest(folder: Path, needed: Mapping[str, PictureFile], size: int) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """The complete array of this folder that has most of the needed pictures, with its index; an empty one where none has any."""
    best: tuple[int, Path | None, dict[str, int]] = (0, None, {})
    for marker in sorted(folder.glob("*.json")):
        rows = read_json(marker)
        share = sum(key in rows for key in needed)
        if share > best[0]:
            best = (share, marker, rows)
    _, marker_path, rows = best
    if marker_path is None:
        return np.empty((0, size, size, 3), dtype=np.uint8), {}
    return np.load(marker_path.with_suffix(".npy"), mmap_mode="r"), rows


def _grow(
    folder: Path,
    old: NDArray[np.uint8],
    old_rows: Mapping[str, int],
    needed: Mapping[str, PictureFile],
    decoding: _Decoding,
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Writes the old array plus what it lacks as a new one, and returns that with its index."""
    fresh = [needed[key] for key in sorted(needed.keys() - old_rows.keys())]
    rows = dict(old_rows) | {file.key: len(old) + position for position, file in enumerate(fresh)}
    path = folder / f"{digest(_VERSION, *sorted(rows))}.npy"
    try:
        bad = _write(path, old, fresh, decoding)
        rows |= dict.fromkeys(bad, -1)
        write_json(path.with_suffix(".json"), rows)
    except OSError as error:
        megabytes = len(rows) * decoding.size**2 * 3 / 2**20
        raise UserError(
            f"the cache of decoded pictures {folder} cannot be written ({megabytes:,.0f} MiB): {error.strerror}",
            cure="free some space there, or name a workspace on another disk with --workspace",
        ) from None
    return np.load(path, mmap_mode="r"), rows


def _write(path: Path, old: NDArray[np.uint8], fresh: Sequence[PictureFile], decoding: _Decoding) -> dict[str, str]:
    """Writes the old rows and the fresh pictures; returns what is wrong with the bad ones, by key, whose rows are black.

    Streams to the disk: a full disk is then an error with a name, where a memory map would kill the process.
    """
    size, faults = decoding.size, {}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        shape = (len(old) + len(fresh), size, size, 3)
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(old.data)
        work = partial(_decoded, size=size)
        decoded = in_threads(work, fresh, threads=decoding.threads, progress=decoding.progress)
        for picture, pixels in zip(fresh, decoded, strict=True):
            if isinstance(pixels, str):
                faults[picture.key] = pixels
                file.write(bytes(size * size * 3))
            else:
                file.write(pixels.data)
        if faults and not decoding.drop_bad:
            raise _UnreadableFilesError(faults)
    return faults


def _decoded(picture: PictureFile, size: int) -> NDArray[np.uint8] | str:
    """The pixels, or what is wrong with the file: one bad picture must not hide the others."""
    try:
        return decode(picture.path, size)
    except UnreadablePictureError as error:
        return str(error)
