"""The recipes of docs/extending.md, carried out in a copy of the source, each shown to be in effect there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout import PACKAGES
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
CHECKS = {
    "A loss": """
        import torch
        from core.architectures import architecture
        from core.nn.losses import make_loss
        config = architecture("text").Config(loss="log_cosh", sharpness=2.0)
        loss = make_loss("log_cosh", config.model_dump())
        assert loss.sharpness == 2.0
        assert torch.allclose(loss(torch.tensor([2.0]), torch.tensor([2.0])), torch.zeros(1), atol=1e-3)
    """,
    "An architecture": """
        import tempfile
        from pathlib import Path
        import numpy as np
        from core.architectures import architecture
        from core.cache import Cache
        from core.data.catalog import Catalog
        from core.protocols.architecture import Context, make_config
        from search_spaces import load_space
        kind = architecture("median")
        assert load_space("median", kind.Config).best == {"quantile": 0.5}
        texts = np.array([f"tea {row}" for row in range(5)], dtype=object)
        rows = Catalog(texts, texts, np.full(5, "", dtype=object), np.arange(1.0, 6.0))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = kind.train(rows, None, make_config(kind.Config, {}), Context(0, Cache(folder / "cache"), folder))
            model.save(folder)
            assert kind.load(folder).predict(rows).tolist() == [3.0] * 5
    """,
    "A search space": """
        from core.architectures import architecture
        from search_spaces import load_space
        space = load_space("text-quick", architecture("text").Config)
        assert space.listed("epochs") == (2, 4, 6) and space.best["learning_rate"] == 1e-3
    """,
    "A way to combine": """
        import numpy as np
        from ensemble.methods.method_registry import METHODS
        from pricestack.testing.combiners import members, problem
        oof, prices = members(60, 3)
        weights = METHODS["inverse-error"].fit(problem(oof, prices)).weights
        assert np.isclose(weights.sum(), 1.0)
    """,
    "A post-processing step": """
        import numpy as np
        from ensemble.matrix.level_one import Rows
        from ensemble.pipeline.postprocessing import STEPS
        prices = np.array([1.25, 3.1])
        rows = Rows(prices[:, None], np.empty((2, 0)))
        step = STEPS["cents"].fit(prices * 1.001, prices, rows, 0)
        assert list(step.predict(prices * 1.0001, rows)) == [1.25, 3.1]
    """,
    "A sampler": """
        import optuna
        from experiments.search.study import SAMPLERS, check_sampler
        from search_spaces import Space
        check_sampler("qmc")
        sampler = SAMPLERS["qmc"](Space("toy", {"depth": (1, 2)}, {}), 0)
        assert isinstance(sampler, optuna.samplers.QMCSampler)
    """,
    "A pruner": """
        from experiments.execution.pruners import PRUNERS, check_pruner
        check_pruner("late")
        assert PRUNERS["late"](4) is not None
    """,
    "An export format": """
        from serving.bundle.export_formats import export_format
        assert type(export_format("read-only")).__name__ == "ReadOnlyFormat"
    """,
    "A field": """
        from core.fields import read_fields
        table = read_fields(["Item Name: Tea!! Pack of 6"])
        assert table["name_exclamations"].tolist() == [2.0]
    """,
    "A report section": """
        from reports.page.sections import SECTIONS
        assert SECTIONS[0].anchor == "row-count" and SECTIONS[0].figures.__name__ == "row_count"
    """,
}


def recipes() -> dict[str, list[str]]:
    """Code blocks of each section of the page."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(r"```(?:python|yaml)\n(.*?)```", section, re.DOTALL)
        for section in sections
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with every recipe carried out."""
    folder = tmp_path_factory.mktemp("extended")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for block in (block for blocks in recipes().values() for block in blocks):
        first, _, rest = block.partition("\n")
        if first.startswith("# file: "):
            (folder / first.removeprefix("# file: ")).write_text(rest, encoding="utf-8")
            continue
        path = folder / first.removeprefix("# add to: ")
        second, _, lines = rest.partition("\n")
        anchor, text = second.removeprefix("# after: ") + "\n", path.read_text(encoding="utf-8")
        assert text.count(anchor) == 1, f"{path} has the line {anchor!r} {text.count(anchor)} times"
        path.write_text(text.replace(anchor, anchor + lines), encoding="utf-8")
    return folder


def test_every_recipe_has_a_check() -> None:
    assert {name for name, blocks in recipes().items() if blocks} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_the_recipe_is_in_effect(name: str, copy: Path) -> None:
    indent = re.match(r"\n( *)", CHECKS[name])
    assert indent is not None
    code = CHECKS[name].replace(indent[0], "\n")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
