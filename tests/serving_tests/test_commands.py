"""What the two commands print and refuse; `tests/test_end_to_end.py` types them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from core.errors import UserError
from core.store.workspace import Workspace
from serving import export, predict
from serving.bundle.predictor import Predictor
from tests.conftest import toy_frame


def test_from_a_stacked_workspace_to_prices(stacked: Workspace, tmp_path: Path) -> None:
    asked = [
        "--workspace",
        stacked.folder,
        "--name",
        "shop",
        "--out",
        tmp_path / "home",
        "--pytorch",
        "--precision",
        "fp16",
    ]
    printed = CliRunner().invoke(export.app, list(map(str, asked)), catch_exceptions=False).output
    (bundle,) = (tmp_path / "home").glob("shop-1-*")
    assert "saved  2 fold models  weight 0.500" in printed and str(bundle) in printed
    again = CliRunner().invoke(export.app, list(map(str, asked)), catch_exceptions=False).output
    assert "was there already, with this content" in again

    toy_frame(30, 3).drop(columns="price").to_csv(tmp_path / "new.csv", index=False)
    asked = [
        "--bundle",
        bundle,
        "--in",
        tmp_path / "new.csv",
        "--out",
        tmp_path / "prices.csv",
        "--details",
        "--rows",
        7,
    ]
    printed = CliRunner().invoke(predict.app, list(map(str, asked)), catch_exceptions=False).output
    assert f"30 rows priced by shop {bundle.name.removeprefix('shop-')}" in printed
    assert pd.read_csv(tmp_path / "prices.csv").columns.tolist() == ["sample_id", "price", "low", "high", "level"]


def test_a_stopped_command_prints_how_to_go_on(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_frame(30, 3).drop(columns="price").to_csv(tmp_path / "new.csv", index=False)
    asked = ["--bundle", exported, "--in", tmp_path / "new.csv", "--out", tmp_path / "prices.csv", "--rows", 7]
    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "predict", stopped)
        result = CliRunner().invoke(predict.app, list(map(str, asked)))
    assert result.exit_code == 130
    assert f"wait in {tmp_path / 'prices.csv'}.parts: the same command goes on where it stopped" in result.output
    again = CliRunner().invoke(predict.app, list(map(str, asked)), catch_exceptions=False)
    assert "30 rows priced by toy" in again.output


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("app", "arguments", "says"),
    [
        (export.app, ["--workspace", "absent"], "absent is not a workspace"),
        (export.app, ["--name", "a/b"], "is no name of a bundle"),
        (predict.app, ["--bundle", "absent", "--in", "a.csv", "--out", "a.csv"], "--out a.csv is the input"),
        (predict.app, ["--bundle", "absent", "--in", "a.csv", "--out", "b.csv"], "absent is no bundle"),
    ],
)
def test_misuse_is_answered_with_what_to_do(
    app: object, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)  # type: ignore[arg-type]
    assert isinstance(result.exception, UserError)
    assert message in result.exception.what and result.exception.hint
    assert list(tmp_path.iterdir()) == []
