"""Output and refusals of the two commands; `tests/test_end_to_end.py` types them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from core.store.workspace import Workspace
from serving import export, predict
from serving.bundle.predictor import Predictor
from tests.conftest import toy_frame
from tests.errors import refused


def run(app: typer.Typer, *arguments: object) -> str:
    """Output of the command."""
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).output


def new_rows(folder: Path) -> Path:
    toy_frame(30, 3).drop(columns="price").to_csv(folder / "new.csv", index=False)
    return folder / "new.csv"


def test_from_a_stacked_workspace_to_prices(stacked: Workspace, tmp_path: Path) -> None:
    flags = ["--workspace", stacked.folder, "--name", "shop", "--out", tmp_path / "home", "--pytorch"]
    printed = run(export.app, *flags, "--precision", "fp16")
    (bundle,) = (tmp_path / "home").glob("shop-1-*")
    assert "saved  2 fold models  weight 0.500" in printed and str(bundle) in printed
    assert "was there already, with this content" in run(export.app, *flags, "--precision", "fp16")

    prices = tmp_path / "prices.csv"
    printed = run(
        predict.app, "--bundle", bundle, "--in", new_rows(tmp_path), "--out", prices, "--details", "--rows", 7
    )
    assert f"30 rows priced by shop {bundle.name.removeprefix('shop-')}" in printed
    assert pd.read_csv(prices).columns.tolist() == ["sample_id", "price", "low", "high", "level"]


def test_a_stopped_command_prints_how_to_go_on(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--bundle", exported, "--in", new_rows(tmp_path), "--out", tmp_path / "prices.csv", "--rows", 7]
    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "predict", stopped)
        result = CliRunner().invoke(predict.app, list(map(str, flags)))
    assert result.exit_code == 130
    assert f"wait in {tmp_path / 'prices.csv'}.parts: the same command goes on where it stopped" in result.output
    assert "30 rows priced by toy" in run(predict.app, *flags)


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


PREDICT = ("--bundle", "absent", "--in", "a.csv", "--out")


@pytest.mark.parametrize(
    ("app", "arguments", "code"),
    [
        (export.app, ("--workspace", "absent"), "workspace-missing"),
        (export.app, ("--name", "a/b"), "bundle-bad-name"),
        (export.app, ("--onnx", "--pytorch"), "export-two-formats"),
        (export.app, ("--format", "onnx", "--precision", "fp32"), "export-two-formats"),
        (export.app, ("--format", "saved-fp8"), "export-format-unknown"),
        (export.app, ("--tensorrt", "--precision", "int8"), "export-precision-unknown"),
        (predict.app, (*PREDICT, "a.csv"), "predict-out-is-input"),
        (predict.app, (*PREDICT, "b.csv"), "bundle-missing"),
    ],
)
def test_misuse_is_answered_with_what_to_do(
    app: typer.Typer, arguments: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(code) as caught:
        run(app, *arguments)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
