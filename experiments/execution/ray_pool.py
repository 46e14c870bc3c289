"""Ray start-up: a local Ray or a cluster joined, its resources, and the code that is sent to workers."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

import core
import ensemble
import experiments
import reports
import search_spaces
from core.console import warn
from core.errors import UserError
from core.hardware import Machine, spin_limits

_CODE = (core, ensemble, experiments, reports, search_spaces)
_COUNT_SECONDS = 2.0
"""Between counts of a cluster's nodes."""


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs of each worker of a job, and the number of jobs at once.

    workers: of each job, where its architecture can be trained by several. elastic: as many jobs as the nodes of the cluster
    hold, whichever come and go.
    """

    concurrent: int
    cpus: float
    gpus: float
    workers: int = 1
    elastic: bool = False

    def slots(self, nodes: Sequence[Machine]) -> int:
        """Number of jobs that these nodes hold at once; the workers of one job may be on several nodes."""
        held = (min(math.floor(node.cores / self.cpus), gpu_slots(node, self.gpus)) for node in nodes)
        return sum(held) // self.workers


def gpu_slots(node: Machine, gpus: float) -> int:
    """Number of workers that the node's GPUs hold, each with so many or such a share of one: a share lies on a single GPU."""
    if not gpus:
        return node.cores
    return node.gpus * math.floor(1 / gpus) if gpus < 1 else math.floor(node.gpus / gpus)


class Capacity:
    """Number of jobs that may run now. On a cluster, whose nodes die and join, they are counted every few seconds."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._slots, self._counted_at, self._warned = resources.concurrent, -math.inf, False

    def slots(self) -> int:
        if not self.resources.elastic or time.monotonic() - self._counted_at < _COUNT_SECONDS:
            return self._slots
        self._slots, self._counted_at = self.resources.slots(nodes()), time.monotonic()
        if not self._slots and not self._warned:
            warn("no node of the cluster holds a job now: waiting for one to join (Ctrl-C stops the sweep in order)")
        self._warned = not self._slots
        return self._slots


@contextlib.contextmanager
def session(resources: Resources) -> Iterator[None]:
    """Ray on this machine alone, started quietly and stopped whatever happens."""
    # The dashboard's processes cost half a gigabyte; the object store carries results of a few kilobytes.
    start = {"include_dashboard": False, "object_store_memory": 128 * 2**20, "address": "local"}
    with _ray(**start, num_cpus=max(1, round(resources.concurrent * resources.workers * resources.cpus))):
        yield


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """A running cluster, joined with this program's code for its workers, and left whatever happens.

    Raises UserError for one that does not answer or does not let us in.
    """
    _check_reachable(address)
    # With a `working_dir`, Ray does not add the driver's current folder to the workers' paths: an older checkout that lies
    # there on a node cannot win over the code that travels.
    with staged_code() as code:
        environment = {"working_dir": str(code), "env_vars": spin_limits(os.environ)}
        with _ray(address=address, runtime_env=environment):
            yield


@contextlib.contextmanager
def staged_code() -> Iterator[Path]:
    """A folder with the packages that a job imports, for Ray to send: nothing else of the checkout travels."""
    with tempfile.TemporaryDirectory(prefix="pricestack-code-") as name:
        for package in _CODE:
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, Path(name) / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(name)


def nodes() -> tuple[Machine, ...]:
    """The machines of the joined cluster as Ray counts them now; one that runs no jobs has no cores."""
    alive = [each["Resources"] for each in ray.nodes() if each["Alive"]]
    return tuple(
        Machine(
            int(each.get("CPU", 0)),
            int(each.get("memory", 0)),
            "cuda" if "GPU" in each else "cpu",
            int(each.get("GPU", 0)),
        )
        for each in alive
    )


@contextlib.contextmanager
def _ray(**start: Any) -> Iterator[None]:
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **start)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Ray did not start: {error}",
            code="ray-not-started",
            hint="check --address and that ~/.ray/auth_token is the cluster's, or leave --address out",
        ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the sweep reports errors itself
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises UserError within seconds for a cluster that is not there: Ray itself would wait for minutes."""
    if address.startswith("ray://"):
        raise UserError(
            f"{address} is an address for Ray's client, which cannot run a sweep",
            code="ray-client-address",
            hint="make this machine a node without work, `ray start --address HEAD:6379 --num-cpus 0 --num-gpus 0`, and give "
            "--address HEAD:6379 (docs/cluster.md)",
        )
    if address == "auto":
        return  # the cluster that this machine is a node of: Ray finds out at once
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {address}: {error}",
            code="ray-unreachable",
            hint="start one with `ray start --head --port 6379` and give --address HOST:6379, or leave --address out",
        ) from None
