"""A bundle in MLflow's model registry gives the bundle's prices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from core.data.catalog import Catalog
from serving.bundle.bundle import open_bundle
from serving.bundle.mlflow_registry import image_notes, register
from serving.bundle.predictor import Predictor
from tests.conftest import toy_frame
from tests.errors import refused
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def _no_tracking_left() -> Iterator[None]:
    before = dict(os.environ)  # MLflow hands its settings on to processes that later tests start
    yield
    mlflow.set_tracking_uri(None)
    os.environ.clear()
    os.environ.update(before)


def test_a_registered_bundle_predicts(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    bundle = open_bundle(exported)
    assert register(bundle, uri) == "models:/toy/1"
    assert register(bundle, uri) == "models:/toy/2"
    frame = toy_frame(12, 5)[["catalog_content", "image_link"]]
    found = mlflow.pyfunc.load_model("models:/toy/2").predict(frame)
    texts, links = (frame[name].fillna("").to_numpy(dtype=object) for name in frame)
    expected = Predictor(exported).predict(Catalog(np.arange(12).astype(str).astype(object), texts, links))
    np.testing.assert_allclose(found["predicted_price"], expected.prices)
    assert (found["low"] <= found["predicted_price"]).all() and set(found["level"]) == {"stack"}
    assert not list(tmp_path.rglob("*.pkl"))
    alone = mlflow.pyfunc.load_model("models:/toy/1").predict(pd.DataFrame({"catalog_content": ["Item Name: nut"]}))
    assert alone["predicted_price"].item() > 0


def test_columns_with_nothing_in_them_are_taken(exported: Path, tmp_path: Path) -> None:
    """Pandas reads a column of no links as numbers that are none, and an empty text likewise."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    model = mlflow.pyfunc.load_model(register(open_bundle(exported), uri))
    (tmp_path / "new.csv").write_text("catalog_content,image_link\nItem Name: nut,\n,\n")
    frame = pd.read_csv(tmp_path / "new.csv")
    assert frame["image_link"].isna().all()
    found = model.predict(frame)
    assert (found["predicted_price"] > 0).all() and set(found["level"]) == {"stack"}
    np.testing.assert_array_equal(found, model.predict(frame.fillna({"image_link": "", "catalog_content": ""})))


def test_registering_prints_nothing(exported: Path, tmp_path: Path) -> None:
    """In a process of its own: MLflow's output depends on earlier imports."""
    code = (
        "import sys; from pathlib import Path; from serving.bundle.bundle import open_bundle\n"
        "from serving.bundle.mlflow_registry import register\n"
        "register(open_bundle(Path(sys.argv[1])), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(exported), f"sqlite:///{tmp_path / 'mlflow.db'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_members_that_would_read_images_are_named(exported: Path) -> None:
    facts = open_bundle(exported).facts
    assert image_notes(facts) == []
    seeing = replace(facts, members=(replace(facts.members[0], id="multimodal-1", pictures=True), facts.members[1]))
    (note,) = image_notes(seeing)
    assert "multimodal-1" in note


def test_a_missing_registry_is_refused(exported: Path) -> None:
    with refused("registry-unwritable"):
        register(open_bundle(exported), "no-such-scheme://registry")
