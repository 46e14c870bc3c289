"""The house's arrows (docs/architecture.md): who may import whom. Reads every import statement of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

HOUSE = {"core", "search_spaces", "ensemble", "experiments", "reports", "serving"}
ALLOWED = {
    "core": set(),
    "search_spaces": {"core"},
    "reports": {"core"},
    "ensemble": {"core", "reports"},
    "experiments": {"core", "search_spaces", "ensemble", "reports"},
    "serving": {"core", "ensemble"},
}
DOORS = {
    "ray": {
        "experiments/execution/ray_tuner.py",
        "experiments/execution/ray_pool.py",
        "experiments/remote/remote_runner.py",
        "experiments/execution/data_parallel.py",
        "serving/engine/ray_serve.py",
    },
    "mlflow": {
        "experiments/tracking/mlflow_client.py",
        "serving/bundle/mlflow_registry.py",
        "serving/bundle/pyfunc_model.py",
        "serving/monitoring/mlflow_logger.py",
    },
}
MODULES = sorted(
    path.relative_to(ROOT)
    for package in HOUSE
    for path in (ROOT / package).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imported(path: Path) -> Iterator[str]:
    """Every absolute module name imported anywhere in the file, functions included."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this house"
            yield node.module or ""


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_follow_the_arrows(path: Path) -> None:
    package = path.parts[0]
    siblings = {name.partition(".")[0] for name in imported(path)} & HOUSE - {package}
    assert siblings <= ALLOWED[package], f"{path} imports {sorted(siblings - ALLOWED[package])}"


@pytest.mark.parametrize("library", sorted(DOORS))
def test_heavy_libraries_have_few_doors(library: str) -> None:
    users = {str(path) for path in MODULES if any(name.partition(".")[0] == library for name in imported(path))}
    assert users == DOORS[library]


WITHOUT_TORCH = [
    "core.data.reading", "core.data.folds", "core.metrics", "core.fields", "core.store.workspace", "core.demo", "core.data.fold_making",
    "experiments.status", "experiments.tracking.sweep_state", "experiments.compare", "experiments.tracking.comparison", "core.backbones",
    "core.architectures.lexical", "core.architectures.boosted", "ensemble.stack", "search_spaces",
    "serving.middleware", "serving.keys", "serving.api", "serving.web.app", "serving.engine.service", "serving.engine.process_worker",
    "ensemble.pipeline.serialization", "serving.bundle.predictor", "serving.bundle.builder", "serving.engine.batch", "serving.export", "serving.predict",
]  # fmt: skip


def test_what_needs_no_torch_does_not_import_it() -> None:
    """All in one process: what none of them has imported in the end, no single one imports."""
    code = "import importlib, sys\n"
    code += f"for module in {WITHOUT_TORCH}:\n"
    code += "    importlib.import_module(module)\n"
    code += "    heavy = [name for name in ('torch', 'ray', 'mlflow') if name in sys.modules]\n"
    code += "    assert not heavy, f'{module} imports {heavy}'\n"
    code += "print('done')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout == "done\n", result.stderr


def test_no_file_is_over_400_lines_and_half_are_under_200() -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
    assert sum(length < 200 for length in lengths.values()) >= len(lengths) / 2
