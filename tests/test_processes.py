"""Limits of spinning in each kind of process: commands, notebooks, Ray workers here and on other nodes, the service's workers.

Each test starts Python without the variables that whoever runs the tests may have set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.hardware import SPIN_LIMITS
from tests.experiments_tests.clusters import ENVIRONMENT, little_cluster

THREADED = {"lightgbm", "scipy", "sklearn", "torch", "transformers"}
"""Libraries that bring a runtime with threads, which reads its environment when it is loaded."""
COMMANDS = [
    "core.demo", "core.labels", "ensemble.add", "ensemble.stack", "experiments.compare",
    "experiments.dashboard", "experiments.status", "experiments.sweep", "pricestack.cli", "reports.build", "reports.diagnose",
    "serving.api", "serving.export", "serving.keys", "serving.predict",
]  # fmt: skip
_WATCH = f"""
import os, sys

class Watch:
    def find_spec(self, name, *_):
        assert name not in {THREADED!r} or "GOMP_SPINCOUNT" in os.environ, name

sys.meta_path.insert(0, Watch())
"""
_PRINT = "print(os.environ.get('GOMP_SPINCOUNT'))"
_RAY = """
import os
from experiments.execution.ray_pool import Resources, joined, session
import ray

with {start}:
    print(ray.get(ray.remote(lambda: os.environ.get("GOMP_SPINCOUNT")).remote()))
"""
_SERVICE = """
import time
from pathlib import Path

import psutil

from serving.engine.process_worker import Worker

if __name__ == "__main__":
    worker = Worker(Path("no-bundle"), 1, None)
    while "spawn_main" not in " ".join(psutil.Process(worker.pid).cmdline()):
        time.sleep(0.01)
    print(psutil.Process(worker.pid).environ().get("GOMP_SPINCOUNT"))
    worker.stop()
"""


def last_line(script: str, *arguments: object, **environment: str) -> str:
    """What a Python process that runs this script prints last."""
    clean = {name: value for name, value in os.environ.items() if name not in (*SPIN_LIMITS, "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    child = subprocess.run(
        command, env={**clean, **environment}, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    return child.stdout.splitlines()[-1]


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_limit_spinning_before_they_load_a_library(module: str) -> None:
    call = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    run = f"import runpy\ntry:\n    {call}\nexcept SystemExit:\n    pass\n"
    assert last_line(f"{_WATCH}{run}{_PRINT}", "--help") == SPIN_LIMITS["GOMP_SPINCOUNT"]


@pytest.mark.parametrize("first", ["from pricestack import sweep", "import search_spaces", "import reports.build"])
def test_a_notebook_limits_spinning_by_its_first_import(first: str) -> None:
    assert last_line(f"{_WATCH}{first}\n{_PRINT}") == SPIN_LIMITS["GOMP_SPINCOUNT"]


@pytest.mark.parametrize("given", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_has_set_reaches_the_children(given: str) -> None:
    child = "import subprocess, sys, pricestack; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    shown = f"import os; print(os.environ.get('{given}'), len({{*{list(SPIN_LIMITS)}}} & {{*os.environ}}))"
    value = {"GOMP_SPINCOUNT": "77", "OMP_WAIT_POLICY": "PASSIVE"}[given]
    kept = len(SPIN_LIMITS) if given == "GOMP_SPINCOUNT" else 0
    assert last_line(child, shown, **{given: value}) == f"{value} {kept}"


def test_workers_of_a_sweep_on_this_machine_limit_spinning() -> None:
    assert last_line(_RAY.format(start="session(Resources(1, 1.0, 0.0))")) == SPIN_LIMITS["GOMP_SPINCOUNT"]


def test_workers_on_other_nodes_limit_spinning_before_they_import_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SPIN_LIMITS:
        monkeypatch.delenv(name, raising=False)
    with little_cluster(tmp_path / "cluster") as cluster:
        cluster.add("a")
        script = _RAY.format(start=f"joined({cluster.address!r})")
        assert last_line(script, **ENVIRONMENT) == SPIN_LIMITS["GOMP_SPINCOUNT"]


def test_the_processes_of_the_service_limit_spinning(tmp_path: Path) -> None:
    path = tmp_path / "service.py"
    path.write_text(_SERVICE)
    script = f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"
    assert last_line(script) == SPIN_LIMITS["GOMP_SPINCOUNT"]
