"""A Ray cluster on one machine whose nodes have folders of their own, in a process of its own, with token authentication."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOKEN = "3f" * 16
# As docs/cluster.md advises: with Ray's own settings a silent node is noticed after 65 seconds.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_RUNTIME_ENV_LOG_TO_DRIVER_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}

# `ray.cluster_utils` connects whoever imports it to what it starts: the driver under test shall not be that process.
_SERVER = """
import json, signal, sys
import psutil
from ray.cluster_utils import Cluster

def freeze(node):
    processes = [psutil.Process(one.process.pid) for kind in node.all_processes.values() for one in kind]
    for process in [*processes, *(child for each in processes for child in each.children(recursive=True))]:
        process.send_signal(signal.SIGSTOP)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "env_vars": {}})
there = {}
print(json.dumps(cluster.address), flush=True)
for line in sys.stdin:
    what, name, folder, gpus = json.loads(line)
    if what == "add":
        there[name] = cluster.add_node(num_cpus=1, num_gpus=int(gpus), env_vars={"PRICESTACK_NODE_FOLDER": folder})
    elif what == "freeze":
        freeze(there[name])
    else:
        cluster.remove_node(there.pop(name), allow_graceful=False)
    print(json.dumps("done"), flush=True)
cluster.shutdown()
"""


class LittleCluster:
    """A head that runs no jobs, and nodes of one core each."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self.folder = process, folder
        self.address = str(self._read())

    def add(self, name: str, gpus: int = 0) -> Path:
        """Starts a node; returns its folder. gpus: that it claims to have."""
        folder = self.folder / name
        self._ask("add", name, str(folder), str(gpus))
        return folder

    def kill(self, name: str) -> None:
        """SIGKILL for the node's processes, all at once."""
        self._ask("kill", name, "", "0")

    def freeze(self, name: str) -> None:
        """SIGSTOP for all of them: no connection is closed, as when a machine loses its power or its network."""
        self._ask("freeze", name, "", "0")

    def _ask(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        assert self._read() == "done"

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('"'):
                return json.loads(line)
        raise AssertionError("the cluster's process ended")


@contextmanager
def little_cluster(folder: Path) -> Iterator[LittleCluster]:
    """A running cluster, ended with all its processes whatever happens."""
    folder.mkdir(parents=True)
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, env={**os.environ, **ENVIRONMENT, **HEALTH, "PYTHONPATH": ""},
        )  # fmt: skip
        try:
            yield LittleCluster(process, folder)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)
