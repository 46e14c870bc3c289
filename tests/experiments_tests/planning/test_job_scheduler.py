"""From studies to members without Ray: the scheduler's jobs are run here, one after the other, by the real worker code."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.architectures import architecture
from core.data.folds import HOLDOUT
from core.hardware import Machine
from core.metrics import smape
from core.protocols.architecture import Architecture, make_config
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.common.memory import MemoryBudget
from experiments.execution.job_worker import read_trial, run_job, scratch_folder
from experiments.planning.budget import Budget, SweepLimits
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.job_scheduler import JobScheduler
from experiments.planning.search_state import ArchitectureSearch, JobDefaults
from experiments.search.failures import IN_A_ROW
from experiments.search.storage import open_storage
from experiments.search.study import Study
from search_spaces import load_space

MACHINE = Machine(cores=1, memory=2**33, device="cpu", gpus=0)
FIXED = {"text": {"text_encoder": "tiny", "epochs": 2}, "lexical": {}}


class Log:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def started(self, job: Job) -> None:
        self.lines.append(("started", job.label))

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self.lines.append(("epoch", job.label))

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        self.lines.append(("finished", job.label))

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        self.lines.append(("pruned", job.label))

    def failed(self, job: Job, error: str) -> None:
        self.lines.append(("failed", error))

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        self.lines.append(("member", name))

    def note(self, text: str) -> None:
        self.lines.append(("note", text))

    def count(self, what: str) -> int:
        return sum(line[0] == what for line in self.lines)


def scheduler(
    workspace: Workspace,
    *names: str,
    trials: int = 2,
    members: int | None = 1,
    end: float | None = None,
    run: str = "a",
    memory: MemoryBudget | None = None,
    few: int | None = None,
) -> tuple[JobScheduler, Log]:
    storage = open_storage(f"sqlite:///{workspace.path('optuna.db')}")
    factory = MemberBuilder(workspace, 0, {})
    searches = [search(workspace, architecture(name), factory, storage, trials, members, run) for name in names]
    log = Log()
    budget = Budget(time.time(), end, concurrent=1)
    room = memory or MemoryBudget(None, {})
    return JobScheduler(searches, factory, SweepLimits(budget, room, few), JobDefaults(0, 1, "cpu"), [log]), log


def search(
    workspace: Workspace,
    kind: Architecture,
    factory: MemberBuilder,
    storage: Any,
    trials: int,
    members: int | None,
    run: str,
) -> ArchitectureSearch:
    resolution = kind.resolve(FIXED[kind.name], MACHINE, None)
    space = load_space(resolution.space, kind.Config).without(FIXED[kind.name])

    def settings(searched: Mapping[str, Any]) -> dict[str, Any]:
        return make_config(kind.Config, {**resolution.settings, **searched}).model_dump(mode="json")

    study = Study(
        f"{kind.name}-{run}",
        space,
        storage,
        identify=lambda searched: factory.key(kind, settings(searched)).id,
        known=partial(read_trial, workspace),
    )
    return ArchitectureSearch(kind, study, settings, 1.0, trials, members, 2)


def work_off(source: JobScheduler, folder: Path) -> list[Job]:
    done = []
    while not source.done:
        job = source.next()
        if job is None:
            break
        done.append(job)
        source.finished(job, run_job(job, partial(source.epoch, job), folder))
    return done


def test_trials_then_members_each_row_priced_by_a_model_that_never_saw_it(toy_workspace: Workspace) -> None:
    source, log = scheduler(toy_workspace, "text", "lexical")
    jobs = work_off(source, toy_workspace.folder)
    kinds = [(job.architecture, job.kind) for job in jobs]
    assert kinds.count(("text", "trial")) == kinds.count(("lexical", "trial")) == 2
    # The best trial already is the member's fold 0.
    assert kinds.count(("text", "fit")) == kinds.count(("lexical", "fit")) == 2
    assert log.count("member") == 2
    for name in toy_workspace.store.complete():
        member = toy_workspace.store.read(name)
        assert np.isfinite(member.oof).all() and (member.oof > 0).all()
        assert len(member.test) == len(toy_workspace.test)
        assert member.record["metrics"]["smape"] == pytest.approx(smape(toy_workspace.train.known_prices, member.oof))
        assert member.record["folds"] == toy_workspace.facts.folds
    assert not list(toy_workspace.path("trials").rglob("*.tmp"))


def test_a_second_sweep_trains_nothing_again(toy_workspace: Workspace) -> None:
    work_off(scheduler(toy_workspace, "lexical")[0], toy_workspace.folder)
    same, _ = scheduler(toy_workspace, "lexical")
    assert work_off(same, toy_workspace.folder) == []
    fresh, log = scheduler(toy_workspace, "lexical", run="b")
    assert work_off(fresh, toy_workspace.folder) == []
    assert log.count("member") == 0


@pytest.mark.parametrize("name", ["text", "lexical"])
def test_a_kept_trial_is_bit_for_bit_the_fold_that_would_have_been_trained(toy_workspace: Workspace, name: str) -> None:
    source, _ = scheduler(toy_workspace, name, trials=1)
    trial = source.next()
    assert trial is not None
    source.finished(trial, run_job(trial, partial(source.epoch, trial), toy_workspace.folder))
    fit = source.next()
    assert fit is not None and fit.fold != HOLDOUT
    store = toy_workspace.store
    kept = store.read_fit(fit.name, HOLDOUT)
    shutil.rmtree(store.fold_folder(fit.name, HOLDOUT))
    again = Job(**{**vars(fit), "fold": HOLDOUT})
    run_job(again, partial(source.epoch, again), toy_workspace.folder)
    trained = store.read_fit(fit.name, HOLDOUT)
    np.testing.assert_array_equal(kept.valid, trained.valid)
    np.testing.assert_array_equal(kept.test, trained.test)


def test_only_a_trial_among_the_best_keeps_its_model(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "text", trials=2)
    first = source.next()
    assert first is not None and first.keep_below is None
    outcome = run_job(first, partial(source.epoch, first), toy_workspace.folder)
    source.finished(first, outcome)
    second = source.next()
    assert second is not None and second.keep_below == outcome.metrics["smape"]
    hopeless = Job(**{**vars(second), "keep_below": 1e-9})
    run_job(hopeless, partial(source.epoch, second), toy_workspace.folder)
    assert len(list(toy_workspace.store.folder.iterdir())) == 1
    run_job(second, partial(source.epoch, second), toy_workspace.folder)
    toy_workspace.store.discard_lone_fits(source.likely_members(1))
    assert len(list(toy_workspace.store.folder.iterdir())) == 1


def test_a_training_that_is_stopped_from_outside_goes_on_from_its_state(toy_workspace: Workspace) -> None:
    """As on Ctrl-C: Ray ends the worker's thread with SystemExit inside a report."""
    source, _ = scheduler(toy_workspace, "text", trials=1)
    job = source.next()
    assert job is not None

    def stop(epoch: int, metrics: Mapping[str, float]) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run_job(job, stop, toy_workspace.folder)
    assert list(scratch_folder(toy_workspace, job).glob("state-*.json"))
    source.interrupted(job)
    again, _ = scheduler(toy_workspace, "text", trials=1)
    retried = again.next()
    assert retried is not None and (retried.name, retried.number) == (job.name, 1)
    run_job(retried, partial(again.epoch, retried), toy_workspace.folder)
    assert not scratch_folder(toy_workspace, job).exists()


def test_a_stopped_trial_leaves_nothing_to_go_on_from(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "text", trials=1)
    job = source.next()
    assert job is not None
    scratch = scratch_folder(toy_workspace, job)
    scratch.mkdir(parents=True)
    source.pruned(job, 2, 90.0, StopReason(2, 48.0, 45.5, 3, 4))
    assert not scratch.exists()


def test_failures_in_a_row_end_a_search_without_any_result_and_are_told(toy_workspace: Workspace) -> None:
    source, log = scheduler(toy_workspace, "lexical", trials=9)
    for _ in range(IN_A_ROW):
        job = source.next()
        assert job is not None
        source.failed(job, "out of memory")
    assert source.next() is None
    assert source.done
    assert log.lines.count(("failed", "out of memory")) == IN_A_ROW
    assert log.lines[-1][0] == "note" and "3 in a row failed alike" in log.lines[-1][1]
    assert toy_workspace.store.complete() == []


def test_a_search_with_results_goes_on_after_failures(toy_workspace: Workspace) -> None:
    source, log = scheduler(toy_workspace, "lexical", trials=9)
    job = source.next()
    assert job is not None
    source.finished(job, JobOutcome({"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}, 1, 1.0))
    for _ in range(IN_A_ROW):
        job = source.next()
        assert job is not None
        source.failed(job, f"out of memory at {job.number}")
    assert log.count("note") == 1
    assert source.next() is not None


def test_a_limited_sweep_says_after_its_first_training_what_it_can_afford(toy_workspace: Workspace) -> None:
    source, log = scheduler(toy_workspace, "lexical", trials=50, end=time.time() + 1000.0)
    job = source.next()
    assert job is not None
    source.finished(job, JobOutcome({"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}, 1, 10.0))
    (text,) = (text for what, text in log.lines if what == "note")
    assert text.startswith("lexical: one training takes 10.0 s, and the 99")
    assert text.endswith("s left are enough for 26 members of 3")


def test_a_first_trial_that_ran_into_its_own_limit_is_tried_again_while_there_is_time(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=2, end=time.time() + 1000.0)
    job = source.next()
    assert job is not None and job.deadline is not None
    source.interrupted(replace(job, deadline=time.time() - 1.0))
    again = source.next()
    assert again is not None and (again.name, again.number) == (job.name, 1)
    source.interrupted(again)  # from outside: it had time
    assert source.next() is None


def test_a_job_whose_worker_died_is_run_once_more_and_not_twice(toy_workspace: Workspace) -> None:
    source, log = scheduler(toy_workspace, "lexical", trials=1, members=0)
    job = source.next()
    assert job is not None
    source.epoch(job, 1, {"smape": 60.0})
    source.lost(job, "its worker process died")
    assert not source.done
    assert source.next() == job
    source.epoch(job, 1, {"smape": 60.0})
    assert "once more" in log.lines[2][1]
    source.lost(job, "its worker process died")
    assert log.lines[-1] == ("failed", "its worker process died, twice")
    assert source.searches["lexical"].study.counts() == {"FAIL": 1}


def test_what_waits_to_be_run_once_more_is_not_left_running_at_the_end(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1, members=0)
    job = source.next()
    assert job is not None
    source.lost(job, "its worker process died")
    source.close()
    assert source.searches["lexical"].study.counts() == {"FAIL": 1}


def test_a_member_that_lost_a_fold_is_left_out_and_said_so(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1)
    trial = source.next()
    assert trial is not None
    source.finished(trial, run_job(trial, partial(source.epoch, trial), toy_workspace.folder))
    fit = source.next()
    assert fit is not None and fit.kind == "fit"
    source.failed(fit, "no space left on device")
    assert source.done and toy_workspace.store.complete() == []
    assert source.left_out() == [f"{fit.name}: fold {fit.fold} failed: no space left on device"]


def test_with_a_limit_a_member_that_lost_a_fold_is_no_part_of_the_stack_and_another_takes_its_place(
    toy_workspace: Workspace,
) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=2, members=None, end=time.time() + 1000.0)
    trial = source.next()
    assert trial is not None
    source.finished(trial, run_job(trial, partial(source.epoch, trial), toy_workspace.folder))
    fit = source.next()
    assert fit is not None and fit.kind == "fit"
    source.failed(fit, "no space left on device")
    second = source.next()
    assert second is not None and (second.kind, second.number) == ("trial", 1)
    source.finished(second, run_job(second, partial(source.epoch, second), toy_workspace.folder))
    other = source.next()
    assert other is not None and other.kind == "fit" and other.name != fit.name


def test_every_job_keeps_the_caches_limit(toy_workspace: Workspace) -> None:
    source, _ = scheduler(toy_workspace, "lexical", trials=1)
    while (job := source.next()) is not None:
        source.finished(job, run_job(job, partial(source.epoch, job), toy_workspace.folder, cache_limit=1))
        assert len(toy_workspace.cache().entries()) == 1
    assert len(toy_workspace.store.complete()) == 1


def test_only_what_can_be_trained_by_several_workers_gets_them() -> None:
    defaults = JobDefaults(seed=0, threads=1, device="cpu", workers=2)
    given = {name: defaults.of(architecture(name))["workers"] for name in ("text", "multimodal", "lexical", "boosted")}
    assert given == {"text": 2, "multimodal": 2, "lexical": 1, "boosted": 1}
