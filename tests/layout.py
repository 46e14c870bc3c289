"""Layout of the source: modules, allowed imports, and the generated parts of docs/architecture.md.

`python -m tests.layout` writes the tables between the page's markers anew; tests/test_arrows.py checks that they are current.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

PACKAGES = {
    "pricestack": {"core", "search_spaces", "reports", "ensemble", "experiments", "serving"},
    "experiments": {"core", "search_spaces", "ensemble", "reports"},
    "serving": {"core", "ensemble"},
    "ensemble": {"core", "reports"},
    "reports": {"core"},
    "search_spaces": {"core"},
    "core": set(),
}
"""Which packages each package may import."""
ROOMS = {
    "core": ("architectures", "quality", "classical", "training", "encoders", "inputs", "nn", "protocols", "fields", "store",
             "demo", "data", "cache"),
    "experiments": ("tracking", "planning", "remote", "execution", "search", "common"),
    "ensemble": ("pipeline", "methods", "matrix"),
    "serving": ("web", "middleware", "monitoring", "engine", "bundle", "common"),
    "reports": ("page", "checks", "charts", "figures"),
    "pricestack": ("testing",),
}  # fmt: skip
"""Sub-packages from the top, which imports what is below, to the bottom."""
BASES = ("core", "pricestack")
"""Packages whose own modules stand below their sub-packages; in the others they are the commands, above them."""
FORWARDERS = {
    "core/backbones.py",
    "core/catalog.py",
    "core/images.py",
    "core/labels.py",
    "pricestack/cli.py",
    "pricestack/demo.py",
    "serving/predictor.py",
    "serving/replicas.py",
}
"""Documented commands and old import paths: modules of a few lines, above what they forward to."""
DOORS = {
    "ray": {
        "experiments/execution/data_parallel.py",
        "experiments/execution/pruners.py",
        "experiments/execution/ray_pool.py",
        "experiments/execution/ray_tuner.py",
        "experiments/remote/remote_runner.py",
        "serving/replicas.py",
    },
    "mlflow": {
        "experiments/tracking/mlflow_client.py",
        "serving/bundle/mlflow_registry.py",
        "serving/bundle/pyfunc_model.py",
        "serving/monitoring/mlflow_logger.py",
    },
    "optuna": {
        "experiments/dashboard.py",
        "experiments/planning/search_state.py",
        "experiments/search",
        "experiments/tracking",
    },
    "optuna.samplers": {"experiments/search/sampler_adapter.py", "experiments/search/study.py"},
}
"""The only files, or folders, that import a library."""
PAGE = ROOT / "docs" / "architecture.md"


def modules() -> list[Path]:
    """Every source module, relative to the checkout."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """Every absolute module name that the file imports anywhere, functions included; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute in this project"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """The sub-package of a module; empty for the package's own modules."""
    return path.parts[1] if len(path.parts) > 2 else ""


def upward_imports(path: Path) -> list[str]:
    """Imports of a module that run against the order of its package's sub-packages."""
    package, here = path.parts[0], room(path)
    order = ROOMS.get(package, ())
    if path.name == "__main__.py" or path.as_posix() in FORWARDERS or not order:
        return []

    def height(name: str) -> int:
        if name:
            return len(order) - order.index(name)
        return 0 if package in BASES else len(order) + 1

    upwards = []
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != package or len(parts) < 2:
            continue
        if height(parts[1] if parts[1] in order else "") > height(here):
            upwards.append(name)
    return upwards


def importers(library: str) -> set[str]:
    """Files that import `library`, those of a door's folder under the folder's name."""
    doors = {door for door in DOORS[library] if not door.endswith(".py")}
    users = {
        path.as_posix()
        for path in modules()
        if any(name == library or name.startswith(f"{library}.") for name in imported(path))
    }
    return {next((door for door in doors if user.startswith(f"{door}/")), user) for user in users}


def first_line(path: Path) -> str:
    """First line of a module's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def arrows_table() -> str:
    """Table of what each package may import, and the order of its sub-packages."""
    rows = ["| package | imports | its sub-packages, each importing only those to its right |", "|---|---|---|"]
    for package, allowed in PACKAGES.items():
        others = ", ".join(f"`{name}`" for name in PACKAGES if name in allowed) or "none"
        rows.append(f"| `{package}` | {others} | {' > '.join(ROOMS.get(package, ())) or '-'} |")
    return "\n".join(rows)


def modules_list() -> str:
    """Every module with the first line of its docstring, package by package."""
    lines: list[str] = []
    folder = ""
    for path in modules():
        if path.parent.as_posix() != folder:
            folder = path.parent.as_posix()
            about = first_line(path.parent / "__init__.py")
            lines += ["", f"### `{folder}/`", "", *([about, ""] if about else [])]
        if path.name != "__init__.py":
            lines.append(f"- `{path.name}`: {first_line(path)}")
    return "\n".join(lines[1:])


def page_with_tables(page: str) -> str:
    """The page with its generated parts written anew."""
    for name, content in (("arrows", arrows_table()), ("modules", modules_list())):
        start, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
        block = f"{start}\n{content}\n{end}"
        page, times = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}", lambda _, block=block: block, page, flags=re.DOTALL
        )
        assert times == 1, f"{PAGE} needs the markers {start} and {end} once"
    return page


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
