"""A node's own folder: where a parcel becomes a workspace, and where each worker leaves what it has made.

<PRICESTACK_NODE_FOLDER>/<key>/catalog/*.parquet  pictures/*  encoders/<n>/*
<PRICESTACK_NODE_FOLDER>/<key>/workspace.json     written last: where it is, all of it is there
<PRICESTACK_NODE_FOLDER>/<key>/cache/ trials/     the node's caches and its trainings' states, shared by its workers
<PRICESTACK_NODE_FOLDER>/<key>/workers/<id>/      one process's workspace: links to the above, and members/ of its own
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from uuid import uuid4

from core.atomic_files import locked, write_json
from core.errors import UserError
from experiments.remote.payload import Item, Manifest

ENVIRONMENT = "PRICESTACK_NODE_FOLDER"
_FOLDERS = ("catalog", "pictures", "encoders")
_SHARED = ("catalog", "cache", "trials", "workspace.json")

Stream = Callable[[int], Iterator[bytes]]
"""The bytes of a parcel from an offset on, in pieces of any size."""


def node_folder() -> Path:
    """Where this node unpacks: `PRICESTACK_NODE_FOLDER`, or a folder of this user's in the system's folder for temporary files.

    Raises UserError where somebody else owns that folder: in a folder that all may write to, names are nobody's.
    """
    named = os.environ.get(ENVIRONMENT)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"pricestack-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"the folder {folder} on node {os.uname().nodename} belongs to somebody else",
            cure=f"set {ENVIRONMENT} on the node to a folder of your own before `ray start`",
        )
    return folder


def unpack(contents: Manifest, stream: Stream, base: Path) -> Path:
    """The folder of that parcel below `base`, whole: unpacked once, while other processes wait.

    What a killed process had written is kept and not fetched again. Raises UserError for names that lead outside and for a
    stream that ends early.
    """
    folder = base / _plain(contents.key)
    with locked(base / f".{folder.name}.lock"):
        if not (folder / "workspace.json").exists():
            _fill(folder, contents, stream)
            images = str(folder / "pictures") if contents.facts.images is not None else None
            write_json(folder / "workspace.json", asdict(replace(contents.facts, images=images)))
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
                    raise UserError(f"the parcel ended within {item.name}", cure="run the same command again")
                file.write(rest[:missing])
                missing, rest = missing - len(rest[:missing]), rest[missing:]
            if contents.facts.images is None:
                os.fsync(file.fileno())
        os.utime(path, ns=(item.changed, item.changed))
    if contents.facts.images is not None:
        os.sync()  # once for all: tens of thousands of pictures would take minutes one by one


def _is_whole(path: Path, item: Item) -> bool:
    """Files get their time of change once they are written: one that was cut short has another."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (item.size, item.changed)


def place_below(folder: Path, name: str) -> Path:
    """The path of an item below the node's folder. Raises UserError for a name that leads anywhere else."""
    parts = name.split("/")
    wanted = 3 if parts[0] == "encoders" else 2
    if parts[0] not in _FOLDERS or len(parts) != wanted:
        raise UserError(f"a parcel must not hold {name!r}", cure="see who else sends jobs to this cluster")
    return folder.joinpath(*(_plain(part) for part in parts))


def _plain(part: str) -> str:
    if part in ("", ".", "..") or "\0" in part or PurePosixPath(part).name != part:
        raise UserError(f"{part!r} is no name of a file", cure="see who else sends jobs to this cluster")
    return part


class Workbench:
    """A workspace of this process alone: what its jobs make lies apart, what all workers of the node need is linked.

    The kernel lets go of the lock when the process dies; its leftovers are removed by the next process that comes.
    """

    def __init__(self, shared: Path) -> None:
        """shared: what `unpack` made."""
        workers = shared / "workers"
        workers.mkdir(exist_ok=True)
        for name in ("cache", "trials"):
            (shared / name).mkdir(exist_ok=True)
        _remove_abandoned(workers)
        self.folder = workers / uuid4().hex
        self._life = ExitStack()  # never left: the lock is held until the process ends
        self._life.enter_context(locked(workers / f".{self.folder.name}.lock"))
        self.folder.mkdir()
        for name in _SHARED:
            (self.folder / name).symlink_to(shared / name)

    def clear(self) -> None:
        """Removes what an earlier job left: one that was stopped from outside could not."""
        shutil.rmtree(self.folder / "members", ignore_errors=True)


def _remove_abandoned(workers: Path) -> None:
    for path in workers.glob(".*.lock"):
        with locked(path, wait=False) as free:
            if free:  # or its process lives
                shutil.rmtree(workers / path.name.removeprefix(".").removesuffix(".lock"), ignore_errors=True)
                path.unlink(missing_ok=True)
