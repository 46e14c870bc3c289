"""What a node of a cluster needs of a workspace, as one stream of bytes.

The driver packs the catalog, its folds, and where an architecture of the sweep reads them the pictures and encoder folders;
`experiments.remote.node_workspace` unpacks. The code travels by itself, through Ray.
"""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import core
import ensemble
import experiments
import reports
import search_spaces
from core.atomic_files import digest
from core.errors import UserError
from core.inputs.images import list_pictures
from core.store.workspace import Facts, Workspace

CHUNK = 16 * 2**20
"""Bytes that travel at once: what a node holds in memory of a parcel of any size."""

CODE = (core, ensemble, experiments, reports, search_spaces)
_CATALOG = ("train.parquet", "test.parquet", "folds.parquet")
_ENCODER_FILES = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class Item:
    """A file of the parcel. name: below the node's folder. changed: in nanoseconds; caches know pictures by it."""

    name: str
    size: int
    changed: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a parcel but its bytes, which follow each other in the items' order.

    encoders: name of an encoder in the settings -> its folder below the node's.
    """

    key: str
    facts: Facts
    items: tuple[Item, ...]
    encoders: dict[str, str]


class Parcel:
    """The driver's side: the files of one workspace that a node needs."""

    def __init__(self, workspace: Workspace, *, pictures: bool, encoders: Collection[str] = ()) -> None:
        """pictures: whether any architecture reads them. encoders: local folders, as the settings name them.

        Raises UserError for a folder of pictures that cannot be read.
        """
        facts = workspace.facts if pictures else replace(workspace.facts, images=None)
        places = {name: f"encoders/{place}" for place, name in enumerate(sorted(encoders))}
        sources = {f"catalog/{name}": workspace.path("catalog", name) for name in _CATALOG}
        sources |= {f"pictures/{name}": path for name, path in _named_pictures(workspace, facts).items()}
        for name, place in places.items():
            files = sorted(Path(name).expanduser().iterdir())
            sources |= {f"{place}/{path.name}": path for path in files if path.suffix in _ENCODER_FILES}
        items = tuple(_item(name, path) for name, path in sources.items())
        self._sources = list(sources.values())
        self._ends = list(accumulate(item.size for item in items))
        key = digest(facts.catalog, facts.folds, *(f"{item.name}|{item.size}|{item.changed}" for item in items))
        self.manifest = Manifest(key[:20], facts, items, places)

    def read(self, offset: int, size: int = CHUNK) -> bytes:
        """At most `size` bytes of the stream from `offset`. Raises UserError for a file that has changed since it was packed."""
        parts: list[bytes] = []
        place = bisect_right(self._ends, offset)
        while size and place < len(self._ends):
            item, path = self.manifest.items[place], self._sources[place]
            begins = self._ends[place] - item.size
            wanted = min(size, self._ends[place] - offset)
            with path.open("rb") as file:
                file.seek(offset - begins)
                part = file.read(wanted)
            if len(part) != wanted:
                raise UserError(f"{path} has changed while it was sent to a node", cure="run the same command again")
            parts.append(part)
            offset, size, place = offset + wanted, size - wanted, place + 1
        return b"".join(parts)


def _named_pictures(workspace: Workspace, facts: Facts) -> dict[str, Path]:
    """The pictures that a row of the catalog names: a folder may hold others."""
    if facts.images is None:
        return {}
    found = list_pictures(Path(facts.images))
    names = {name for catalog in (workspace.train, workspace.test) for name in catalog.picture_names}
    return {name: found[name].path for name in sorted(names & found.keys())}


def _item(name: str, path: Path) -> Item:
    status = path.stat()
    return Item(name, status.st_size, status.st_mtime_ns)


@contextmanager
def staged_code() -> Iterator[Path]:
    """A folder with the packages that a job imports, for Ray to send: nothing else of the checkout travels."""
    with tempfile.TemporaryDirectory(prefix="pricestack-code-") as name:
        for package in CODE:
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, Path(name) / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(name)
