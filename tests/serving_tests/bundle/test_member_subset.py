"""A smaller stack is nearly as good, or is refused."""

from __future__ import annotations

import numpy as np
import pytest

from core.atomic_files import read_json
from core.store.workspace import Workspace
from ensemble.pipeline.nested_cv import no_progress
from serving.bundle import source as module
from serving.bundle.builder import export
from serving.bundle.predictor import Predictor
from serving.bundle.source import TOLERATED, distil, ranked
from tests.errors import refused


def test_the_members_that_gain_most_come_first() -> None:
    generator = np.random.default_rng(0)
    prices = np.exp(generator.normal(2, 1, 400))
    noise = generator.normal(0, 0.3, (400, 2))
    good, other, poor = prices * np.exp(noise[:, 0]), prices * np.exp(noise[:, 1]), np.full(400, 5.0)
    assert ranked(np.column_stack([poor, good, 1.001 * good, other]), prices, 2) in ([1, 3], [3, 1], [2, 3], [3, 2])


def test_a_bundle_of_fewer_members(stacked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERATED", 100.0)
    bundle, _ = export(stacked, stacked.path("bundles"), "small", "saved", no_progress, most=2)
    assert len(bundle.facts.members) == 1
    whole = read_json(stacked.path("stack.json"))["nested"]["smape"]
    assert bundle.facts.nested["smape"] != whole
    answer = Predictor(bundle.folder).predict(stacked.test)
    (member,) = answer.members
    np.testing.assert_allclose(answer.prices, stacked.store.read(member).test, rtol=0.05)


def test_what_is_not_good_enough_is_refused(stacked: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_json(stacked.path("stack.json"))
    record["nested"]["smape"] -= TOLERATED + 50
    with refused("distil-too-few-members"):
        distil(stacked, record, 1, no_progress)
