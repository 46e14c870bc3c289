"""Image file lookup and decoding: link to file, broken files named, a square of pixels out."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from core.data.catalog import LINK, Catalog, first_link
from core.errors import UserError
from core.hardware import usable_cores

Progress = Callable[[int, int], None]
"""Called with (done, of how many)."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are opened: those that shops serve. Some others of Pillow's start other programs."""

PIXEL_LIMIT = 80_000_000
"""Images with more pixels are refused by their header: decoding one takes over 240 MB, and 30,000 x 30,000 takes 2.7 GB."""

Padding = Literal["white", "black"]
"""Colour of the bars that make an image square. White is what product photographs have around them."""

_BARS: dict[Padding, int] = {"white": 255, "black": 0}
_GROUND = 255
"""The ground behind transparent images is white. (No image at all is black.)"""

_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"})
_SHOWN = 10
_SHOWN_FILES = 3
_LONGEST = 120
_BATCH = 256
_ENDINGS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_TAIL = 64
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""Everything Pillow's decoders raise for bytes they cannot make sense of (SyntaxError is its word for a broken PNG)."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image becomes upright, by EXIF's orientation."""

In = TypeVar("In")
Out = TypeVar("Out")


class UnreadableImageError(Exception):
    """An image file that cannot be used, with what is wrong with it."""


@dataclass(frozen=True)
class ImageFile:
    """A regular file in the images' folder. key: name, bytes and time of change, which together stand for its content."""

    path: Path
    key: str


@dataclass(frozen=True)
class BadImage:
    """row: position in the catalog, from 0. what: what is wrong with the file."""

    row: int
    path: Path
    what: str


@dataclass(frozen=True)
class ImageReport:
    """rows: of the catalog. linked: rows with a link. found: rows whose image is there and usable.

    bad: rows whose image is there and cannot be used. shared: rows whose file other links name too. several: rows that list
    more than one image, of which the first is looked at here. unfound: the first row whose link finds no file; None where all do.
    note: for people.
    """

    rows: int
    linked: int
    found: int
    bad: tuple[BadImage, ...]
    shared: tuple[int, ...] = ()
    several: int = 0
    unfound: int | None = None

    @property
    def note(self) -> str:
        absent = self.linked - self.found - len(self.bad)
        parts = [f"{self.rows - self.linked} without a link", f"{absent} without a file"]
        if self.bad:
            parts.append(f"{len(self.bad)} with a bad file, treated as missing")
        if self.shared:
            parts.append(
                f"{len(self.shared)} name a file that other links name too, so that it is nobody's: "
                "`python -m core.images fetch` keeps them apart"
            )
        if self.several:
            parts.append(f"{self.several} list several, of which images_per_product are read")
        return f"{self.found} of {self.rows} rows have a picture ({', '.join(parts)})"

    def without_bad(self, catalog: Catalog, *, without_shared: bool = True) -> Catalog:
        """The same rows, where those with a bad image have no link, and those without one of their own."""
        rows = [bad.row for bad in self.bad] + list(self.shared) * without_shared
        if not rows:
            return catalog
        links = catalog.links.copy()
        links[rows] = ""
        return replace(catalog, links=links)


def list_images(folder: Path | None, names: Collection[str] | None = None) -> dict[str, ImageFile]:
    """Files of the folder by name; none where there is no folder. Raises UserError for a folder that cannot be read.

    names: only these are looked at, with folders in front of them or without, as `Catalog.image_paths` has (see `match_images`).
    They are compared with what the folder holds and never joined to a path, so no link (`..`, a NUL byte) leads outside.
    """
    if folder is None:
        return {}
    if names is not None:
        return match_images(folder, names)[0]
    with _readable(folder), os.scandir(folder) as entries:
        return {entry.name: _image_file(entry) for entry in entries if entry.is_file()}


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the folder of pictures {folder} cannot be read: {error.strerror}",
            code="images-unreadable",
            hint="name the folder that holds the pictures with --images, or leave --images out to learn without pictures",
        ) from None


def _image_file(entry: os.DirEntry[str], inside: str = "") -> ImageFile:
    """inside: the subfolder in which the file is, relative to the images' folder."""
    facts, name = entry.stat(), f"{inside}/{entry.name}" if inside else entry.name
    return ImageFile(Path(entry.path), f"{name}|{facts.st_size}|{facts.st_mtime_ns}")


def _all_files(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """(file, subfolder) of the folder and all below it. No link to a folder is followed: it may lead outside, or in circles."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{inside}/{entry.name}" if inside else entry.name)
                elif entry.is_file():
                    yield entry, inside


@dataclass(frozen=True)
class _Fit:
    """A file that may be a link's. shared: folders at the end of both paths that are the same. exact: the very name, in the
    folder itself.
    """

    shared: int
    exact: bool
    file: ImageFile

    @property
    def rank(self) -> tuple[int, bool]:
        return self.shared, self.exact


def match_images(folder: Path, names: Collection[str]) -> tuple[dict[str, ImageFile], set[str]]:
    """The file of each name, which may be percent-encoded, in other case, in another Unicode form or with another suffix or
    none. The most specific file counts: the one with the most folders in common with the name, from the end; then the one
    directly in the folder. None where several fit equally, and none for names of different links that fit one file equally:
    those are the second result.
    """
    keys = {name: [_folded(part) for part in name.split("/")] for name in names if name and ".." not in name.split("/")}
    wanted = {form for parts in keys.values() for form in _forms(parts[-1])}
    there: dict[str, list[tuple[list[str], str, ImageFile]]] = defaultdict(list)
    with _readable(folder):
        for entry, inside in _all_files(folder):
            folded = _folded(entry.name)
            if forms := {folded, _stem(folded)} & wanted:
                folders = [_folded(part) for part in inside.split("/")] if inside else []
                for form in forms:
                    there[form].append((folders, entry.name, _image_file(entry, inside)))
    chosen: dict[str, _Fit] = {}
    claims: dict[Path, dict[str, int]] = defaultdict(dict)
    for name, parts in keys.items():
        fits = next((files for form in _forms(parts[-1]) if (files := there.get(form))), [])
        plain = name.rpartition("/")[2]
        fit = _best(
            [_Fit(_in_common(parts[:-1], inside), not inside and known == plain, file) for inside, known, file in fits]
        )
        if fit is not None:
            chosen[name] = fit
            claims[fit.file.path]["/".join(parts)] = fit.shared
    alone = {name for name, fit in chosen.items() if _alone(claims[fit.file.path], "/".join(keys[name]))}
    return {name: chosen[name].file for name in chosen if name in alone}, chosen.keys() - alone


def _best(fits: Sequence[_Fit]) -> _Fit | None:
    ranked = sorted(fits, key=lambda fit: fit.rank, reverse=True)
    clear = len(ranked) == 1 or (ranked and ranked[0].rank > ranked[1].rank)
    return ranked[0] if clear else None


def _alone(claims: Mapping[str, int], name: str) -> bool:
    """True unless another link claims the file as well. A path that ends in another (`1.jpg`) may be the same picture's."""
    return all(
        shared < claims[name] or f"/{other}".endswith(f"/{name}") or f"/{name}".endswith(f"/{other}")
        for other, shared in claims.items()
    )


def _in_common(link: Sequence[str], inside: Sequence[str]) -> int:
    """Number of folders at the end that are the same; 1 for `x/1.jpg` and `h/x/1.jpg`."""
    count = 0
    for one, other in zip(reversed(link), reversed(inside), strict=False):
        if one != other:
            break
        count += 1
    return count


def _forms(name: str) -> list[str]:
    """Spellings of a folded name by which files are compared, the most exact first: `image.php?id=7` is also `image.php`."""
    bare = name.partition("?")[0]
    return [*dict.fromkeys((name, _stem(name), bare, _stem(bare)))]


def spelling(path: str, *, suffix: bool = True) -> str:
    """A form that all spellings of a path share by which its file is found; without `suffix`, of other suffixes too."""
    folded = "/".join(map(_folded, path.split("/")))
    folder, slash, name = folded.rpartition("/")
    return folded if suffix else f"{folder}{slash}{_stem(name)}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold())


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and suffix in _SUFFIXES else name


def check_images(
    catalog: Catalog,
    role: str = "train",
    *,
    beside: Collection[str] = (),
    drop_bad: bool = False,
    progress: Progress | None = None,
) -> ImageReport:
    """Looks at every image of the catalog without decoding it; `role` (train, test) names the catalog in messages.

    Read are the header (format, size) and the last bytes, and of a PNG the checksums; only a file that these leave in doubt
    is decoded. 75,000 images take seconds, and decoding happens once, when `core.inputs.pixels` needs it.

    Raises UserError naming the first ten bad images and their number, unless `drop_bad`: then they are in the report, and
    `ImageReport.without_bad` gives the catalog in which they are missing. A link without a file is missing, not bad.
    beside: paths of the other catalog, whose links may name the same file.
    """
    names = catalog.image_paths
    files, contested = ({}, set()) if catalog.images is None else match_images(catalog.images, {*names, *beside})
    paths = {row: files[name].path for row, name in enumerate(names) if name in files}
    wanted = sorted(set(paths.values()))
    faults = dict(zip(wanted, in_threads(fault, wanted, progress=progress), strict=True))
    bad = tuple(BadImage(row, path, what) for row, path in paths.items() if (what := faults[path]))
    if bad and not drop_bad:
        raise bad_images_error(catalog, bad, role, "or run again with --drop-bad, which treats bad pictures as missing")
    found = len(paths) - len(bad)
    linked, several = sum(link != "" for link in catalog.links), sum(len(each) > 1 for each in catalog.image_lists(2))
    shared = tuple(np.flatnonzero([name in contested for name in names]).tolist())
    unfound = next((row for row, name in enumerate(names) if catalog.links[row] and name not in files), None)
    return ImageReport(len(catalog), linked, found, bad, shared, several, unfound)


def few_images_note(report: ImageReport, catalog: Catalog, name: str) -> str:
    """Sentence where under half of the links of the file `name` find their picture, with what was looked for and what is there;
    "" elsewhere.
    """
    if catalog.images is None or 2 * report.found >= report.linked:
        return ""
    row = report.unfound
    note = f"{name}: {report.found:,} of {report.linked:,} links find their picture in {catalog.images}/"
    if row is not None:
        link = first_link(catalog.links[row])
        shown = link.partition("?")[0].rpartition("@")[2][:_LONGEST]
        there = (
            ", ".join(sorted(entry.name for entry, _ in islice(_all_files(catalog.images), _SHOWN_FILES))) or "no file"
        )
        note += f"; for example {shown} looks for {catalog.image_names[row][:_LONGEST]}; the folder has {there}"
    return note


def any_image_found(catalog: Catalog) -> bool:
    """True where at least one row finds its picture in the catalog's folder."""
    return bool(list_images(catalog.images, set(catalog.image_paths)))


def bad_images_error(catalog: Catalog, bad: Sequence[BadImage], role: str, otherwise: str = "") -> UserError:
    """The first ten of `bad` by catalog, row, column and file, their number, and what to do."""
    lines = [
        f"  {role} row {one.row + 1} (sample_id {catalog.ids[one.row]}), column {LINK}: {one.path}: {one.what}"
        for one in bad[:_SHOWN]
    ]
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more")
    rows = "1 row has a picture" if len(bad) == 1 else f"{len(bad)} rows have pictures"
    hint = "mend the files or delete them (a missing picture is fine)"
    return UserError(
        "\n".join([f"{rows} that cannot be used:", *lines]),
        code="images-unusable",
        hint=f"{hint}, {otherwise}" if otherwise else hint,
    )


def fault(path: Path) -> str:
    """Fault of this image file, in words, decoding it only where its header and ending do not settle it; "" for a good one."""
    try:
        with _opened(path) as image:
            unsure = not _looks_whole(image, path)
        if unsure:
            decode(path, 8)
    except UnreadableImageError as error:
        return str(error)
    except _UNREADABLE as error:
        return _reason(error)
    return ""


def decode(
    source: Path | bytes,
    size: int,
    *,
    padding: Padding = "white",
    formats: Sequence[str] = FORMATS,
    pixel_limit: int = PIXEL_LIMIT,
) -> NDArray[np.uint8]:
    """The image (a file, or a file's bytes) as (size, size, 3) RGB: upright, fitted into the square, centred on the padding.

    Raises UnreadableImageError. JPEGs are decoded at the smallest scale that still has twice the wanted resolution. Of an
    animation the first image is taken.
    """
    try:
        with _opened(source, formats, pixel_limit) as image:
            image.draft("RGB", (2 * size, 2 * size))
            return _square(_opaque(_upright(image)), size, _BARS[padding])
    except _UNREADABLE as error:
        raise UnreadableImageError(_reason(error, pixel_limit)) from None


def shrink(data: bytes, size: int, *, formats: Sequence[str] = FORMATS, pixel_limit: int = PIXEL_LIMIT) -> bytes:
    """The image with no side above `size` pixels, its shape kept: as it is where it is small, else an upright JPEG.

    Raises UnreadableImageError, also for a small one that is damaged.
    """
    try:
        with _opened(data, formats, pixel_limit) as image:
            if max(image.size) <= size:
                image.load()
                return data
            image.draft("RGB", (2 * size, 2 * size))
            small = _opaque(_upright(image))
            small.thumbnail((size, size), Image.Resampling.BICUBIC)
            made = BytesIO()
            small.save(made, format="JPEG", quality=90)
            return made.getvalue()
    except _UNREADABLE as error:
        raise UnreadableImageError(_reason(error, pixel_limit)) from None


def in_threads(
    work: Callable[[In], Out], items: Sequence[In], *, threads: int | None = None, progress: Progress | None = None
) -> Iterator[Out]:
    """`work` of each item, in order. Pillow decodes outside Python's lock, so threads keep all cores busy.

    Batches bound the memory that finished results wait in.
    """
    done, source = 0, iter(items)
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        while batch := list(islice(source, _BATCH)):
            yield from pool.map(work, batch)
            done += len(batch)
            if progress is not None:
                progress(done, len(items))


def _opened(source: Path | bytes, formats: Sequence[str] = FORMATS, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise UnreadableImageError("the file is empty")
    try:
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=tuple(formats))
    except UnidentifiedImageError:
        raise UnreadableImageError(f"not a picture (known formats: {', '.join(formats)})") from None
    width, height = image.size
    if width * height > pixel_limit:
        image.close()
        raise UnreadableImageError(f"{width:,} x {height:,} pixels are more than the limit of {pixel_limit:,}")
    return image


def _looks_whole(image: Image.Image, path: Path) -> bool:
    """True for a file that ends as its format should and, a PNG, whose checksums hold. False for other formats."""
    ending = _ENDINGS.get(image.format or "")
    if ending is None or ending not in _last_bytes(path):
        return False
    if image.format == "PNG":
        try:
            image.verify()
        except _UNREADABLE:
            return False
    return True


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read()


def _reason(error: BaseException, pixel_limit: int = PIXEL_LIMIT) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more pixels than the limit of {pixel_limit:,}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror}"
    return f"damaged or truncated ({error})"


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. Not by Pillow's `exif_transpose`, which also rewrites the EXIF and fails on odd values in it."""
    image.load()  # a PNG's EXIF may stand behind its pixels
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip 16-bit greys to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    ground = Image.new("RGBA", layered.size, (_GROUND, _GROUND, _GROUND, 255))
    return Image.alpha_composite(ground, layered).convert("RGB")


def _square(image: Image.Image, size: int, bars: int) -> NDArray[np.uint8]:
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    fitted = image.resize((width, height), Image.Resampling.BICUBIC)
    square = np.full((size, size, 3), bars, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.asarray(fitted)
    return square
