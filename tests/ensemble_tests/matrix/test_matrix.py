from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.quality.leaks import Leak, LeakKind, write_leak_notes
from core.store.oof_store import EXTERNAL, Member
from core.store.workspace import Workspace
from ensemble.matrix.matrix import from_workspace
from ensemble.matrix.screening import ScreeningConfig
from tests.ensemble_tests.toys import add_member
from tests.errors import refused


def test_complete_members_become_columns_in_the_order_of_their_ids(toy_workspace: Workspace) -> None:
    second, first = add_member(toy_workspace, "text-b", 1), add_member(toy_workspace, "lexical-a", 2)
    toy_workspace.store.fold_folder("text-unfinished", 0).mkdir(parents=True)
    found = from_workspace(toy_workspace)
    assert found.names == ("lexical-a", "text-b")
    assert np.array_equal(found.oof, np.column_stack([first.oof, second.oof]))
    assert np.array_equal(found.test, np.column_stack([first.test, second.test]))
    assert np.array_equal(found.folds, toy_workspace.folds.assignment)
    assert found.ids.tolist() == toy_workspace.train.ids.tolist()
    assert found.seconds == {"lexical-a": 1.5, "text-b": 1.5}
    assert found.notes == ()
    assert len(set(found.fingerprints.values())) == 2


def test_no_member_and_no_workspace_are_answered_with_what_to_run(toy_workspace: Workspace, tmp_path: Path) -> None:
    with refused("stack-no-member") as caught:
        from_workspace(toy_workspace)
    assert "experiments.sweep" in caught.value.hint
    with refused("workspace-missing"):
        from_workspace(Workspace(tmp_path / "nowhere"))


def test_what_leaks_in_the_catalog_stands_among_the_notes(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "text-a")
    write_leak_notes(toy_workspace, [Leak(LeakKind.IDS, "the ids tell all", "look at them")])
    assert from_workspace(toy_workspace).notes == ("possible leak: the ids tell all; look at them",)


@pytest.mark.parametrize("what", ["catalog", "folds"])
def test_member_of_other_data_is_refused_naming_both(toy_workspace: Workspace, what: str) -> None:
    add_member(toy_workspace, "text-a")
    add_member(toy_workspace, "text-b", **{what: "0123abcd"})
    with refused("member-other-data") as caught:
        from_workspace(toy_workspace)
    assert getattr(toy_workspace.facts, what) in caught.value.what


def test_member_made_outside_is_mixed_in_with_a_warning(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "outside", folds=EXTERNAL)
    found = from_workspace(toy_workspace)
    assert found.names == ("outside",)
    assert found.external == ("outside",)
    assert "outside was made outside" in found.notes[0]


def test_holes_up_to_the_allowed_share_are_completed_with_a_note(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "text-a", 1)
    member = add_member(toy_workspace, "text-b", 2)
    member.oof[[4, 7]] = np.nan
    toy_workspace.store.write_member(member)
    found = from_workspace(toy_workspace)
    assert found.names == ("text-a", "text-b")
    assert np.isfinite(found.oof).all()
    holes = "2 of 120 training rows have no out-of-fold price (the first: row 5, sample_id 4)"
    assert found.notes == (f"member text-b is completed from the other members: {holes}",)
    strict = from_workspace(toy_workspace, ScreeningConfig(max_missing=0.01))
    assert strict.names == ("text-a",)
    assert strict.notes[0].startswith(f"member text-b is left out: {holes}, more than --max-missing 0.01")


def test_fields_of_the_texts_become_features_and_are_read_once(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "text-a", 1)
    found = from_workspace(toy_workspace)
    assert found.features.shape == (120, len(found.feature_names))
    assert found.test_features.shape == (30, len(found.feature_names))
    values = [float(text.split("Value: ")[1].split("\n")[0]) for text in toy_workspace.train.texts]
    assert found.features[:, found.feature_names.index("value")].tolist() == values
    assert found.test_features[3, found.feature_names.index("text length")] == len(toy_workspace.test.texts[3])
    brands = found.features[:, found.feature_names.index("brand")]
    assert set(brands[~np.isnan(brands)]) == {0.0, 1.0, 2.0}
    assert all(len(np.unique(column[~np.isnan(column)])) > 1 for column in found.features.T)
    (entry,) = toy_workspace.cache().paths("row-features")
    assert sorted(path.name for path in entry.iterdir()) == ["features.npz", "words.json"]
    again = from_workspace(Workspace(toy_workspace.folder))
    assert again.feature_names == found.feature_names
    assert np.array_equal(again.features, found.features, equal_nan=True)


def test_quantiles_are_carried_for_the_members_that_give_them(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "lexical-a", 1)
    member, halved = add_member(toy_workspace, "text-b", 2), add_member(toy_workspace, "text-c", 3)
    spread = np.exp(np.linspace(-0.4, 0.8, 9))
    for each in (member, halved):
        for part, prices in (("oof", each.oof), ("test", each.test)):
            toy_workspace.store.write_quantiles(each.id, part, prices[:, None] * spread)
    holes = halved.oof[:, None] * spread
    holes[:40] = np.nan
    toy_workspace.store.write_quantiles("text-c", "oof", holes)
    found = from_workspace(toy_workspace)
    train, test = found.train_rows.quantiles, found.test_rows.quantiles
    assert train is not None and test is not None
    assert train.members.tolist() == test.members.tolist() == [1]
    assert train.logs[:, 0] == pytest.approx(np.log(member.oof[:, None] * spread), abs=1e-5)
    assert test.logs[:, 0] == pytest.approx(np.log(member.test[:, None] * spread), abs=1e-5)
    assert from_workspace(toy_workspace, ScreeningConfig(drop=("text-b",))).train_rows.quantiles is None


def test_quantiles_of_other_levels_are_refused(toy_workspace: Workspace) -> None:
    member = add_member(toy_workspace, "text-a")
    toy_workspace.store.write_quantiles("text-a", "oof", np.repeat(member.oof[:, None], 5, axis=1))
    toy_workspace.store.write_quantiles("text-a", "test", np.repeat(member.test[:, None], 5, axis=1))
    with refused("member-quantiles-shape"):
        from_workspace(toy_workspace)


@pytest.mark.parametrize("bad", [0.0, -3.0, np.inf])
def test_impossible_prices_name_member_and_rows(toy_workspace: Workspace, bad: float) -> None:
    member = add_member(toy_workspace, "text-a")
    member.test[[2, 5, 6, 8]] = bad
    toy_workspace.store.write_member(member)
    with refused("member-bad-prices"):
        from_workspace(toy_workspace)


def test_wrong_length_is_refused(toy_workspace: Workspace) -> None:
    member = add_member(toy_workspace, "text-a")
    toy_workspace.store.write_member(Member(member.id, member.oof[:-1], member.test, member.record))
    with refused("member-row-count"):
        from_workspace(toy_workspace)
