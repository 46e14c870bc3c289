"""Figures of members and the stack, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from core.metrics import smape
from core.store.oof_store import Member
from core.store.workspace import Workspace
from reports.figures.member_figures import error_correlation, member_figures, short_labels
from tests.reports_tests.toys import add_member


def test_member_scores_are_those_of_its_out_of_fold_prices(toy_workspace: Workspace) -> None:
    prices = toy_workspace.train.known_prices
    oof = prices * np.where(np.arange(len(prices)) % 2, 2.0, 1.0)  # 2|2y-y|/(3y): every second row has 200/3
    member = add_member(toy_workspace, "a-1", oof)
    [found] = member_figures([member], toy_workspace.train, toy_workspace.folds, None)
    assert found["smape"] == pytest.approx(100 / 3)
    assert found["mae"] == pytest.approx(prices[1::2].sum() / len(prices))
    inside = toy_workspace.folds.split(1)[1]
    assert found["fold_smape"][1] == pytest.approx(smape(prices[inside], oof[inside]))
    assert found["weight"] is None and found["architecture"] == "imported"


def test_an_incomplete_member_is_scored_on_its_rows_and_comes_last(toy_workspace: Workspace) -> None:
    prices = toy_workspace.train.known_prices
    partial = prices.copy()
    partial[toy_workspace.folds.assignment == 2] = np.nan
    members = [add_member(toy_workspace, "partial-1", partial), add_member(toy_workspace, "whole-1", prices * 3)]
    whole, incomplete = member_figures(members, toy_workspace.train, toy_workspace.folds, None)
    assert (whole["id"], whole["smape"]) == ("whole-1", pytest.approx(100))
    assert incomplete["smape"] == 0 and incomplete["fold_smape"][2] is None
    assert incomplete["rows"] == np.isfinite(partial).sum()


def test_correlation_is_that_of_log_errors() -> None:
    prices = np.array([1.0, 10.0, 100.0, 5.0])
    errors = np.array([[0.1, -0.2, 0.3, 0.0], [0.2, -0.4, 0.6, 0.0], [-0.1, 0.2, -0.3, 0.0], [0.5, 0.5, 0.5, 0.5]])
    members = [Member(str(n), prices * np.exp(error), prices, {}) for n, error in enumerate(errors)]
    found = error_correlation(members, ["0", "1", "2", "3"], prices)
    assert found[0][:3] == pytest.approx([1, 1, -1])
    assert found[3] == [None] * 4  # an error that never changes correlates with nothing


def test_correlation_matches_numpy_on_rows_that_both_have() -> None:
    rng = np.random.default_rng(0)
    prices = rng.lognormal(2, 1, 50)
    oof = prices * np.exp(rng.normal(0, 0.3, (3, 50)))
    oof[1, :7] = np.nan
    members = [Member(str(n), column, prices, {}) for n, column in enumerate(oof)]
    expected = np.corrcoef(np.log(oof / prices))
    expected[1], expected[:, 1] = (np.corrcoef(np.log(oof[:, 7:] / prices[7:]))[1],) * 2
    assert np.allclose(error_correlation(members, ["0", "1", "2"], prices), expected)


def test_labels_are_short_and_different() -> None:
    assert list(short_labels(["text-abcdef", "boosted-abcdef"]).values()) == ["text-abcd", "boosted-abcd"]
    assert set(short_labels(["text-abcdef", "text-abcdxx"]).values()) == {"text-abcde", "text-abcdx"}
    assert short_labels(["deberta", "text-abcdef"]) == {"deberta": "deberta", "text-abcdef": "text-abcd"}
    assert short_labels([]) == {}


def test_members_are_correlated_pair_by_pair() -> None:
    prices = np.ones(8)
    first, second = np.exp(np.arange(8.0)), np.exp(np.arange(8.0) ** 2)
    first[:4], second[4:] = np.nan, np.nan  # no row has all
    whole = np.exp(-np.arange(8.0))
    members = [Member(str(n), oof, prices, {}) for n, oof in enumerate([first, second, whole])]
    found = error_correlation(members, ["0", "1", "2"], prices)
    assert found[0][1] is None and found[0][2] == pytest.approx(-1) and found[0][0] == pytest.approx(1)
