"""Payload of a remote run: catalog, folds, images and encoders packed as one stream, and unpacked on a node.

Images and encoder folders travel only if an architecture of the sweep reads them. Ray sends the code by itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from uuid import uuid4

from core.atomic_files import digest, locked, write_json
from core.data.catalog import MOST_IMAGES
from core.errors import UserError
from core.inputs.images.files import list_images
from core.store.workspace import Workspace, WorkspaceFacts

CHUNK = 16 * 2**20
"""Bytes of one transfer: as much as a node holds in memory of a payload of any size."""

_CATALOG = ("train.parquet", "test.parquet", "folds.parquet")
_ENCODER_FILES = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class Item:
    """A file of the payload. name: below the node's folder. changed: in nanoseconds; caches know images by it."""

    name: str
    size: int
    changed: int


@dataclass(frozen=True)
class Manifest:
    """Table of contents of a payload, whose bytes follow each other in the items' order.

    encoders: name of an encoder in the settings -> its folder below the node's.
    """

    key: str
    facts: WorkspaceFacts
    items: tuple[Item, ...]
    encoders: dict[str, str]


class Payload:
    """Files of one workspace that a node needs, as the driver serves them."""

    def __init__(self, workspace: Workspace, *, images: bool, encoders: Mapping[str, Path] | None = None) -> None:
        """images: an architecture reads them. encoders: folders by the names that the settings have.

        Raises UserError for a folder of images that cannot be read.
        """
        facts = workspace.facts if images else replace(workspace.facts, images=None)
        folders = encoders or {}
        places = {name: f"encoders/{place}" for place, name in enumerate(sorted(folders))}
        sources = {f"catalog/{name}": workspace.path("catalog", name) for name in _CATALOG}
        sources |= {f"pictures/{name}": path for name, path in _named_images(workspace, facts).items()}
        for name, place in places.items():
            files = sorted(path for path in folders[name].iterdir() if path.suffix in _ENCODER_FILES)
            sources |= {f"{place}/{path.name}": path for path in files}
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
                raise UserError(
                    f"{path} has changed while it was sent to a node",
                    code="payload-file-changed",
                    hint="run the same command again",
                )
            parts.append(part)
            offset, size, place = offset + wanted, size - wanted, place + 1
        return b"".join(parts)


def _named_images(workspace: Workspace, facts: WorkspaceFacts) -> dict[str, Path]:
    """Images that a row of the catalog names, as many as a model may read, by place in the folder; it may hold others."""
    if facts.images is None:
        return {}
    catalogs = (workspace.train, workspace.test)
    names = {name for catalog in catalogs for names in catalog.image_lists(MOST_IMAGES) for name in names}
    folder = Path(facts.images)
    paths = {file.path for file in list_images(folder, names).values()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def _item(name: str, path: Path) -> Item:
    status = path.stat()
    return Item(name, status.st_size, status.st_mtime_ns)


ENVIRONMENT = "PRICESTACK_NODE_FOLDER"
_FOLDERS = ("catalog", "pictures", "encoders")
_SHARED = ("catalog", "cache", "trials", "workspace.json")

Stream = Callable[[int], Iterator[bytes]]
"""Reader of a payload's bytes from an offset on, in pieces of any size."""


def node_folder() -> Path:
    """Folder into which this node unpacks: `PRICESTACK_NODE_FOLDER`, or one of this user's in the temporary folder.

    Raises UserError where somebody else owns that folder: in a folder that all may write to, names are nobody's.
    """
    named = os.environ.get(ENVIRONMENT)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"pricestack-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"the folder {folder} on node {os.uname().nodename} belongs to somebody else",
            code="node-folder-foreign",
            hint=f"set {ENVIRONMENT} on the node to a folder of your own before `ray start`",
        )
    return folder


def unpack(contents: Manifest, stream: Stream, base: Path) -> Path:
    """Folder of that payload below `base`, whole: unpacked once, while other processes wait.

    What a killed process had written is kept and not fetched again. Raises UserError for names that lead outside and for a
    stream that ends early.
    """
    folder = base / _plain(contents.key)
    with locked(base / f".{folder.name}.lock"):
        if not (folder / "workspace.json").exists():
            _fill(folder, contents, stream)
            images = str(folder / "pictures") if contents.facts.images is not None else None
            write_json(folder / "workspace.json", replace(contents.facts, images=images).record)
    return folder


def _fill(folder: Path, contents: Manifest, stream: Stream) -> None:
    waiting = list(contents.items)
    offset = 0
    while waiting and _is_whole(place_below(folder, waiting[0].name), waiting[0]):
        offset += waiting.pop(0).size
    if contents.facts.images is not None:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
    chunks, rest = stream(offset), memoryview(b"")  # a view: cutting bytes copies what is left, file by file
    for item in waiting:
        path = place_below(folder, item.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = item.size
        with path.open("wb") as file:
            while missing:
                rest = rest or memoryview(next(chunks, b""))
                if not rest:
                    raise UserError(
                        f"the payload ended within {item.name}",
                        code="payload-truncated",
                        hint="run the same command again",
                    )
                file.write(rest[:missing])
                missing, rest = missing - len(rest[:missing]), rest[missing:]
            if contents.facts.images is None:
                os.fsync(file.fileno())
        os.utime(path, ns=(item.changed, item.changed))
    if contents.facts.images is not None:
        os.sync()  # once for all: tens of thousands of images would take minutes one by one


def _is_whole(path: Path, item: Item) -> bool:
    """Files get their time of change once they are written: one that was cut short has another."""
    return path.exists() and _item(item.name, path) == item


def place_below(folder: Path, name: str) -> Path:
    """The path of an item below the node's folder. Raises UserError for a name that leads anywhere else."""
    parts = name.split("/")
    wanted = 3 if parts[0] == "encoders" else 2
    if parts[0] not in _FOLDERS or len(parts) != wanted:
        raise UserError(
            f"a payload must not hold {name!r}", code="payload-bad-path", hint="see who else sends jobs to this cluster"
        )
    return folder.joinpath(*(_plain(part) for part in parts))


def _plain(part: str) -> str:
    if part in ("", ".", "..") or "\0" in part or PurePosixPath(part).name != part:
        raise UserError(
            f"{part!r} is no name of a file", code="payload-bad-name", hint="see who else sends jobs to this cluster"
        )
    return part


class WorkerFolder:
    """Workspace of this process alone: its jobs' artifacts lie apart, inputs of all workers of the node are linked.

    prepared: the architectures whose caches this process has filled.
    The kernel lets go of the lock when the process dies; its leftovers are removed by the next process that comes.
    """

    def __init__(self, shared: Path) -> None:
        """shared: folder that `unpack` made."""
        workers = shared / "workers"
        workers.mkdir(exist_ok=True)
        for name in ("cache", "trials"):
            (shared / name).mkdir(exist_ok=True)
        _remove_abandoned(workers)
        self.folder = workers / uuid4().hex
        self.prepared: set[str] = set()
        self._life = ExitStack()  # never left: the lock is held until the process ends
        self._life.enter_context(locked(workers / f".{self.folder.name}.lock"))
        self.folder.mkdir()
        for name in _SHARED:
            (self.folder / name).symlink_to(shared / name)

    def clear(self) -> None:
        """Removes the artifacts of an earlier job: one that was stopped from outside could not."""
        shutil.rmtree(self.folder / "members", ignore_errors=True)


def _remove_abandoned(workers: Path) -> None:
    for path in workers.glob(".*.lock"):
        with locked(path, wait=False) as free:
            if free:  # or its process lives
                shutil.rmtree(workers / path.name.removeprefix(".").removesuffix(".lock"), ignore_errors=True)
                path.unlink(missing_ok=True)
