"""Jobs that start under limits of time or memory, and how a limited sweep goes on."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from core.architectures import architecture
from core.data.catalog import Catalog
from core.data.folds import HOLDOUT
from core.protocols.architecture import Context, Model
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome
from experiments.common.memory import DRIVER_BYTES, MemoryBudget
from experiments.execution.job_worker import read_trial, run_job
from tests.experiments_tests.planning.test_job_scheduler import scheduler


def test_members_are_not_started_when_they_would_not_be_finished(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1, end=time.time() + 1000.0)
    trial = source.next()
    assert trial is not None
    outcome = run_job(trial, partial(source.epoch, trial), toy_workspace.folder)
    source.finished(trial, JobOutcome(outcome.metrics, outcome.best_epoch, seconds=5000.0))
    assert source.next() is None
    assert source.done
    assert source.left_out() == ["lexical's best config: no time was left to cross-validate it"]


def test_with_a_limit_the_documented_best_is_cross_validated_before_anything_is_searched(
    toy_workspace: Workspace,
) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=4, members=None, end=time.time() + 1000.0)
    jobs = []
    while len(jobs) < 5 and (job := source.next()) is not None:
        jobs.append(job)
        source.finished(job, run_job(job, partial(source.epoch, job), toy_workspace.folder))
    # Trial 0 and the two folds that it lacks come first; what follows is another config or another seed.
    assert [(job.kind, job.fold, job.number) for job in jobs[:3]] == [("trial", 0, 0), ("fit", 1, -1), ("fit", 2, -1)]
    assert toy_workspace.store.complete() == [jobs[1].name]
    assert jobs[3].fold == HOLDOUT


def test_with_a_limit_what_was_begun_is_finished_before_anything_else_begins(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=3, members=2, end=time.time() + 1000.0)
    begun: set[str] = set()
    while (job := source.next()) is not None:
        source.finished(job, run_job(job, partial(source.epoch, job), toy_workspace.folder))
        if job.kind == "fit" and job.fold != HOLDOUT:
            begun.add(job.name)
        elif begun:
            assert begun <= set(toy_workspace.store.complete())
    assert source.done
    assert begun <= set(toy_workspace.store.complete()) and 1 <= len(begun) <= 2


def test_another_seed_of_a_member_is_tried_on_one_fold_and_named_by_its_seed(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1, members=None, end=time.time() + 1000.0)
    jobs = []
    while len(jobs) < 4 and (job := source.next()) is not None:
        jobs.append(job)
        source.finished(job, run_job(job, partial(source.epoch, job), toy_workspace.folder))
    probe = jobs[3]
    assert (probe.kind, probe.fold, probe.seed) == ("fit", HOLDOUT, 1)
    assert probe.settings == jobs[1].settings and probe.name != jobs[1].name
    assert toy_workspace.store.has_fit(probe.name, HOLDOUT)


def test_a_sweep_that_goes_on_knows_the_members_and_trials_of_the_one_before(toy_workspace: Workspace) -> None:
    first, _ = scheduler(toy_workspace, "lexical", trials=2, members=1, end=time.time() + 1000.0)
    for _ in range(3):
        job = first.next()
        assert job is not None
        first.finished(job, run_job(job, partial(first.epoch, job), toy_workspace.folder))
    again, _ = scheduler(toy_workspace, "lexical", trials=2, members=1, end=time.time() + 1000.0)
    assert again.next() is None and again.done
    assert len(toy_workspace.store.complete()) == 1


def test_a_trial_cut_by_its_deadline_is_used_but_not_remembered_as_finished(
    toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1)
    trial = source.next()
    assert trial is not None
    kind = type(architecture("lexical"))
    train = kind.train

    def slow(self: Any, rows: Catalog, valid: Catalog | None, config: Any, context: Context) -> Model:
        model = train(self, rows, valid, config, Context(**{**vars(context), "deadline": None}))
        assert context.out_of_time
        return model

    monkeypatch.setattr(kind, "train", slow)
    monkeypatch.setattr(kind, "stops_on_valid", True)
    late = Job(**{**vars(trial), "deadline": time.time() - 1.0})
    outcome = run_job(late, partial(source.epoch, trial), toy_workspace.folder)
    assert outcome.cut
    assert read_trial(toy_workspace, trial.name) is None


def test_a_training_that_would_not_fit_beside_another_waits_for_it(toy_workspace: Workspace) -> None:
    room = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000, "text": 1000})
    source, log = scheduler(toy_workspace, "lexical", "text", trials=1, members=0, memory=room)
    first = source.next()
    assert first is not None
    assert source.next() is None and not source.done
    assert source.next() is None
    assert [text for what, text in log.lines if what == "note"] == [
        "text: fewer trainings at once, for the memory that they take (--memory)"
    ]
    source.finished(first, JobOutcome({"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}, 1, 1.0, memory=100))
    second = source.next()
    assert second is not None and {first.architecture, second.architecture} == {"lexical", "text"}


def test_trainings_that_were_measured_to_be_small_run_side_by_side(toy_workspace: Workspace) -> None:
    room = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000})
    source, _ = scheduler(toy_workspace, "lexical", trials=3, members=0, memory=room)
    first = source.next()
    assert first is not None and source.next() is None
    source.finished(first, JobOutcome({"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}, 1, 1.0, memory=500))
    assert source.next() is not None and source.next() is not None


def test_what_fits_nowhere_is_left_out_and_said_so(toy_workspace: Workspace) -> None:
    room = MemoryBudget(DRIVER_BYTES + 1500, {"lexical": 1000, "text": 2000})
    source, log = scheduler(toy_workspace, "lexical", "text", trials=1, members=0, memory=room)
    first = source.next()
    assert first is not None and first.architecture == "lexical"
    source.finished(first, JobOutcome({"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}, 1, 1.0))
    assert source.next() is None and source.done
    (text,) = (text for what, text in log.lines if what == "note")
    assert text.startswith("text: a training is expected to take 2 KB of memory") and "--memory" in text
