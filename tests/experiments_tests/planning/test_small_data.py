"""Plans where training rows are few."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.folds import FEW_ROWS
from core.store.workspace import Workspace
from experiments.planning.budget import BudgetConfig
from experiments.planning.setup import (
    FOLDS,
    SMALL_DATA_FOLDS,
    SMALL_DATA_MEMBERS,
    Planner,
    default_folds,
    for_catalog,
    for_small_data,
    is_small_data,
)
from experiments.search.search_config import SearchConfig
from experiments.sweep_config import SweepConfig
from tests.experiments_tests.planning.local_sweep import LAPTOP, LocalSweep


def test_few_rows_are_parted_into_more_folds() -> None:
    assert default_folds(FEW_ROWS - 1) == SMALL_DATA_FOLDS > FOLDS == default_folds(FEW_ROWS)
    assert default_folds(20) == FOLDS


@pytest.mark.parametrize("asked", [{"trials": 4}, {"members": 1}, {"grid": True}])
def test_a_search_that_was_asked_for_is_made(toy_workspace: Workspace, asked: dict[str, object]) -> None:
    assert is_small_data(toy_workspace, SearchConfig(), BudgetConfig())
    assert is_small_data(toy_workspace, SearchConfig(), BudgetConfig(minutes=2.0))
    config = SweepConfig.of(**asked)
    assert not is_small_data(toy_workspace, config.search, config.budget)


def test_random_weights_are_left_out_of_all_and_noted_but_not_where_they_were_named(toy_workspace: Workspace) -> None:
    for names, kept in ((("all",), ["lexical", "boosted"]), (("text", "lexical"), ["text", "lexical"])):
        vision = "tiny-vision" if "all" in names else None
        search = SearchConfig(architectures=names, text_encoder="tiny", vision_encoder=vision)
        made = Planner(search, BudgetConfig(), toy_workspace, LAPTOP).plans(search.kinds())
        able, notes = for_catalog(made, search, toy_workspace)
        assert len(notes) == ("all" in names)  # there are no images
        found, notes = for_small_data(able, search)
        assert [each.name for each in found] == kept
        assert all(each.trials == 1 + len(each.space.then) and each.members is None for each in found)
        assert f"{SMALL_DATA_MEMBERS} members of each" in notes[0]
        assert len(notes) == 1 + ("all" in names)


@pytest.mark.parametrize("named", [{}, {"text_encoder": "tiny"}, {"settings": ("text.text_encoder=tiny",)}])
def test_all_has_a_network_without_knowledge_only_where_its_encoder_is_named(
    toy_workspace: Workspace, named: dict[str, Any]
) -> None:
    search = SearchConfig(**named)
    made = Planner(search, BudgetConfig(), toy_workspace, LAPTOP).plans(search.kinds())
    kept, notes = for_catalog(made, search, toy_workspace)
    assert [each.name for each in kept] == (["text"] if named else []) + ["lexical", "boosted"]
    left_out = [
        note for note in notes if note.startswith("text is left out of `all`: an encoder that starts from random")
    ]
    assert bool(left_out) != bool(named)


def test_the_documented_best_is_cross_validated_with_another_seed_and_nothing_is_searched(
    toy_workspace: Workspace,
) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1, members=None, small_data_members=2)
    jobs = list(sweep.trained())
    assert sweep.scheduler.done
    assert [(job.kind, job.seed, job.fold) for job in jobs] == [
        ("trial", 0, 0), ("fit", 0, 1), ("fit", 0, 2), ("fit", 1, 0), ("fit", 1, 1), ("fit", 1, 2),
    ]  # fmt: skip
    assert len(toy_workspace.store.complete()) == 2
    again = LocalSweep(toy_workspace, "lexical", trials=1, members=None, small_data_members=2).scheduler
    assert again.next() is None and again.done


def test_every_documented_point_is_a_member_before_the_first_other_seed(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", members=None, small_data_members=3)
    jobs = list(sweep.trained())
    assert sweep.scheduler.done
    assert [(job.kind, job.seed) for job in jobs] == [("trial", 0), ("fit", 0), ("fit", 0)] * 2 + [("fit", 1)] * 3
    assert len({job.name for job in jobs if job.kind == "fit"}) == len(toy_workspace.store.complete()) == 3
