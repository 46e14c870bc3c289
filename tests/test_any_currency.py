"""Prices of any currency: multiplied by a power of ten, a catalog trains, stacks, reports, exports and serves alike."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.architectures import architecture
from core.atomic_files import read_json
from core.data.catalog import PRICE
from core.data.catalog_config import CatalogConfig
from core.labels import find_in
from core.quality.label_noise import FILE, LabelNoise, read_findings
from core.store.workspace import Workspace
from ensemble.add import MemberTables, add_member
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_files, stack_workspace
from ensemble.stack_options import StackConfig
from experiments.common.jobs import Job, JobKind
from experiments.execution.job_worker import run_job
from experiments.planning.cross_validation import MemberBuilder
from experiments.prepare import fill_workspace
from experiments.search.trial_selection import Finished
from reports.build import build_report
from reports.figures.report_inputs import read_report_inputs
from serving.bundle.builder import export
from serving.bundle.predictor import Prediction, Predictor
from tests.commands import run
from tests.conftest import toy_frame

_TINY = {"text_encoder": "tiny", "epochs": 1, "learning_rate": 2e-3, "max_length": 16, "regressor_width": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    "lexical": {"model": "ridge", "max_terms": 200},
    "boosted": {"max_rounds": 10, "bags": 1, "max_terms": 200, "svd_components": 4},
    "text": _TINY,
    "multimodal": {**_TINY, "vision_encoder": "tiny-vision"},
}
FACTORS = (1e6, 1e-4, 1e-7, 1e12)


@dataclass(frozen=True)
class Outcome:
    workspace: Workspace
    record: dict[str, Any]
    served: Prediction


def frames(factor: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows whose prices were written down in another currency."""
    train, test = toy_frame(90, 0), toy_frame(20, 1, first=100_000).drop(columns=PRICE)
    return train.assign(**{PRICE: [float(f"{price * factor:.12g}") for price in train[PRICE]]}), test


def workspace_of(folder: Path, factor: float) -> Workspace:
    train, test = folder / "train.csv", folder / "test.csv"
    for path, frame in zip((train, test), frames(factor), strict=True):
        frame.to_csv(path, index=False)
    workspace = Workspace(folder / "runs")
    fill_workspace(workspace, CatalogConfig(train=train, test=test, folds=2), 0, lambda line: None)
    return workspace


def trained(workspace: Workspace, settings: dict[str, dict[str, Any]]) -> None:
    members = MemberBuilder(workspace, 0, {})
    for name, given in settings.items():
        plan = members.plan(architecture(name), given, Finished(0, {}, "", 30.0, 1, 30.0, 1.0))
        for fold in range(2):
            job = Job(JobKind.FIT, name, plan.name, plan.settings, fold, 0, 1, "cpu")
            run_job(job, lambda epoch, metrics: None, workspace.folder)
        members.assemble(plan.name)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Outcome]:
    """All architectures, the stack and a bundle of the catalog whose prices are multiplied by a factor."""

    @cache
    def made(factor: float) -> Outcome:
        workspace = workspace_of(tmp_path_factory.mktemp("currency"), factor)
        trained(workspace, SETTINGS)
        record = stack_workspace(workspace, StackConfig(methods=("geometric", "simplex-log"))).record
        bundle, _ = export(workspace, workspace.path("bundles"), "toy", "saved", no_progress)
        return Outcome(workspace, record, Predictor(bundle.folder).predict(workspace.test))

    return made


@pytest.mark.parametrize("factor", FACTORS)
def test_a_currency_changes_no_smape_and_multiplies_all_prices(
    outcome: Callable[[float], Outcome], factor: float
) -> None:
    base, other = outcome(1.0), outcome(factor)
    assert "scale" not in read_json(base.workspace.path("workspace.json"))
    assert read_json(other.workspace.path("workspace.json"))["scale"] == pytest.approx(factor, rel=1e-12)
    names = [each["name"].partition("-")[0] for each in base.record["members"]]
    assert sorted(names) == sorted(SETTINGS)
    for one, two in zip(base.record["members"], other.record["members"], strict=True):
        assert two["oof"]["smape"] == pytest.approx(one["oof"]["smape"], abs=0.01)
        assert two["oof"]["mae"] == pytest.approx(one["oof"]["mae"] * factor, rel=1e-3)
    assert other.record["nested"]["smape"] == pytest.approx(base.record["nested"]["smape"], abs=0.01)
    assert other.record["floor"]["price"] == pytest.approx(base.record["floor"]["price"] * factor, rel=1e-9)
    for part in ("prices", "low", "high"):
        assert getattr(other.served, part) == pytest.approx(getattr(base.served, part) * factor, rel=1e-2)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_file_has_the_units_of_the_catalog(outcome: Callable[[float], Outcome], factor: float) -> None:
    made = outcome(factor)
    home, true = made.workspace, frames(factor)[0][PRICE].to_numpy()
    stacked = pd.read_parquet(home.path("stack_oof.parquet"))
    assert stacked[PRICE].tolist() == true.tolist()
    assert float(np.median(stacked["stack"] / true)) == pytest.approx(1, abs=0.3)
    submitted = pd.read_csv(home.path("submission.csv"))[PRICE].to_numpy()
    assert made.served.prices == pytest.approx(submitted, rel=1e-4)
    assert home.train_in_units.known_prices.tolist() == true.tolist()
    assert 10 <= np.median(home.train.known_prices) < 100

    inputs = read_report_inputs(home)
    assert inputs.train.known_prices.tolist() == true.tolist() and inputs.submitted is not None
    for member in inputs.members:
        assert float(np.median(member.oof / true)) == pytest.approx(1, abs=0.5)
        assert member.record["metrics"]["mae"] == pytest.approx(np.abs(member.oof - true).mean(), rel=1e-9)
    assert build_report(home).exists()
    facts = read_json(next(home.path("bundles").glob("toy-1-*")) / "bundle.json")
    assert true.min() <= facts["low"] < facts["middle"] < facts["high"] <= true.max()


@pytest.mark.parametrize("factor", [1.0, 1e6, 1e-7])
def test_predictions_made_outside_come_in_and_go_out_in_currency_units(tmp_path: Path, factor: float) -> None:
    workspace, train = workspace_of(tmp_path, factor), frames(factor)[0]
    guess = train[["sample_id"]].assign(mine=train[PRICE] * 1.1, other=train[PRICE] * 0.95)
    guess.to_csv(tmp_path / "oof.csv", index=False)
    test = pd.read_csv(tmp_path / "test.csv", dtype=str)[["sample_id"]].assign(mine=20 * factor, other=30 * factor)
    test.to_csv(tmp_path / "rows.csv", index=False)
    for name in ("mine", "other"):
        member = add_member(workspace, name, MemberTables(tmp_path / "oof.csv", tmp_path / "rows.csv", name))
        assert member.record["notes"] == []
    assert member.record["metrics"]["mae"] == pytest.approx(0.05 * train[PRICE].mean(), rel=1e-6)
    assert workspace.in_units(workspace.store.read("other").test).tolist() == [30 * factor] * 20
    stack_workspace(workspace, StackConfig(methods=("mean",)))
    assert pd.read_csv(workspace.path("submission.csv"))[PRICE].median() == pytest.approx(25 * factor, rel=0.1)

    guess.assign(price=train[PRICE]).to_csv(tmp_path / "oof.csv", index=False)
    out = tmp_path / "sub.csv"
    result = stack_files(tmp_path / "oof.csv", tmp_path / "rows.csv", StackConfig(methods=("mean",)), out=out)
    assert pd.read_parquet(tmp_path / "sub.stack_oof.parquet")[PRICE].tolist() == train[PRICE].tolist()
    assert result.test.tolist() == pd.read_csv(out)[PRICE].tolist()
    assert np.median(result.test) == pytest.approx(25 * factor, rel=0.1)


def test_a_price_far_outside_is_read_and_named_by_the_label_check(tmp_path: Path) -> None:
    train, test = frames(100.0)
    train.loc[7, PRICE] = 11_111_111
    train.to_csv(tmp_path / "train.csv", index=False)
    test.to_csv(tmp_path / "test.csv", index=False)
    workspace = Workspace(tmp_path / "runs")
    config, said = CatalogConfig(train=tmp_path / "train.csv", test=tmp_path / "test.csv", folds=2), list[str]()
    fill_workspace(workspace, config, 0, said.append)
    assert any("7 costs 11,111,111, expected" in line for line in said)
    first = read_findings(workspace.path(FILE))[0]
    assert (first.sample_id, first.kind, first.price) == ("7", LabelNoise.OUTLIER, 11_111_111)
    assert find_in(workspace)[0].sample_id == "7"


@pytest.mark.e2e
def test_rupiah_by_commands(tmp_path: Path) -> None:
    for path, frame in zip((tmp_path / "train.csv", tmp_path / "test.csv"), frames(1e6), strict=True):
        frame.to_csv(path, index=False)
    home = tmp_path / "runs"
    files = ["--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--workspace", home]
    swept = run("experiments.sweep", "lexical", *files, "--trials", 1, "--members", 1, "--folds", 2, "--seed", 0)
    assert "divided by 1,000,000 in training" in swept
    run("ensemble.stack", "--workspace", home)
    run("reports.build", "--workspace", home)
    run("serving.export", "--workspace", home)
    (bundle,) = (home / "bundles").glob("runs-1-*")
    run("serving.predict", "--bundle", bundle, "--in", tmp_path / "test.csv", "--out", tmp_path / "prices.csv")
    submitted, served = (
        [float(row[PRICE]) for row in csv.DictReader(path.open(encoding="utf-8"))]
        for path in (home / "submission.csv", tmp_path / "prices.csv")
    )
    assert served == pytest.approx(submitted, rel=1e-6)
    assert min(submitted) > 1e6 and 1e7 < np.median(submitted) < 1e8
