"""The examples of docs/python.md, run as they are written, in one folder with a small catalog."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.mark.e2e
def test_the_examples_of_the_python_page_run(toy_files: Callable[..., tuple[Path, Path]]) -> None:
    train, _ = toy_files()
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    estimator, train_and_stack, serve = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    frames = 'import pandas as pd\ntrain = pd.read_csv("train.csv")\nnew = train.drop(columns="price")[:5]\n'
    few = estimator.replace("minutes=5", 'minutes=None, architectures="lexical", options={"trials": 1, "members": 1}')
    assert few != estimator
    done = subprocess.run(
        [sys.executable, "-c", f"{frames}{few}assert prices.shape == (5,) and intervals.shape == (5, 2)"],
        cwd=train.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stdout, done.stderr
    export = [sys.executable, "-m", "serving.export", "--workspace", "runs"]
    for command in ([sys.executable, "-c", train_and_stack], export, [sys.executable, "-c", serve]):
        done = subprocess.run(
            command,
            cwd=train.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (train.parent / "runs" / "submission.csv").exists()
    assert done.stdout.count("[") == 3
