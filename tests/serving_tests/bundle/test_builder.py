from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.store.workspace import Workspace
from ensemble.add import MemberTables, add_member
from ensemble.matrix.screening import ScreeningConfig
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from serving.bundle.builder import export
from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.predictor import Predictor
from tests.errors import refused


def exporting(workspace: Workspace) -> Bundle:
    return export(workspace, workspace.path("bundles"), "toy", "saved", no_progress)[0]


def test_prices_from_the_bundle_are_the_submitted_ones(stacked: Workspace, exported: Path) -> None:
    submitted = pd.read_csv(stacked.path("submission.csv"))["price"].to_numpy()
    shutil.rmtree(stacked.path("members"))  # it needs nothing but itself
    answer = Predictor(exported).predict(stacked.test)
    assert answer.prices == pytest.approx(submitted, rel=1e-4)
    facts = open_bundle(exported).facts
    assert facts.compared == 40 and facts.largest_difference < 1e-4


def test_there_is_no_pickle_and_no_time_in_it(exported: Path) -> None:
    suffixes = {path.suffix for path in exported.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".npz", ".txt", ".md"}
    facts, card = json.loads((exported / "bundle.json").read_text()), (exported / "README.md").read_text()
    assert "seconds" not in facts
    for fact in (f"{facts['nested']['smape']:.2f}", facts["catalog"], facts["members"][0]["id"]):
        assert fact in card


def test_exporting_again_finds_the_same_bundle(stacked: Workspace) -> None:
    first = exporting(stacked)
    again, new = export(stacked, stacked.path("bundles"), "toy", "saved", no_progress)
    assert (again.folder, new) == (first.folder, False)
    assert open_bundle(again.folder) == first


def test_progress_names_each_part_before_it_is_written(stacked: Workspace) -> None:
    reported: list[str | tuple[int, int]] = []
    export(
        stacked,
        stacked.path("bundles"),
        "toy",
        "saved",
        lambda *how_far: reported.append(how_far),
        begin=reported.append,
    )
    boosted, lexical = stacked.store.complete()
    parts = [f"{member} fold {fold}" for member in (boosted, lexical) for fold in (0, 1)]
    assert reported[:8] == [each for place, part in enumerate(parts) for each in (part, (place, 6))]
    assert reported[8:] == [(4, 6), "and comparing prices", (5, 6), (6, 6)]


def test_members_that_the_stack_does_not_look_at_stay_behind(stacked: Workspace) -> None:
    result = stack_workspace(stacked, StackConfig(methods=("single",)))
    bundle = exporting(stacked)
    best = min(result.record["members"], key=lambda each: each["oof"]["smape"])["name"]
    assert [member.id for member in bundle.facts.members] == [best]
    assert [path.name for path in bundle.path("members").iterdir()] == [best]
    answer = Predictor(bundle.folder).predict(stacked.test)
    assert answer.prices == pytest.approx(result.test, rel=1e-4) and answer.members == (best,)


def test_a_member_made_outside_cannot_be_served(stacked: Workspace, tmp_path: Path) -> None:
    for part, catalog in (("oof", stacked.train), ("test", stacked.test)):
        prices = np.linspace(3, 90, len(catalog)) if catalog.prices is None else catalog.prices * 1.1
        pd.DataFrame({"sample_id": catalog.ids, "mine": prices}).to_csv(tmp_path / f"{part}.csv", index=False)
    add_member(stacked, "mine", MemberTables(tmp_path / "oof.csv", tmp_path / "test.csv"))
    stack_workspace(stacked, StackConfig(methods=("geometric",), screening=ScreeningConfig(keep=("mine",))))
    with refused("export-imported-member") as caught:
        exporting(stacked)
    assert "--drop mine" in caught.value.hint
    stack_workspace(stacked, StackConfig(methods=("geometric",), screening=ScreeningConfig(drop=("mine",))))
    assert len(exporting(stacked).facts.members) == 2


def test_what_changed_since_the_stack_is_refused(stacked: Workspace) -> None:
    name = stacked.store.complete()[0]
    fit = stacked.store.fold_folder(name, 1) / "fit.json"
    there = fit.read_text()
    fit.unlink()
    with refused("export-lost-fold-model"):
        exporting(stacked)
    fit.write_text(there)

    record = json.loads(stacked.path("stack.json").read_text())
    stacked.path("stack.json").write_text(json.dumps({**record, "combination": []}))
    with refused("export-stack-mismatch"):
        exporting(stacked)
    stacked.path("stack.json").write_text(json.dumps(record))

    oof = stacked.path("members", name, "oof.parquet")
    frame = pd.read_parquet(oof)
    frame.iloc[0, 0] *= 2
    frame.to_parquet(oof, index=False)
    with refused("export-member-changed"):
        exporting(stacked)
    shutil.rmtree(stacked.path("members", name))
    with refused("export-member-gone"):
        exporting(stacked)
    shutil.rmtree(stacked.path("stack"))
    with refused("stored-stack-missing"):
        exporting(stacked)
    assert not stacked.path("bundles", "toy").exists()


def test_models_that_give_other_prices_than_were_submitted_make_no_bundle(stacked: Workspace) -> None:
    name = next(each for each in stacked.store.complete() if each.startswith("boosted"))
    booster = stacked.store.fold_folder(name, 0) / "boosted.json"
    record = json.loads(booster.read_text())
    booster.write_text(json.dumps({**record, "centre": record["centre"] + 0.2}))
    before = set(stacked.path("bundles").glob("*/"))
    with refused("export-prices-differ"):
        exporting(stacked)
    assert set(stacked.path("bundles").glob("*/")) == before
