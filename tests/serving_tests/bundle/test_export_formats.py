"""Networks in a bundle: whole, and with weights in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from serving.bundle.builder import export
from serving.bundle.export_formats import export_format
from serving.bundle.predictor import Predictor
from tests.errors import refused
from tests.serving_tests.conftest import SETTINGS, swept

TEXT = {"text_encoder": "tiny", "learning_rate": 2e-3, "batch_size": 16, "epochs": 2, "regressor_width": 16}


def test_a_network_is_served_whole_or_in_half_the_bytes(tmp_path: Path) -> None:
    workspace = swept(tmp_path, {"text": TEXT, "lexical": SETTINGS["lexical"]})
    submitted = stack_workspace(workspace, StackConfig(methods=("mean",))).test
    (whole, _), (half, _) = (
        export(workspace, tmp_path / "out", name, name, no_progress) for name in ("saved", "saved-fp16")
    )
    assert [(member.architecture, member.light, member.form) for member in half.facts.members] == [
        ("lexical", True, "saved"), ("text", False, "saved-fp16"),
    ]  # fmt: skip
    assert Predictor(whole.folder).predict(workspace.test).prices == pytest.approx(submitted, rel=1e-4)
    answer = Predictor(half.folder).predict(workspace.test)
    assert answer.prices == pytest.approx(submitted, rel=0.02) and answer.counts == {"stack": 40}
    sizes = [sum(path.stat().st_size for path in each.folder.rglob("*.safetensors")) for each in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    weights = next(half.folder.rglob("*.safetensors"))
    assert {tensor.dtype for tensor in load_file(weights).values()} <= {np.dtype(np.float16), np.dtype(np.int64)}
    alone = Predictor(half.folder).predict(workspace.test, light=True)
    assert alone.counts == {"light": 40}


def test_unknown_formats_are_answered_with_the_known_ones() -> None:
    with refused("export-format-unknown") as caught:
        export_format("saved-fp8")
    assert "saved-fp16" in caught.value.hint
