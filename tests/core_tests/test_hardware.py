"""Hardware: limits of spinning, in every process and before a library with threads is loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.hardware import SPIN_LIMITS, limit_spinning, spin_limits, usable_cores

ROOT = Path(__file__).parents[2]
THREADED = {"lightgbm", "scipy", "sklearn", "torch", "transformers"}
"""Libraries that bring a runtime with threads, which reads its environment when it is loaded."""

_WATCH = """
import os, sys

class Watch:
    def find_spec(self, name, *_):
        assert name not in {threaded} or "GOMP_SPINCOUNT" in os.environ, name

sys.meta_path.insert(0, Watch())
import {package}
print(os.environ["GOMP_SPINCOUNT"])
"""


def test_limits_are_set_where_nothing_is_said() -> None:
    environment: dict[str, str] = {}
    limit_spinning(environment)
    assert environment == SPIN_LIMITS == spin_limits(environment)


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_set_is_kept(given: dict[str, str]) -> None:
    environment = dict(given)
    limit_spinning(environment)
    assert environment.items() >= given.items()
    assert "OMP_WAIT_POLICY" not in given or environment == given


@pytest.mark.parametrize(
    "package", ["core", "ensemble", "experiments", "pricestack", "reports", "search_spaces", "serving"]
)
def test_each_package_limits_spinning_before_it_loads_a_library(package: str) -> None:
    script = _WATCH.format(package=package, threaded=THREADED)
    clean = {name: value for name, value in os.environ.items() if name not in SPIN_LIMITS}
    child = subprocess.run([sys.executable, "-c", script], env=clean, capture_output=True, text=True, check=True)
    assert child.stdout.split() == [SPIN_LIMITS["GOMP_SPINCOUNT"]]


def _group(root: Path, memberships: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": memberships, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1, V2 = "sys/fs/cgroup/cpu", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("memberships", "files", "cores"),
    [
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {f"{V2}/cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {f"{V2}/cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {f"{V2}/a/b/cpu.max": "max 100000\n", f"{V2}/a/cpu.max": "300000 100000\n"}, 3),
        ("0::/of/the/host\n", {f"{V2}/cpu.max": "400000 100000\n"}, 4),
        ("4:memory:/\n1:cpu,cpuacct:/\n", {f"{V1}/cpu.cfs_quota_us": "350000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 3),
        ("1:cpu:/\n0::/\n", {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)  # fmt: skip
def test_cores_follow_the_quota(
    memberships: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores(_group(tmp_path, memberships, files)) == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_follow_the_affinity_of_the_process() -> None:
    one = str(min(os.sched_getaffinity(0)))
    script = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); from core.hardware import usable_cores; print(usable_cores())"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_the_project_before_a_library_with_threads(path: Path) -> None:
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [each.name.partition(".")[0] for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(str(node.module).partition(".")[0])
    first = next((name for name in names if name in THREADED or (ROOT / name / "__init__.py").is_file()), None)
    assert first not in THREADED
