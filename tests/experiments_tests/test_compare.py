"""`python -m experiments.compare`: what is found by which name, and differences that are or are not noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from core.atomic_files import write_json
from core.metrics import all_metrics, group_standard_error, smape_terms
from core.store.oof_store import Member
from core.store.workspace import Workspace
from experiments.compare import curves, spark
from experiments.tracking.comparison import Comparand, Finder, paired, workspace_side
from experiments.tracking.sweep_record import open_studies
from tests.experiments_tests.test_status import add_trial

Compare = Callable[..., str]


@pytest.fixture
def compare(filled: Workspace, typed: Callable[..., str]) -> Compare:
    """Output of the command for two names in the workspace `filled`."""
    return partial(typed, "experiments.compare", "--workspace", filled.folder)


def add_member(workspace: Workspace, name: str, noise: float, seed: int) -> None:
    train = workspace.train
    oof = train.known_prices * np.exp(np.random.default_rng(seed).normal(0.0, noise, len(train)))
    record: dict[str, Any] = {
        "metrics": all_metrics(train.known_prices, oof), "standard_error": 1.0, "seconds": 4.0, "seed": 0,
        "fold_smape": [1.0, 2.0, 3.0], "settings": {"loss": "huber", "noise": noise},
    }  # fmt: skip
    workspace.store.write_member(Member(name, oof, np.ones(len(workspace.test)), record))


@pytest.fixture
def filled(toy_workspace: Workspace) -> Workspace:
    """Members good, equal (in quality) and bad; a study `text-1a2b3c4d` of a finished, a stopped and a failed trial."""
    for seed, (name, noise) in enumerate((("text-good", 0.1), ("text-equal", 0.1), ("text-bad", 0.8))):
        add_member(toy_workspace, name, noise, seed)
    study = optuna.create_study(storage=f"sqlite:///{toy_workspace.path('optuna.db')}", study_name="text-1a2b3c4d")
    figures = {"mae": 2.0, "rmse": 3.0, "r2": 0.5, "best_epoch": 4, "seconds": 7.5}
    curve = {1: 49.0, 2: 48.0, 3: 47.0, 4: 46.0}
    add_trial(study, TrialState.COMPLETE, 46.0, curve, config="text-0000", smape=46.0, **figures)
    add_trial(study, TrialState.PRUNED, None, {1: 48.0, 2: 47.0}, config="text-1111", smape=47.0)
    add_trial(study, TrialState.FAIL, None, {}, config="text-2222", error="MemoryError: too large\nTraceback")
    settings = {"settings": {"dropout": 0.0, "loss": "huber"}}
    write_json(toy_workspace.path("trials", "text-0000", "trial.json"), settings)
    return toy_workspace


def test_trials_are_found_by_number_config_and_study(compare: Compare) -> None:
    for first, second in (("text#0", "text#1"), ("0", "1"), ("text-0000", "text-1111"), ("text-1a2b3c4d#0", "text#1")):
        text = compare(first, second)
        assert "A: trial text-1a2b3c4d#0" in text and "B: trial text-1a2b3c4d#1" in text
        assert "COMPLETE" in text and "PRUNED" in text
        assert "loss" not in text  # a stopped trial has what all trials of its study have
        assert "+1.000" in text and "7.5 s" in text
        assert "49.00 -> 46.00" in text and "48.00 -> 47.00" in text
    assert "MemoryError: too large" in compare("text#0", "text#2")


def test_members_are_paired_over_the_same_rows(filled: Workspace, compare: Compare) -> None:
    text = compare("text-good", "text-bad")
    assert "A is better" in text and "noise" in text and "0.8" in text
    text = compare("text-good", "text-equal")
    assert "noise: less than two standard errors" in text
    good, bad = (Finder(filled, open_studies(filled.folder, None)).find(name) for name in ("text-good", "text-bad"))
    found = paired(good, bad)
    assert found is not None
    prices, store = filled.train.known_prices, filled.store
    terms = smape_terms(prices, store.read("text-bad").oof) - smape_terms(prices, store.read("text-good").oof)
    assert found.difference == pytest.approx(terms.mean())
    assert found.error == pytest.approx(group_standard_error(terms, filled.train.product_groups))


def test_studies_and_workspaces(filled: Workspace, compare: Compare) -> None:
    text = compare("text-1a2b3c4d", "text-1a2b3c4d")
    assert "the same settings" in text and "pruned" in text
    text = compare(str(filled.folder), str(filled.folder))
    assert "members" in text and "+0.000 ± 0.000" in text and "noise" in text
    assert workspace_side(filled.folder).figures["members"] == 3


def test_workspaces_of_other_folds_are_not_paired(filled: Workspace) -> None:
    one = workspace_side(filled.folder)
    other = Workspace(filled.folder)
    other.__dict__["facts"] = type(filled.facts)(**{**vars(filled.facts), "folds": "others"})
    assert paired(one, Comparand("workspace", "other", {}, {}, member=(other, "text-bad"))) is None


def test_unknown_names_get_suggestions(compare: Compare, tmp_path: Path) -> None:
    assert "did you mean 'text-good'" in compare("text-goood", "text#0", code=2)
    assert "did you mean 'text'" in compare("txt#0", "text#0", code=2)
    assert "it has trials 0 to 2" in compare("text#0", "text#9", code=2)
    assert "did you mean 'text-0000'" in compare("text-00", "text#0", code=2)
    assert "is a trial, text-1a2b3c4d a study" in compare("text#0", "text-1a2b3c4d", code=2)
    assert "is not a workspace" in compare(str(tmp_path), "text#0", code=2)
    assert "a trial's figures are of the holdout" in compare("text#0", "text-good")


def test_curves_share_one_scale_and_stay_short() -> None:
    lines = curves({1: 80.0, 2: 40.0}, {1: 60.0})
    assert lines[0] == "curves of the SMAPE, 40.00 (lowest block) to 80.00:"
    assert lines[1] == "A █▁  80.00 -> 40.00" and lines[2].startswith("B ▅")
    assert curves({1: 80.0}, {}) == []
    assert len(spark({epoch: float(epoch) for epoch in range(1000)}, 0.0, 999.0)) <= 60
    assert spark({1: 5.0, 2: 5.0}, 5.0, 5.0) == "▁▁"
