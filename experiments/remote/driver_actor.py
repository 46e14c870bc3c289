"""Ray actor on the driver node: serves inputs to nodes, receives and checks their artifacts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

from core.atomic_files import sync
from core.errors import UserError
from core.store.workspace import Workspace
from experiments.common.jobs import Job
from experiments.execution.job_worker import holdout_path, trial_path
from experiments.remote.payload import CHUNK, Manifest, Payload

_CONFIG = r"[a-z][a-z0-9_]*-[0-9a-f]{12}"
_ACCEPTED = re.compile(
    rf"(?:trials/{_CONFIG}/(?:trial\.json|holdout\.parquet)|members/{_CONFIG}/fold-\d{{1,4}}/[A-Za-z0-9][A-Za-z0-9._-]{{0,100}})"
)
_DELIVERY = re.compile(r"[0-9a-f]{32}")
_MARKERS = ("fit.json", "trial.json")
"""In the order of their writing: a trial that may serve as a member's fold has both."""


class ArtifactReceiver:
    """Writes delivered files into the driver's workspace; nodes may send at once, and send the same again."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self._staging = workspace, workspace / "ray" / "arrivals"
        shutil.rmtree(self._staging, ignore_errors=True)  # of nodes that died while they sent to an earlier sweep

    def receive(self, delivery: str, name: str, offset: int, data: bytes) -> None:
        """Adds bytes to a file of a delivery. Raises UserError for a name that no finished job leaves and for a gap."""
        path = self._waiting(delivery, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() != offset:
                raise UserError(
                    f"{name}: bytes from {offset} on came after {file.tell()}",
                    code="artifact-bad-offset",
                    hint="run the command again",
                )
            file.write(data)

    def complete(self, delivery: str, sizes: Mapping[str, int]) -> None:
        """Moves a delivery to its places, markers last. Raises UserError where a file is not of the size that was sent."""
        waiting = {name: self._waiting(delivery, name) for name in sizes}
        for name, size in sizes.items():
            there = waiting[name].stat().st_size if waiting[name].exists() else 0
            if there != size:
                raise UserError(
                    f"{name}: {there} of {size} bytes arrived",
                    code="artifact-incomplete",
                    hint="run the same command again",
                )
        in_order = sorted(sizes, key=lambda name: [name.endswith(f"/{marker}") for marker in reversed(_MARKERS)])
        missing = [name for name in in_order if not self._is_there(name)]
        for name in missing:
            sync(waiting[name])
        for name in missing:
            place = self.workspace / name
            place.parent.mkdir(parents=True, exist_ok=True)
            waiting[name].replace(place)
            sync(place.parent)
        shutil.rmtree(self._staging / delivery, ignore_errors=True)

    def _is_there(self, name: str) -> bool:
        """True where a trial or fit has arrived before: the first one stays, and no two are ever mixed."""
        folder = (self.workspace / name).parent
        return any((folder / marker).exists() for marker in _MARKERS)

    def _waiting(self, delivery: str, name: str) -> Path:
        if not _DELIVERY.fullmatch(delivery) or not _ACCEPTED.fullmatch(name):
            raise UserError(
                f"a node must not send {name!r}",
                code="artifact-bad-name",
                hint="see who else sends jobs to this cluster",
            )
        return self._staging / delivery / name


def deliver(
    workspace: Workspace,
    job: Job,
    receive: Callable[[str, str, int, bytes], None],
    complete: Callable[[str, Mapping[str, int]], None],
) -> None:
    """Sends a finished job's files from its worker's workspace to the driver, then removes them there.

    receive, complete: of `ArtifactReceiver`, or calls of them from another node.
    """
    delivery, sizes = uuid4().hex, dict[str, int]()
    for path in _artifacts(workspace, job):
        name = path.relative_to(workspace.folder).as_posix()
        sizes[name] = 0
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                receive(delivery, name, sizes[name], data)
                sizes[name] += len(data)
    if sizes:
        complete(delivery, sizes)
    for name in sizes:
        (workspace.folder / name).unlink(missing_ok=True)


def _artifacts(workspace: Workspace, job: Job) -> Iterator[Path]:
    """Files of a finished job. A worker runs one job at a time in a store of its own: every whole fit there is the job's."""
    for marker in workspace.store.folder.glob("*/fold-*/fit.json"):
        yield from sorted(path for path in marker.parent.iterdir() if path.is_file())
    if trial_path(workspace, job.name).exists():
        yield from (holdout_path(workspace, job.name), trial_path(workspace, job.name))


class DriverActor(ArtifactReceiver):
    """Ray actor on the driver's node: serves the payload, receives artifacts, lists ended jobs."""

    def __init__(self, payload: Payload, workspace: Path) -> None:
        super().__init__(workspace)
        self._payload, self._ended = payload, set[str]()

    def manifest(self) -> Manifest:
        return self._payload.manifest

    def read(self, offset: int) -> bytes:
        return self._payload.read(offset)

    def end(self, folder: str) -> None:
        self._ended.add(folder)

    def ended(self, folders: Collection[str]) -> list[str]:
        """Those of these folders whose trainings have ended (`Job.folder`): the node need not keep their states."""
        return [each for each in folders if each in self._ended]
