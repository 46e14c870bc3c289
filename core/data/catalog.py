"""Catalog: products in rows (ids, texts, image links, prices), the type that every part takes and slices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.atomic_files import atomic_path, digest

ID, TEXT, LINK, PRICE = "sample_id", "catalog_content", "image_link", "price"
MOST_IMAGES = 8
"""Most pictures that a model reads of one product."""
Strings = NDArray[np.object_]
Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class Catalog:
    """Rows of products, read-only.

    ids, texts, links: (n,) arrays of str; a link is "" where there is none. prices: (n,) float64, all finite and > 0, or None for
    rows to be predicted; in the units of their file, or divided by a workspace's scale. groups: (n,) int64, rows of the same
    product share a number, or None where products were not compared. images: folder of the pictures. kinds: label of a line
    -> kind as which the user wants it learnt (`FieldKind`).
    """

    ids: Strings
    texts: Strings
    links: Strings
    prices: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    images: Path | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    _derived: dict[Hashable, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.texts), len(self.links)}
        lengths |= {len(column) for column in (self.prices, self.groups) if column is not None}
        if len(lengths) != 1:
            raise ValueError(f"columns of a catalog differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_prices(self) -> NDArray[np.float64]:
        """The prices of rows that must have them. Raises ValueError for rows without."""
        if self.prices is None:
            raise ValueError("these catalog rows have no prices")
        return self.prices

    @property
    def product_groups(self) -> NDArray[np.int64]:
        """Group numbers; each row is its own group where products were not compared."""
        return np.arange(len(self), dtype=np.int64) if self.groups is None else self.groups

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Catalog:
        """The rows at these positions (or where the mask is true), in that order."""
        return Catalog(
            self.ids[rows],
            self.texts[rows],
            self.links[rows],
            None if self.prices is None else self.prices[rows],
            None if self.groups is None else self.groups[rows],
            self.images,
            self.kinds,
        )

    def with_groups(self, groups: NDArray[np.int64]) -> Catalog:
        """The same rows with these product groups (n,)."""
        return replace(self, groups=groups)

    def without_prices(self) -> Catalog:
        """The same rows as rows to be predicted."""
        return self if self.prices is None else replace(self, prices=None)

    def with_memory(self) -> Catalog:
        """The same rows with a memo of what models derive from them, for as long as several models predict them.

        The memo lives as long as the object. For one thread.
        """
        return replace(self, _derived={})

    def derived(self, key: Hashable, make: Callable[[], Derived]) -> Derived:
        """Result of `make` for these rows; a catalog with memory makes it once, and it must not be changed."""
        if self._derived is None:
            return make()
        if key not in self._derived:
            self._derived[key] = make()
        found: Derived = self._derived[key]
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, texts, links and prices in file order: names every artefact made from these rows."""
        prices = b"" if self.prices is None else np.ascontiguousarray(self.prices, dtype="<f8").tobytes()
        return digest(self.ids, self.texts, self.links, prices)

    @cached_property
    def image_names(self) -> Strings:
        """The picture file's name for each row (the link's basename), (n,), "" where there is no link."""
        return np.array([_file_name(first_link(link)) for link in self.links], dtype=object)

    def image_lists(self, most: int) -> list[list[str]]:
        """The paths (see `image_path`) of the first `most` different pictures that each row's link lists."""
        return [list(dict.fromkeys(filter(None, map(image_path, listed_links(link)))))[:most] for link in self.links]

    @cached_property
    def image_paths(self) -> Strings:
        """The link's host, folders and file name for each row, (n,), by which links with one basename are told apart."""
        return np.array([image_path(first_link(link)) for link in self.links], dtype=object)

    def save(self, path: Path) -> None:
        """Writes the rows as Parquet (groups and the pictures' folder are kept elsewhere)."""
        columns: dict[str, Any] = {ID: self.ids, TEXT: self.texts, LINK: self.links}
        if self.prices is not None:
            columns[PRICE] = self.prices
        with atomic_path(path) as temporary:
            pd.DataFrame(columns).to_parquet(temporary, index=False)


_IMAGE = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.I)


def first_link(link: str) -> str:
    """The first of several links."""
    return next(iter(listed_links(link)), "")


def listed_links(link: str) -> list[str]:
    """Links of a JSON list of texts, or parted by bars. One link is itself."""
    link = link.strip()
    if link.startswith("["):
        try:
            listed = json.loads(link)
        except (ValueError, RecursionError):  # a name that begins with a bracket
            return [link]
        return [each.strip() for each in listed if isinstance(each, str)] if isinstance(listed, list) else [link]
    return [each.strip() for each in link.split("|")]


def _file_name(link: str) -> str:
    if "://" not in link and "\\" in link:
        return PureWindowsPath(link).name
    try:
        parts = urlsplit(link)
    except ValueError:  # `http://[x/1.jpg` is no address, but it still ends in a file's name
        return PurePosixPath(link).name
    name = PurePosixPath(parts.path).name
    if _IMAGE.search(name):
        return name
    if not parts.scheme and _IMAGE.search(
        parts.fragment
    ):  # a path, where `#` is a letter as others: `images/mug #1.jpg`
        return PurePosixPath(link).name
    named = [value for _, value in parse_qsl(parts.query) if _IMAGE.search(value)]  # `image.php?file=1.jpg`
    return PurePosixPath(named[0]).name if len(named) == 1 else name


LONGEST_NAME = 236
"""Bytes of a file's name, below the 255 of file systems by what a temporary name and a suffix add."""


def image_path(link: str) -> str:
    """`host/folder/1.jpg` of a link, "" for none: no `..`, nothing that a file system refuses, and no query, unless only the
    query tells pictures apart (`image.php?id=7`).
    """
    name = _file_name(link)
    if not name:
        return ""
    if "://" not in link and "\\" in link:
        folders = list(PureWindowsPath(link).parts[1 if PureWindowsPath(link).anchor else 0 : -1])
    else:
        try:
            parts = urlsplit(link)
        except ValueError:
            return _safe(name)
        folders = [parts.netloc.rpartition("@")[2], *parts.path.split("/")[:-1]]
        if parts.scheme and parts.query and not _IMAGE.search(name):
            name = f"{name}?{parts.query}"
    return "/".join(_safe(each) for each in (*folders, name) if each not in ("", ".", ".."))


def _safe(name: str) -> str:
    name = re.sub(r"[\x00-\x1f/\\\ud800-\udfff]", "_", name)
    return name if len(name.encode()) <= LONGEST_NAME else digest(name)


def load_catalog(path: Path, images: Path | None = None) -> Catalog:
    """Reads back what `Catalog.save` wrote."""
    frame = pd.read_parquet(path)
    texts = [np.array(frame[name].tolist(), dtype=object) for name in (ID, TEXT, LINK)]
    prices = frame[PRICE].to_numpy(dtype=np.float64) if PRICE in frame else None
    return Catalog(texts[0], texts[1], texts[2], prices, images=images)
