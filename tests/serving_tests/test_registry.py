"""A bundle in MLflow's model registry gives the bundle's prices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from core.catalog import Catalog
from core.errors import UserError
from serving.bundle import open_bundle
from serving.predictor import Predictor
from serving.registry import register
from tests.conftest import toy_frame


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


def test_a_registry_that_is_not_there_is_said(exported: Path) -> None:
    with pytest.raises(UserError, match="MLflow cannot be written to"):
        register(open_bundle(exported), "no-such-scheme://registry")
