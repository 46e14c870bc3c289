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

pytestmark = pytest.mark.e2e
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
        from pricestack.testing.combiners import contract
        checks = [check for name, check in contract() if name == "inverse-error"]
        assert checks
        for check in checks:
            check("inverse-error")
    """,
    "A post-processing step": """
        import numpy as np
        from ensemble.matrix.level_one import Rows
        from ensemble.pipeline.postprocessing import STEPS, applicable
        prices = np.array([1.25, 3.1])
        rows = Rows(prices[:, None], np.empty((2, 0)))
        step = STEPS["cents"].fit(prices * 1.001, prices, rows, 0)
        assert list(step.predict(prices * 1.0001, rows)) == [1.25, 3.1] and applicable(("cents",), rows) == ("cents",)
    """,
    "A sampler": """
        import optuna
        from core.architectures import architecture
        from experiments.search.study import SAMPLERS, check_sampler, distribution
        from search_spaces import load_space
        check_sampler("genetic")
        space = load_space("boosted", architecture("boosted").Config)
        searched = {name: distribution(choices) for name, choices in space.values.items()}
        proposed = optuna.create_study(sampler=SAMPLERS["genetic"](space, 0)).ask(searched).params
        assert proposed.keys() == space.values.keys()
    """,
    "A pruner": """
        from experiments.execution.pruners import PRUNERS, Explains, check_pruner
        check_pruner("late")
        assert isinstance(PRUNERS["late"](8), Explains)
    """,
    "An export format": """
        import tempfile
        from pathlib import Path
        from core.architectures import architecture
        from core.architectures.median import MedianModel
        from serving.bundle.export_formats import export_format
        with tempfile.TemporaryDirectory() as name:
            source, folder, kind = Path(name, "saved"), Path(name, "exported"), architecture("median")
            source.mkdir()
            folder.mkdir()
            MedianModel(3.0).save(source)
            export_format("read-only").write(kind, source, folder, Path(name))
            assert (folder / "median.json").stat().st_mode & 0o777 == 0o444
            assert export_format("read-only").read(kind, folder, Path(name)).price == 3.0
    """,
    "A field": """
        from core.fields import read_fields
        table = read_fields(["Item Name: Tea!! Pack of 6"])
        assert table["name_exclamations"].tolist() == [2.0]
    """,
    "A report section": """
        import tempfile
        from pathlib import Path
        from reports.build import build_report
        from tests.conftest import made_workspace, write_toys
        with tempfile.TemporaryDirectory() as name:
            page = build_report(made_workspace(Path(name), write_toys(Path(name)))).read_text(encoding="utf-8")
        assert '<a href="#row-count">Rows</a>' in page and "120 training rows." in page
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
        env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
