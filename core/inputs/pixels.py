"""Pixel cache: images decoded once per resolution and kept as memory-mapped arrays.

pixels-<size>/<key>/pixels.npy      (m, size, size, 3) uint8; padded with black: pixels-<size>-black
pixels-<size>/<key>/pictures.json   the images' keys in the array's order, and which are bad: `drop_bad`
                                    has black rows for them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from core.atomic_files import digest, read_json, write_json
from core.cache import Cache, size_text
from core.data.catalog import Catalog
from core.errors import UserError
from core.inputs.images.files import (
    BadImage,
    ImageFile,
    Padding,
    Progress,
    UnreadableImageError,
    bad_images_error,
    decode,
    in_threads,
    list_images,
)

_VERSION = "1"
"""Raised when `core.images.decode` makes other pixels of the same file."""

_ARRAY, _IMAGES = "pixels.npy", "pictures.json"


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images of n catalog rows. index: (n,) int64 row of `array`, -1 where the row has no image; (n, K) where rows
    have up to K, first those that are there.

    array: (m, size, size, 3) uint8, read-only; rows that share an image share its row here, and other rows' images may be
    in it too. key: names the array's content, row by row.
    """

    index: NDArray[np.int64]
    array: NDArray[np.uint8]
    key: str

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """(B, size, size, 3) or (B, K, size, size, 3) copies of the images of these B rows; black where there is none."""
        chosen = self.index[rows]
        there = chosen >= 0
        taken = np.zeros((*chosen.shape, *self.array.shape[1:]), dtype=np.uint8)
        taken[there] = self.array[chosen[there]]
        return taken


@dataclass(frozen=True, eq=False)
class _Stored:
    """An array of images. images: their keys in its order. bad: those whose rows are black and stand for no image."""

    array: NDArray[np.uint8]
    images: Sequence[str] = ()
    bad: frozenset[str] = frozenset()
    padding: Padding = "white"

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each image, -1 for a bad one."""
        return {key: -1 if key in self.bad else row for row, key in enumerate(self.images)}

    @property
    def key(self) -> str:
        return digest(_key(self.images), str(self.array.shape), *sorted(self.bad), *_unless_white(self.padding))


@dataclass(frozen=True)
class _Decoding:
    """Settings for decoding missing images. most: that are read of each row."""

    size: int
    padding: Padding
    threads: int | None
    progress: Progress | None
    drop_bad: bool = False
    most: int = 1

    @property
    def kind(self) -> str:
        """Folder of the cache: images padded with other colours are other pixels."""
        return "-".join(["pixels", str(self.size), *_unless_white(self.padding)])


def load_pixels(
    catalog: Catalog,
    cache: Cache,
    size: int,
    *,
    padding: Padding = "white",
    most: int = 1,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """The catalog's images at `size` x `size`, `most` per row, from the cache or decoded into it.

    Images are known by name, bytes and time of change, so any selection of rows finds what another one decoded. What is
    missing makes a new array, which also holds everything that an older one held; `prepare_pixels` on all rows first leaves
    it at one array.

    Raises UserError for images that cannot be decoded (the first ten, and their number), for an unreadable folder of
    images, and for a cache that cannot be written.
    """
    stored = _ensure({"catalog": catalog}, cache, _Decoding(size, padding, threads, progress, most=most))
    index = np.full((len(catalog), most), -1, dtype=np.int64)
    for row, files in enumerate(_files_by_row(catalog, most)):
        there = [place for file in files if (place := stored.rows[file.key]) >= 0]
        index[row, : len(there)] = there
    return Pixels(index.squeeze(axis=1) if most == 1 else index, stored.array, stored.key)


def prepare_pixels(
    catalogs: Mapping[str, Catalog],
    cache: Cache,
    size: int,
    *,
    padding: Padding = "white",
    most: int = 1,
    drop_bad: bool = False,
    progress: Progress | None = None,
) -> int:
    """Decodes the images of these catalogs, `most` per row, by role (`train`, `test`): `load_pixels` on any of their rows only
    reads.

    Returns how many images could not be decoded: 0 unless `drop_bad`, which has the cache record them as missing.
    Otherwise raises what `load_pixels` raises; messages name the role. `check_images` finds nearly all bad
    images sooner; damage inside a JPEG shows only here.
    """
    rows = _ensure(catalogs, cache, _Decoding(size, padding, None, progress, drop_bad, most)).rows
    keys = {file.key for catalog in catalogs.values() for files in _files_by_row(catalog, most) for file in files}
    return sum(rows[key] < 0 for key in keys)


class _UnreadableFilesError(Exception):
    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__(f"{len(faults)} unreadable pictures")
        self.faults = faults


def _files_by_row(catalog: Catalog, most: int) -> list[list[ImageFile]]:
    """The files that are there of each row's first `most` pictures."""
    lists = [[name] if name else [] for name in catalog.image_paths] if most == 1 else catalog.image_lists(most)
    files = list_images(catalog.images, frozenset(chain.from_iterable(lists)))
    return [[files[name] for name in names if name in files] for names in lists]


def _ensure(catalogs: Mapping[str, Catalog], cache: Cache, decoding: _Decoding) -> _Stored:
    """An array with all images of the catalogs."""
    files = {role: _files_by_row(catalog, decoding.most) for role, catalog in catalogs.items()}
    needed = {file.key: file for column in files.values() for each in column for file in each}
    if not needed:
        return _Stored(np.empty((0, decoding.size, decoding.size, 3), dtype=np.uint8))
    try:
        return _stored(cache, needed, decoding)
    except _UnreadableFilesError as error:
        bad = {
            role: [
                BadImage(row, file.path, error.faults[file.key])
                for row, each in enumerate(column)
                for file in each
                if file.key in error.faults
            ]
            for role, column in files.items()
        }
        first = next(role for role in bad if bad[role])
        raise bad_images_error(catalogs[first], bad[first], first) from None


def _stored(cache: Cache, needed: Mapping[str, ImageFile], decoding: _Decoding) -> _Stored:
    """The array of the cache that has most of the needed images or, where it lacks some, a new one with these behind."""
    kind, read = decoding.kind, partial(_read, padding=decoding.padding)
    old = _largest(cache.paths(kind), needed, read)
    have: Sequence[str] = () if old is None else old.images
    fresh = [needed[key] for key in sorted(needed.keys() - set(have))]
    images = [*have, *(file.key for file in fresh)]
    try:
        return cache.get(kind, _key(images), partial(_write, old=old, fresh=fresh, decoding=decoding), read)
    except OSError as error:
        raise UserError(
            f"the cache of decoded pictures {cache.folder / kind} cannot be written "
            f"({size_text(len(images) * decoding.size**2 * 3)}): {error.strerror}",
            code="image-cache-unwritable",
            hint="free some space there, or name a workspace on another disk with --workspace",
        ) from None


def _largest(
    folders: Sequence[Path], needed: Mapping[str, ImageFile], read: Callable[[Path], _Stored]
) -> _Stored | None:
    """The array that has most of the needed images; None where none has any."""
    best, most = None, 0
    for folder in folders:
        try:
            stored = read(folder)
        except FileNotFoundError:
            continue  # removed by another process while we looked
        share = sum(key in needed for key in stored.images)
        if share > most:
            best, most = stored, share
    return best


def _read(folder: Path, padding: Padding) -> _Stored:
    record = read_json(folder / _IMAGES)
    return _Stored(np.load(folder / _ARRAY, mmap_mode="r"), record["pictures"], frozenset(record["bad"]), padding)


def _write(folder: Path, old: _Stored | None, fresh: Sequence[ImageFile], decoding: _Decoding) -> None:
    """Writes the old rows and the fresh images; bad ones are black rows, or an _UnreadableFilesError.

    Streams to the disk: a full disk is then an error with a name, where a memory map would kill the process.
    """
    size, faults = decoding.size, {}
    rows, have, bad = (0, (), frozenset()) if old is None else (len(old.array), old.images, old.bad)
    with (folder / _ARRAY).open("wb") as file:
        shape = (rows + len(fresh), size, size, 3)
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        if old is not None:
            file.write(old.array.data)
        work = partial(_decoded, size=size, padding=decoding.padding)
        decoded = in_threads(work, fresh, threads=decoding.threads, progress=decoding.progress)
        for image, pixels in zip(fresh, decoded, strict=True):
            if isinstance(pixels, str):
                faults[image.key] = pixels
                file.write(bytes(size * size * 3))
            else:
                file.write(pixels.data)
        if faults and not decoding.drop_bad:
            raise _UnreadableFilesError(faults)
    record = {"pictures": [*have, *(image.key for image in fresh)], "bad": sorted(bad | faults.keys())}
    write_json(folder / _IMAGES, record)


def _key(images: Sequence[str]) -> str:
    return digest(_VERSION, *images)


def _unless_white(padding: Padding) -> tuple[str, ...]:
    """The padding as a part of names; none for white, which had no name when there was no other."""
    return () if padding == "white" else (padding,)


def _decoded(image: ImageFile, size: int, padding: Padding) -> NDArray[np.uint8] | str:
    """The pixels, or what is wrong with the file: one bad image must not hide the others."""
    try:
        return decode(image.path, size, padding=padding)
    except UnreadableImageError as error:
        return str(error)
