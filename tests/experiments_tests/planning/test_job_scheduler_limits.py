"""Jobs that start under limits of time or memory, and how a limited sweep goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from core.architectures import architecture
from core.data.catalog import Catalog
from core.data.folds import HOLDOUT
from core.protocols.architecture import Context, Model
from core.store.workspace import Workspace
from experiments.common.jobs import JobKind
from experiments.common.memory import DRIVER_BYTES, MemoryBudget
from experiments.execution.job_worker import read_trial
from tests.experiments_tests.planning.local_sweep import LocalSweep

MINUTES = 16.0


def test_members_are_not_started_when_they_would_not_be_finished(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1, minutes=MINUTES)
    trial = sweep.start()
    sweep.scheduler.finished(trial, replace(sweep.run(trial), seconds=5000.0))
    assert sweep.scheduler.next() is None and sweep.scheduler.done
    assert sweep.scheduler.left_out() == ["lexical's best config: no time was left to cross-validate it"]


def test_with_a_limit_the_documented_best_is_cross_validated_before_anything_is_searched(
    toy_workspace: Workspace,
) -> None:
    jobs = list(islice(LocalSweep(toy_workspace, "lexical", trials=4, members=None, minutes=MINUTES).trained(), 5))
    # Trial 0 and the two folds that it lacks come first; what follows is another config or another seed.
    assert [(job.kind, job.fold, job.number) for job in jobs[:3]] == [
        (JobKind.TRIAL, 0, 0), (JobKind.FIT, 1, -1), (JobKind.FIT, 2, -1),
    ]  # fmt: skip
    assert toy_workspace.store.complete() == [jobs[1].name]
    assert jobs[3].fold == HOLDOUT


def test_with_a_limit_a_member_that_was_begun_is_finished_before_anything_else_begins(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=3, members=2, minutes=MINUTES)
    begun: set[str] = set()
    for job in sweep.trained():
        if job.kind == JobKind.FIT and job.fold != HOLDOUT:
            begun.add(job.name)
        elif begun:
            assert begun <= set(toy_workspace.store.complete())
    assert sweep.scheduler.done
    assert begun <= set(toy_workspace.store.complete()) and 1 <= len(begun) <= 2


def test_another_seed_of_a_member_is_tried_on_one_fold_and_named_by_its_seed(toy_workspace: Workspace) -> None:
    jobs = list(islice(LocalSweep(toy_workspace, "lexical", trials=1, members=None, minutes=MINUTES).trained(), 4))
    probe = jobs[3]
    assert (probe.kind, probe.fold, probe.seed) == (JobKind.FIT, HOLDOUT, 1)
    assert probe.settings == jobs[1].settings and probe.name != jobs[1].name
    assert toy_workspace.store.has_fit(probe.name, HOLDOUT)


def test_a_sweep_that_goes_on_knows_the_members_and_trials_of_the_one_before(toy_workspace: Workspace) -> None:
    first = LocalSweep(toy_workspace, "lexical", minutes=MINUTES)
    assert len(list(islice(first.trained(), 3))) == 3
    again = LocalSweep(toy_workspace, "lexical", minutes=MINUTES)
    assert again.scheduler.next() is None and again.scheduler.done
    assert len(toy_workspace.store.complete()) == 1


def test_a_trial_cut_by_its_deadline_is_used_but_not_remembered_as_finished(
    toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1)
    trial = sweep.start()
    kind = type(architecture("lexical"))
    train = kind.train

    def slow(self: Any, rows: Catalog, valid: Catalog | None, config: Any, context: Context) -> Model:
        model = train(self, rows, valid, config, replace(context, deadline=None))
        assert context.out_of_time
        return model

    monkeypatch.setattr(kind, "train", slow)
    monkeypatch.setattr(kind, "stops_on_valid", True)
    assert sweep.run(replace(trial, deadline=time.time() - 1.0)).cut
    assert read_trial(toy_workspace, trial.name) is None


def test_a_training_that_would_not_fit_beside_another_waits_for_it(toy_workspace: Workspace) -> None:
    memory = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000, "text": 1000})
    sweep = LocalSweep(toy_workspace, "lexical", "text", trials=1, members=0, memory=memory)
    first = sweep.start()
    assert sweep.scheduler.next() is None and not sweep.scheduler.done
    assert sweep.scheduler.next() is None
    assert sweep.notes == ["text: fewer trainings at once, for the memory that they take (--memory)"]
    sweep.finish(first, memory=100)
    assert {first.architecture, sweep.start().architecture} == {"lexical", "text"}


def test_trainings_that_were_measured_to_be_small_run_side_by_side(toy_workspace: Workspace) -> None:
    memory = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000})
    sweep = LocalSweep(toy_workspace, "lexical", trials=3, members=0, memory=memory)
    first = sweep.start()
    assert sweep.scheduler.next() is None
    sweep.finish(first, memory=500)
    assert sweep.start() and sweep.start()


def test_an_architecture_that_fits_nowhere_is_left_out_with_a_note(toy_workspace: Workspace) -> None:
    memory = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000, "text": 2000})
    sweep = LocalSweep(toy_workspace, "lexical", "text", trials=1, members=0, memory=memory)
    first = sweep.start()
    assert first.architecture == "lexical"
    sweep.finish(first)
    assert sweep.scheduler.next() is None and sweep.scheduler.done
    (text,) = sweep.notes
    assert text.startswith("text: a training is expected to take 2 KB of memory") and "--memory" in text
