from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.metrics import smape
from core.store.workspace import Workspace
from ensemble.add import MemberTables, add_member
from ensemble.matrix.matrix import from_workspace
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from experiments.tracking.comparison import member_side
from experiments.tracking.run_record import record_of_member
from reports.build import build_report
from tests.commands import run_module
from tests.ensemble_tests import toys
from tests.errors import refused


def source(workspace: Workspace, folder: Path, column: str = "price", seed: int = 5) -> MemberTables:
    """Shuffled tables with good prices for the workspace's rows."""
    member = toys.add_member(workspace, "template", seed)
    shutil.rmtree(workspace.store.folder / "template")
    for part, ids, prices in (("oof", workspace.train.ids, member.oof), ("test", workspace.test.ids, member.test)):
        table = pd.DataFrame({"sample_id": ids, column: prices}).sample(frac=1, random_state=0)
        table.to_csv(folder / f"{part}.csv", index=False)
    return MemberTables(folder / "oof.csv", folder / "test.csv")


def change(path: Path, row: int, value: object, column: int = 1) -> None:
    table = pd.read_csv(path, dtype=str)
    table.iloc[row, column] = value
    table.to_csv(path, index=False)


def files(workspace: Workspace) -> list[str]:
    return sorted(str(path.relative_to(workspace.folder)) for path in workspace.folder.rglob("*"))


@pytest.mark.e2e
def test_command_imports_a_member_that_the_stack_then_names(toy_workspace: Workspace, tmp_path: Path) -> None:
    given = source(toy_workspace, tmp_path)
    command = ["ensemble.add", "deberta-v3.1", "--oof", str(given.oof), "--test", str(given.test)]
    run = partial(run_module, *command, cwd=tmp_path, PRICESTACK_WORKSPACE="runs")
    done = run()
    assert done.returncode == 0, done.stderr
    member = toy_workspace.store.read("deberta-v3.1")
    score = smape(toy_workspace.train.known_prices, member.oof)
    assert f"SMAPE {score:.2f}" in done.stdout
    assert "as given; its folds are not known" in done.stdout
    assert "next:   python -m ensemble.stack --workspace runs" in done.stdout
    assert str(tmp_path) not in json.dumps(member.record)
    again = run()
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert run("--replace").returncode == 0
    result = stack_workspace(toy_workspace)
    assert result.matrix.external == ("deberta-v3.1",)
    assert "deberta-v3.1 was made outside" in result.record["notes"][0]


def test_rows_come_in_the_catalogs_order_and_holes_stay_holes(toy_workspace: Workspace, tmp_path: Path) -> None:
    given = source(toy_workspace, tmp_path, "mine")
    change(given.oof, 7, "")
    member = add_member(toy_workspace, "mine", given)
    table = pd.read_csv(given.oof, dtype={"sample_id": str}).set_index("sample_id")["mine"]
    assert np.array_equal(member.oof, table.loc[toy_workspace.train.ids].to_numpy(), equal_nan=True)
    assert "1 of 120 training rows have no out-of-fold price" in member.record["notes"][0]
    stored = toy_workspace.store.read("mine")
    assert np.array_equal(stored.oof, member.oof, equal_nan=True)
    assert stored.record == member.record
    toys.add_member(toy_workspace, "text-a", 1)
    assert from_workspace(toy_workspace).names == ("mine", "text-a")


def test_the_column_is_the_named_one_the_members_or_the_only_one(toy_workspace: Workspace, tmp_path: Path) -> None:
    given = source(toy_workspace, tmp_path, "first")
    only = add_member(toy_workspace, "any", given)
    for path in (given.oof, given.test):
        table = pd.read_csv(path)
        table["price"], table["second"] = 1.0, 2 * table["first"]
        table.to_csv(path, index=False)
    assert np.array_equal(add_member(toy_workspace, "first", given).oof, only.oof)
    named = add_member(toy_workspace, "other", MemberTables(given.oof, given.test, "second"))
    assert named.oof == pytest.approx(2 * only.oof)
    with refused("add-column-unclear") as caught:
        add_member(toy_workspace, "mine", given)
    assert "--column" in caught.value.hint


def test_external_members_are_read_like_others(toy_workspace: Workspace, tmp_path: Path) -> None:
    add_member(toy_workspace, "outside", source(toy_workspace, tmp_path))
    for name in ("text", "lexical", "boosted"):
        toys.add_member(toy_workspace, f"{name}-abcdef", 3, architecture=name)
    stack_workspace(toy_workspace, StackConfig(methods=("mean",)))
    report = json.loads(build_report(toy_workspace).with_suffix(".json").read_text())
    assert [member["label"] for member in report["members"] if member["architecture"] == "external"] == ["outside"]
    assert "external" not in report["verdict"]["next"]["command"].split()
    record = toy_workspace.store.read("outside").record
    assert record_of_member(toy_workspace, "outside", record, {}).name == "outside"
    assert "seconds" not in member_side(toy_workspace, "outside").figures


def test_replacing_changes_an_external_member_alone(toy_workspace: Workspace, tmp_path: Path) -> None:
    given = source(toy_workspace, tmp_path, seed=5)
    first = add_member(toy_workspace, "mine", given)
    second = add_member(toy_workspace, "mine", source(toy_workspace, tmp_path, seed=6), replace=True)
    assert toy_workspace.store.read("mine").record["fingerprint"] == second.record["fingerprint"]
    assert first.record["fingerprint"] != second.record["fingerprint"]
    toys.add_member(toy_workspace, "text-a")
    with refused("add-trained-here"):
        add_member(toy_workspace, "text-a", given, replace=True)


@pytest.mark.parametrize(
    ("part", "row", "value", "column", "code"),
    [
        ("oof", 4, "77777", 0, "add-other-ids"),
        ("test", 4, "77777", 0, "add-other-ids"),
        ("test", 4, "-1", 1, "add-bad-prices"),
        ("oof", 4, "inf", 1, "add-bad-prices"),
        ("oof", 4, "dear", 1, "predictions-not-numbers"),
    ],
)
def test_nothing_is_written_for_wrong_tables(
    toy_workspace: Workspace, tmp_path: Path, part: str, row: int, value: str, column: int, code: str
) -> None:
    given = source(toy_workspace, tmp_path)
    change(tmp_path / f"{part}.csv", row, value, column)
    before = files(toy_workspace)
    with refused(code) as caught:
        add_member(toy_workspace, "mine", given)
    assert caught.value.hint
    assert files(toy_workspace) == before


def test_doubled_ids_empty_columns_and_logarithms(toy_workspace: Workspace, tmp_path: Path) -> None:
    given = source(toy_workspace, tmp_path)
    table = pd.read_csv(given.oof, dtype=str)
    pd.concat([table, table[:2]]).to_csv(given.oof, index=False)
    with refused("predictions-doubled-ids"):
        add_member(toy_workspace, "mine", given)
    table.assign(price="").to_csv(given.oof, index=False)
    with refused("add-no-price"):
        add_member(toy_workspace, "mine", given)
    table.assign(price=np.log1p(table["price"].astype(float))).to_csv(given.oof, index=False)
    assert "undo the logarithm" in add_member(toy_workspace, "mine", given).record["notes"][0]


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a b", "a/b", "é", "x" * 101])
def test_names_are_plain(toy_workspace: Workspace, tmp_path: Path, name: str) -> None:
    with refused("add-bad-name"):
        add_member(toy_workspace, name, source(toy_workspace, tmp_path))
