"""A workspace and bundles made at revision f17e332 go on: nothing is trained again, and every command reads them.

tests/fixtures/workspace-f17e332.tar.xz holds one of 120 toy rows, with three members, a stack and two bundles (PyTorch and
ONNX). It was made at that revision by the command that its sweep.json keeps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.atomic_files import read_json
from tests.paths import ROOT

ARCHIVE = ROOT / "tests" / "fixtures" / "workspace-f17e332.tar.xz"
STUDIES = ("boosted-822dafce", "lexical-453b2324", "text-f26b4523")
SWEEP = (
    "text lexical boosted --text-encoder tiny --set text.epochs=1 --set text.max_length=16 --set text.regressor_width=16 "
    "--set boosted.max_rounds=10 --set boosted.bags=1 --set boosted.max_terms=200 --set boosted.svd_components=4 "
    "--set lexical.max_terms=200 --set lexical.model=ridge --trials 1 --members 1 --seed 0"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The workspace, unpacked."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "ws"


def command(workspace: Path, module: str, *arguments: str) -> str:
    """Output of `python -m module arguments` beside the workspace; the command must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=workspace.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trained(workspace: Path) -> dict[str, int]:
    """Time of change of every finished trial, fit and member."""
    markers = [*workspace.rglob("trial.json"), *workspace.rglob("fit.json"), *workspace.rglob("member.json")]
    return {str(path.relative_to(workspace)): path.stat().st_mtime_ns for path in markers}


@pytest.mark.e2e
def test_a_sweep_goes_on_and_trains_nothing_again(old: Path) -> None:
    before = trained(old)
    assert len(before) >= 9
    command(old, "experiments.sweep", *SWEEP.split(), "--workspace", "ws")
    assert trained(old) == before
    status = command(old, "experiments.status", "--workspace", "ws")
    assert status.count("complete 1") == 3
    assert all(study in (old / "sweep.json").read_text(encoding="utf-8") for study in STUDIES)


@pytest.mark.e2e
def test_members_and_studies_are_compared_by_their_old_names(old: Path) -> None:
    members = sorted(path.name for path in (old / "members").iterdir())
    assert members[0] in command(old, "experiments.compare", *members[:2], "--workspace", "ws")
    assert "complete" in command(old, "experiments.compare", *STUDIES[:2], "--workspace", "ws").lower()
    assert "15.47" in command(old, "experiments.compare", "lexical#0", "text#0", "--workspace", "ws")


@pytest.mark.e2e
def test_the_stack_gives_the_same_figures_and_prices(old: Path) -> None:
    record, prices = read_json(old / "stack.json"), pd.read_csv(old / "submission.csv")
    command(old, "ensemble.stack", "--workspace", "ws", "--methods", "geometric,simplex-log,affine,lightgbm-l1")
    assert read_json(old / "stack.json")["nested"] == record["nested"]
    assert np.allclose(pd.read_csv(old / "submission.csv")["price"], prices["price"], rtol=1e-12)


@pytest.mark.e2e
def test_the_stored_stack_is_exported_and_both_old_bundles_are_served(old: Path) -> None:
    assert "within 0.00%" in command(old, "serving.export", "--workspace", "ws", "--name", "again")
    submitted = pd.read_csv(old / "submission.csv")["price"]
    rows = pd.read_parquet(next(iter((old / "catalog").glob("test*"))))
    rows.to_csv(old.parent / "rows.csv", index=False)
    for bundle in sorted((old / "bundles").glob("ws-*")):
        command(old, "serving.predict", "--bundle", str(bundle), "--in", "rows.csv", "--out", f"{bundle.name}.csv")
        served = pd.read_csv(old.parent / f"{bundle.name}.csv")["price"]
        assert np.allclose(served, submitted, rtol=1e-3)


def test_old_import_paths_lead_to_the_same_objects() -> None:
    import core.catalog
    import core.data.catalog
    import serving.bundle.predictor
    import serving.predictor

    assert core.catalog.Catalog is core.data.catalog.Catalog
    assert serving.predictor.Predictor is serving.bundle.predictor.Predictor


def test_the_documented_path_of_ray_serve_works() -> None:
    pytest.importorskip("ray.serve")
    from serving.replicas import deployment

    assert callable(deployment)
