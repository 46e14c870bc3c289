"""Remote runner: jobs on nodes of a Ray cluster without a shared folder.

`DriverActor` (`experiments.remote.driver_actor`) runs on the driver's node and dies with the driver. A node asks it for the
payload (`experiments.remote.payload`), and sends it what a job left before it reports the job's outcome.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from core.architectures import architecture
from core.encoders.loading import moved
from core.protocols.architecture import ALONE, Group, Report, make_config
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome
from experiments.execution.job_worker import run_job
from experiments.remote.driver_actor import DriverActor, deliver
from experiments.remote.payload import Manifest, Payload, WorkerFolder, node_folder, unpack

_AT_ONCE = 8
"""Nodes that the driver's node serves at the same time; each call moves one chunk."""


@dataclass(frozen=True)
class RemoteRunner:
    """Function of a cluster's worker: `run_job` on the node's own workspace.

    preparations: settings by architecture, with which each node fills its cache. drop_bad, cache_limit, storage_path: as the
    user gave them; the limit is each node's.
    """

    driver: Any
    preparations: Mapping[str, Mapping[str, Any]]
    drop_bad: bool = False
    cache_limit: int | None = None
    storage_path: str | None = None

    def __call__(self, job: Job, report: Report, *, group: Group = ALONE, device: str = "") -> JobOutcome:
        worker = _worker_folder(self.driver)
        worker.clear()
        workspace = Workspace(worker.folder)
        _drop_ended(self.driver, workspace)
        if job.architecture not in worker.prepared:
            self._prepare(workspace, job.architecture)
            worker.prepared.add(job.architecture)
        outcome = run_job(job, report, worker.folder, self.cache_limit, self.storage_path, group=group, device=device)
        if group.leads:
            deliver(workspace, job, partial(_call, self.driver.receive), partial(_call, self.driver.complete))
        return outcome

    def _prepare(self, workspace: Workspace, name: str) -> None:
        kind = architecture(name)
        config = make_config(kind.Config, self.preparations[name])
        catalogs = {"train": workspace.train, "test": workspace.test}
        kind.prepare(catalogs, config, workspace.cache(self.cache_limit), drop_bad=self.drop_bad)

    def end(self, job: Job) -> None:
        """On the driver: tells the nodes that this job will not go on."""
        self.driver.end.remote(job.folder)


def start_driver_actor(payload: Payload, workspace: Path) -> Any:
    """Starts `DriverActor` on this node; it ends with the driver. Needs a joined cluster."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": _AT_ONCE, "scheduling_strategy": here}
    return ray.remote(DriverActor).options(**options).remote(payload, workspace)


@lru_cache(maxsize=1)
def _worker_folder(driver: Any) -> WorkerFolder:
    """One process unpacks once; `driver` is the same handle for all jobs of a sweep."""
    contents: Manifest = _call(driver.manifest)
    shared = unpack(contents, lambda offset: _stream(driver, offset), node_folder())
    for name, place in contents.encoders.items():
        moved(name, shared / place)
    return WorkerFolder(shared)


def _stream(driver: Any, offset: int) -> Iterator[bytes]:
    """The payload from there on; the next chunk travels while this one is written."""
    ahead = driver.read.remote(offset)
    while data := _answer(ahead):
        offset += len(data)
        ahead = driver.read.remote(offset)
        yield data


def _drop_ended(driver: Any, workspace: Workspace) -> None:
    """States of trials that were stopped: their own worker cannot tell a stop from an interruption, and keeps them."""
    trials = workspace.path("trials")
    there = [path.relative_to(trials).as_posix() for path in trials.glob("*/*-*") if path.is_dir()]
    for folder in _call(driver.ended, there) if there else ():
        shutil.rmtree(trials / folder, ignore_errors=True)


def _call(method: Any, *arguments: Any) -> Any:
    return _answer(method.remote(*arguments))


def _answer(reference: Any) -> Any:
    """Answer of `DriverActor`; its exceptions are raised as they were there, without Ray's wrapping."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
