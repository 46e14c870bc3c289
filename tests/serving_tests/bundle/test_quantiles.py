"""A stack whose last step reads members' quantiles is served with them, and without where they are not given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.architectures.lexical import LexicalModel
from core.data.catalog import Catalog
from core.protocols.architecture import LEVELS
from ensemble.pipeline import final_pipeline, nested_cv
from ensemble.pipeline.nested_cv import no_progress
from ensemble.pipeline.serialization import load_stack
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from serving.bundle.builder import export
from serving.bundle.predictor import Predictor, ServedMember
from tests.serving_tests.conftest import SETTINGS, swept


def test_quantiles_are_asked_for_and_missed_where_they_are_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantiles(self: LexicalModel, catalog: Catalog) -> np.ndarray:
        return self.predict(catalog)[:, None] * np.exp(1.5 * np.array(LEVELS) ** 2)

    monkeypatch.setattr(LexicalModel, "predict_quantiles", quantiles)
    for module in (final_pipeline, nested_cv):
        monkeypatch.setattr(module, "MIN_STEP_ROWS", 1)
    monkeypatch.setattr(final_pipeline, "STEP_ERRORS", -1e9)  # every step is kept
    workspace = swept(tmp_path, SETTINGS)
    submitted = stack_workspace(workspace, StackConfig(methods=("geometric",))).test
    stack = load_stack(workspace.path("stack"))
    lexical = next(place for place, name in enumerate(stack.members) if name.startswith("lexical"))
    assert "spread" in stack.stacked.recipe.steps and stack.quantiles == (lexical,)

    bundle, _ = export(workspace, tmp_path / "out", "toy", "saved", no_progress)
    predictor = Predictor(bundle.folder)
    whole = predictor.predict(workspace.test, rows=7)
    assert whole.prices == pytest.approx(submitted, rel=1e-4) and whole.counts == {"stack": 40}

    def silent(self: ServedMember, catalog: Catalog) -> np.ndarray:
        raise RuntimeError("no quantiles today")

    monkeypatch.setattr(ServedMember, "predict_quantiles", silent)
    answer = predictor.predict(workspace.test)
    assert answer.counts == {"members": 40} and not answer.answered[:, lexical].any()
    assert np.isfinite(answer.prices).all()
