"""Stored stacks: read back from the disk, they give the same prices to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.store.workspace import Workspace
from ensemble.matrix.level_one import Rows
from ensemble.matrix.row_features import RowFeatureReader
from ensemble.methods.fixed import Blend, Trimmed
from ensemble.methods.method_registry import METHODS
from ensemble.pipeline.final_pipeline import FinalPipeline
from ensemble.pipeline.nested_cv import Stacked
from ensemble.pipeline.postprocessing import STEPS
from ensemble.pipeline.serialization import Stack, load, load_stack, save, stack_of
from ensemble.stack import stack_workspace
from pricestack.testing.combiners import rows_with_features
from tests.ensemble_tests.toys import add_member, members, problem
from tests.errors import refused

READER = RowFeatureReader((), {})


def stack(stacked: Stacked, count: int) -> Stack:
    names = tuple(f"m{place}" for place in range(count))
    return Stack(names, names, stacked, READER, "catalog", "folds")


@pytest.mark.parametrize("name", STEPS)
def test_every_last_step_comes_back(name: str, tmp_path: Path) -> None:
    oof, prices = members(900, 3, seed=1)
    prices = np.floor(prices) + 0.99
    given = rows_with_features(oof)
    step = STEPS[name].fit(oof[:, 0] ** 1.2, prices, given, 0)
    assert step is not None
    save(step, tmp_path)
    again: Any = load(tmp_path, object)
    assert type(again) is type(step)
    assert np.array_equal(again.predict(oof[:, 1], given), step.predict(oof[:, 1], given))
    assert again.describe() == step.describe()


def whole(seed: int = 0) -> tuple[Stack, Rows]:
    """A blend of a booster and weights with every last step."""
    oof, prices = members(600, 4, seed=seed)
    given = rows_with_features(oof)
    fitted = {name: METHODS[name].fit(replace(problem(oof, prices), rows=given)) for name in ("affine", "residual")}
    steps = {name: STEPS[name].fit(oof[:, 0], np.floor(prices) + 0.99, given, 0) for name in reversed(STEPS)}
    recipe = FinalPipeline(
        "blend", {"residual": 0.7, "affine": 0.3}, {name: step for name, step in steps.items() if step}
    )
    return stack(Stacked(recipe, fitted), 4), given


def test_a_whole_stack_comes_back_with_its_steps_in_their_order(tmp_path: Path) -> None:
    made, given = whole()
    made.save(tmp_path)
    again = load_stack(tmp_path)
    assert np.array_equal(again.stacked.predict(given), made.stacked.predict(given))
    assert again.stacked.describe() == made.stacked.describe()
    assert list(again.stacked.recipe.steps) == list(made.stacked.recipe.steps)
    assert (again.members, again.reader, again.catalog) == (made.members, made.reader, made.catalog)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz", ".txt"}


def test_it_needs_nothing_of_the_process_that_wrote_it(tmp_path: Path) -> None:
    made, given = whole()
    made.save(tmp_path / "stack")
    np.save(tmp_path / "members.npy", given.members)
    np.save(tmp_path / "features.npy", given.features)
    assert given.quantiles is not None
    np.save(tmp_path / "quantiles.npy", given.quantiles.logs)
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from ensemble.matrix.level_one import MemberQuantiles, Rows;"
        "from ensemble.pipeline.serialization import load_stack;"
        "folder = Path(sys.argv[1]); read = lambda name: np.load(folder / name);"
        "known = MemberQuantiles(np.array([0, 1]), read('quantiles.npy'));"
        "rows = Rows(read('members.npy'), read('features.npy'), known);"
        "np.save(folder / 'prices.npy', load_stack(folder / 'stack').stacked.predict(rows)); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
    assert np.array_equal(np.load(tmp_path / "prices.npy"), made.stacked.predict(given))


def test_a_stopped_writer_leaves_the_old_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, given = whole(seed=0)
    new, _ = whole(seed=1)
    old.save(tmp_path)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ensemble.pipeline.serialization.write_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path)
    assert np.array_equal(load_stack(tmp_path).stacked.predict(given), old.stacked.predict(given))
    new.save(tmp_path)
    assert np.array_equal(load_stack(tmp_path).stacked.predict(given), new.stacked.predict(given))
    record = json.loads((tmp_path / "record.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", record["arrays"], *record["boosters"]}


def test_what_is_not_whole_or_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    with refused("stored-stack-missing"):
        load_stack(tmp_path)
    made, _ = whole()
    made.save(tmp_path)
    record = json.loads((tmp_path / "record.json").read_text())
    booster = tmp_path / record["boosters"][0]
    text = booster.read_text()
    booster.write_text(text.replace("leaf_value=", "leaf_value=9", 1))
    with refused("stored-stack-damaged"):
        load_stack(tmp_path)
    booster.unlink()
    with refused("stored-stack-damaged"):
        load_stack(tmp_path)
    booster.write_text(text)
    (tmp_path / "record.json").write_text(json.dumps({**record, "core": "0"}))
    with refused("stored-stack-other-version"):
        load_stack(tmp_path)
    record["value"]["kind"] = "Oracle"
    (tmp_path / "record.json").write_text(json.dumps(record))
    with refused("stored-stack-unknown-kind"):
        load_stack(tmp_path)


def test_a_class_without_a_stored_form_is_a_fault_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"object has no stored form: .*stored_types"):
        save(FinalPipeline("x", {}, {"odd": object()}), tmp_path)  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_members_without_weight_are_left_out_where_nothing_looks_at_them() -> None:
    oof, prices = members(300, 5, seed=3)
    given = rows_with_features(oof)
    blends = {
        "single": Blend(np.array([0.0, 1, 0, 0, 0]), "log"),
        "mean": Blend(np.array([0, 0.5, 0, 0.5, 0]), "price"),
    }
    linear = Stacked(FinalPipeline("blend", {"single": 0.5, "mean": 0.5}, {}), blends)
    made = stack(linear, 5)
    used = made.used
    assert used.tolist() == [False, True, False, True, False]
    narrow = made.narrowed()
    assert narrow.members == ("m1", "m3")
    found = narrow.stacked.predict(Rows(oof[:, used], given.features))
    assert found == pytest.approx(made.stacked.predict(given), rel=1e-12)
    assert stack(Stacked(FinalPipeline("median", {"median": 1.0}, {}), {"median": Trimmed(5, 0.5)}), 5).used.all()
    decision = {"decision": STEPS["decision"].fit(oof[:, 0], prices, given, 0)}
    recipe = FinalPipeline("blend", linear.recipe.shares, {name: step for name, step in decision.items() if step})
    assert stack(Stacked(recipe, blends), 5).narrowed().members == made.members


def test_a_workspace_keeps_its_stack_and_new_rows_get_the_submitted_prices(toy_workspace: Workspace) -> None:
    for seed in range(3):
        add_member(toy_workspace, f"text-{seed}", seed)
    result = stack_workspace(toy_workspace)
    kept = load_stack(toy_workspace.path("stack"))
    assert kept.members == result.matrix.names
    chosen = np.arange(len(toy_workspace.test))[::-1].copy()
    again = kept.stacked.predict(kept.rows(result.matrix.test[chosen], toy_workspace.test.take(chosen)))
    assert again == pytest.approx(result.test[chosen], rel=1e-12)
    with pytest.raises(ValueError, match="cannot be read from a catalog"):
        stack_of(replace(result.matrix, reader=None), result.validation.final)
