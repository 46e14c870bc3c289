"""Imports between packages and sub-packages, doors of heavy libraries, sizes and names (docs/architecture.md)."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.layout import (
    DOORS,
    FORWARDERS,
    PACKAGES,
    PAGE,
    ROOMS,
    imported,
    importers,
    modules,
    page_with_tables,
    room,
    upward_imports,
)
from tests.paths import ROOT

MODULES = modules()
SAME_NAME = {"__init__.py", "__main__.py", "base.py"}
MOST_PARAMETERS = 7


def test_every_folder_of_source_is_in_the_layout() -> None:
    folders = {(path.parts[0], room(path)) for path in MODULES if room(path)}
    assert folders == {(package, name) for package, names in ROOMS.items() for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_packages_follow_the_table(package: str) -> None:
    found = {
        (str(path), name)
        for path in MODULES
        if path.parts[0] == package
        for name in imported(path)
        if name.partition(".")[0] in PACKAGES.keys() - PACKAGES[package] - {package}
    }
    assert found == set()


@pytest.mark.parametrize("package", ROOMS)
def test_imports_between_sub_packages_run_downwards(package: str) -> None:
    found = {str(path): upward_imports(path) for path in MODULES if path.parts[0] == package}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("library", DOORS)
def test_heavy_libraries_have_few_doors(library: str) -> None:
    assert importers(library) == DOORS[library]


WITHOUT_TORCH = [
    "core.data.reading", "core.data.folds", "core.metrics", "core.fields", "core.store.workspace",
    "core.demo", "core.encoders", "core.architectures.lexical", "core.architectures.boosted", "search_spaces", "pricestack.cli",
    "experiments.status", "experiments.compare", "experiments.tracking.sweep_state", "experiments.tracking.comparison",
    "ensemble.stack", "ensemble.pipeline.serialization", "serving.middleware", "serving.keys", "serving.api", "serving.web.app",
    "serving.engine.service", "serving.engine.process_worker", "serving.engine.batch", "serving.bundle.predictor",
    "serving.bundle.builder", "serving.export", "serving.predict",
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


def test_sizes_of_files_and_folders() -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    named = {path: length for path, length in lengths.items() if not path.endswith("__init__.py")}
    assert {path: length for path, length in lengths.items() if length > 600} == {}
    assert len(named) <= 252
    assert 130 <= statistics.median(named.values()) <= 180
    tests = [path.relative_to(ROOT) for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    files = Counter(path.parent for path in [*MODULES, *tests] if path.name != "__init__.py")
    assert {str(folder): count for folder, count in files.items() if count > 20} == {}


def test_names_of_modules_and_classes_mean_one_thing() -> None:
    named: dict[str, list[Path]] = defaultdict(list)
    for path in MODULES:
        if path.name not in SAME_NAME and path.as_posix() not in FORWARDERS:
            named[path.name].append(path)
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                named[node.name].append(path)
    assert {name: paths for name, paths in named.items() if len(paths) > 1} == {}


def test_functions_take_few_parameters() -> None:
    """Commands and the estimator apart: their parameters are the flags."""
    found = []
    for path in (each for each in MODULES if each.as_posix() != "pricestack/regressor.py"):
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not any(
                map(_is_command, node.decorator_list)
            ):
                names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len(names) - (names[:1] in (["self"], ["cls"])) > MOST_PARAMETERS:
                    found.append(f"{path}:{node.lineno} {node.name}")
    assert found == []


def _is_command(decorator: ast.expr) -> bool:
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(call, ast.Attribute) and call.attr in ("command", "callback")


def test_every_user_error_has_a_code_of_its_own() -> None:
    codes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                assert given, f"{path}:{node.lineno}: a UserError without a code"
                if isinstance(given[0], ast.Constant):
                    codes[str(given[0].value)].append(f"{path}:{node.lineno}")
    assert {code: places for code, places in codes.items() if len({place.split(":")[0] for place in places}) > 1} == {}


def test_the_page_lists_every_module_and_arrow() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_tables(page), "write the tables anew: python -m tests.layout"
