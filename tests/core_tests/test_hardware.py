"""Hardware: limits of spinning, in every process and before a library with threads is loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.hardware import SPIN_LIMITS, busy_note, limit_spinning, spin_limits, usable_cores

ROOT = Path(__file__).parents[2]
THREADED = {"lightgbm", "scipy", "sklearn", "torch", "transformers"}
"""Libraries that bring a runtime with threads, which reads its environment when it is loaded."""


def test_limits_are_set_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightgbm", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    environment: dict[str, str] = {}
    limit_spinning(environment)
    assert environment == SPIN_LIMITS == spin_limits(environment)


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_set_is_kept(given: dict[str, str]) -> None:
    environment = dict(given)
    limit_spinning(environment)
    assert environment.items() >= given.items()
    assert "OMP_WAIT_POLICY" not in given or environment == given


def test_a_library_that_was_loaded_too_early_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", ast)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.warns(RuntimeWarning, match="lightgbm"):
        limit_spinning({})


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


@pytest.mark.parametrize(
    ("load", "cores", "all_cores", "busy"),
    [(0.1, 2, 2, False), (1.0, 2, 2, True), (20.0, 2, 64, False), (63.0, 2, 64, True), (1.0, 16, 16, False)],
)
def test_a_machine_is_busy_where_others_leave_too_few_cores(
    load: float, cores: int, all_cores: int, busy: bool
) -> None:
    note = busy_note(load, cores, all_cores)
    assert (note is not None) == busy
    assert note is None or f"load {load:.1f}" in note


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
