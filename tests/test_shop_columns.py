"""A shop's table of 15 columns from the first dry run to a service that takes its fields."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from core.atomic_files import read_json
from core.store.workspace import Workspace
from serving.bundle.bundle import open_bundle
from serving.bundle.mlflow_registry import register
from tests.commands import run, run_module
from tests.serving_tests.conftest import client_of
from tests.shop_table import COLUMNS, write_shop

pytestmark = pytest.mark.e2e


def test_a_shops_table_from_proposal_to_service(tmp_path: Path, here: Callable[..., str]) -> None:
    train, test = write_shop(tmp_path, 160, 40)
    workspace = tmp_path / "runs"
    files = ["--train", train, "--test", test, "--workspace", workspace]
    assert run_module("experiments.sweep", "boosted", *files, "--dry-run").stdout == f"--columns {COLUMNS}\n"
    assert f"--columns {COLUMNS}" in here("boosted", *files, code=2)

    sweep = ["boosted", *files, "--columns", COLUMNS, "--ignore", "currency", "--folds", 2, "--members", 1]
    first = run("experiments.sweep", *sweep, "--set", "max_rounds=40", "--set", "bags=1", "--trials", 1)
    assert "possible leak: column 'retail_price'" in first
    assert "only in the training file: rating" in first and "row numbers: Unnamed: 0" in first
    home = Workspace(workspace)
    assert [each.name for each in home.table_columns.fields][:3] == ["brand", "category", "weight_g"]
    assert home.test.prices is None
    assert "columns are chosen once" in here("boosted", *files, "--columns", COLUMNS, "--ignore", "brand", code=2)

    assert "test SMAPE" in run("ensemble.stack", "--workspace", workspace)
    record = read_json(workspace / "stack.json")
    assert record["test"]["rows"] == 40
    assert record["test"]["smape"] < record["floor"]["smape"]
    assert "Test SMAPE" in (workspace / "report.html").read_text()

    run("serving.export", "--workspace", workspace)
    (bundle,) = (workspace / "bundles").glob("runs-1-*")
    prices = tmp_path / "prices.csv"
    run("serving.predict", "--bundle", bundle, "--in", test, "--out", prices)
    assert prices.read_text() == (workspace / "submission.csv").read_text()

    shop = pd.read_csv(test, dtype=str).assign(
        catalog_content=lambda table: table["title"] + "\ndescription: " + table["description"]
    )
    model = mlflow.pyfunc.load_model(register(open_bundle(bundle), f"sqlite:///{tmp_path / 'mlflow.db'}"))
    expected = pd.read_csv(prices)["price"]
    np.testing.assert_allclose(model.predict(shop)["predicted_price"], expected)
    assert not np.allclose(model.predict(shop.drop(columns="brand"))["predicted_price"], expected)

    with test.open(newline="") as stream:
        row = next(csv.DictReader(stream))
    names = [each.name for each in home.table_columns.fields]
    text = f"{row['title']}\ndescription: {row['description']}"
    with client_of(bundle) as client:
        asked = {"catalog_content": text, "fields": {name: row[name] for name in names if row[name]}}
        answer = client.post("/predict", json=asked).json()
        with prices.open(newline="") as stream:
            assert answer["predicted_price"] == pytest.approx(float(next(csv.DictReader(stream))["price"]))
        assert (
            client.post("/predict", json={"catalog_content": text}).json()["note"].startswith("fields unknown: brand")
        )
        refused = client.post("/predict", json={"catalog_content": text, "fields": {"brnd": "zen"}})
        assert refused.status_code == 422
        assert "did you mean 'brand'" in refused.json()["errors"][0]["msg"]
        why = client.post("/explain", json=asked).json()
        assert f"brand: {row['brand']}" in [each["text"] for each in why["pieces"]]
        assert why["fields"]["retail_price"] == row["retail_price"]
        fields = client.get("/openapi.json").json()["components"]["schemas"]["PriceRequest"]["properties"]["fields"]
        assert list(fields["properties"]) == names
