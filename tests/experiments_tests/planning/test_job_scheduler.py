"""Job scheduler: from studies to members, a second sweep, failures, lost workers, interruptions, limits of time and memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import optuna
import pytest

from core.architectures import architecture
from core.data.catalog import Catalog
from core.data.folds import HOLDOUT
from core.errors import FailureCode
from core.metrics import smape
from core.protocols.architecture import Context, Model, make_config
from core.store.workspace import Workspace
from experiments.common.jobs import JobKind, StopReason
from experiments.common.memory import DRIVER_BYTES, MemoryBudget
from experiments.execution.job_worker import read_trial, run_job, scratch_folder
from experiments.planning.search_state import JobDefaults
from experiments.search.failures import IN_A_ROW
from tests.experiments_tests.planning.local_sweep import LocalSweep

MINUTES = 16.0


def test_trials_then_members_each_row_priced_by_a_model_that_never_saw_it(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "text", "lexical")
    kinds = [(job.architecture, job.kind) for job in sweep.trained()]
    assert kinds.count(("text", JobKind.TRIAL)) == kinds.count(("lexical", JobKind.TRIAL)) == 2
    # The best trial already is the member's fold 0.
    assert kinds.count(("text", JobKind.FIT)) == kinds.count(("lexical", JobKind.FIT)) == 2
    assert sweep.callback.member.call_count == 2
    for name in toy_workspace.store.complete():
        member = toy_workspace.store.read(name)
        assert np.isfinite(member.oof).all() and (member.oof > 0).all()
        assert len(member.test) == len(toy_workspace.test)
        assert member.record["metrics"]["smape"] == pytest.approx(smape(toy_workspace.train.known_prices, member.oof))
        assert member.record["folds"] == toy_workspace.facts.folds
    assert not list(toy_workspace.path("trials").rglob("*.tmp"))


def test_every_architecture_gets_its_best_member_before_any_gets_a_second_and_the_cheap_ones_first(
    toy_workspace: Workspace,
) -> None:
    sweep = LocalSweep(toy_workspace, "text", "lexical", members=2)
    members: list[str] = []  # architectures, in the order of their first fold
    while (job := sweep.scheduler.next()) is not None:
        if job.kind == JobKind.FIT and job.fold == HOLDOUT:
            members.append(job.architecture)
        sweep.finish(job, seconds={"text": 50.0, "lexical": 20.0}[job.architecture])
    assert members == ["lexical", "text", "lexical", "text"]


def test_a_second_sweep_trains_nothing_again(toy_workspace: Workspace) -> None:
    assert list(LocalSweep(toy_workspace, "lexical").trained())
    assert list(LocalSweep(toy_workspace, "lexical").trained()) == []
    fresh = LocalSweep(toy_workspace, "lexical", run="b")
    assert list(fresh.trained()) == []
    fresh.callback.member.assert_not_called()


@pytest.mark.parametrize("name", ["text", "lexical"])
def test_a_kept_trial_is_bit_for_bit_the_fold_that_would_have_been_trained(toy_workspace: Workspace, name: str) -> None:
    sweep = LocalSweep(toy_workspace, name, trials=1)
    next(sweep.trained())
    fit = sweep.start()
    assert fit.fold != HOLDOUT
    store = toy_workspace.store
    kept = store.read_fit(fit.name, HOLDOUT)
    shutil.rmtree(store.fold_folder(fit.name, HOLDOUT))
    sweep.run(replace(fit, fold=HOLDOUT))
    trained = store.read_fit(fit.name, HOLDOUT)
    np.testing.assert_array_equal(kept.valid, trained.valid)
    np.testing.assert_array_equal(kept.test, trained.test)


def test_only_a_trial_among_the_best_keeps_its_model(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "text", trials=2)
    first = sweep.start()
    assert first.keep_below is None
    outcome = sweep.run(first)
    sweep.scheduler.finished(first, outcome)
    second = sweep.start()
    assert second.keep_below == outcome.metrics["smape"]
    sweep.run(replace(second, keep_below=1e-9))
    assert len(list(toy_workspace.store.folder.iterdir())) == 1
    sweep.run(second)
    toy_workspace.store.discard_lone_fits(sweep.scheduler.likely_members(1))
    assert len(list(toy_workspace.store.folder.iterdir())) == 1


def test_a_training_that_is_stopped_from_outside_goes_on_from_its_state(toy_workspace: Workspace) -> None:
    """As on Ctrl-C: Ray ends the worker's thread with SystemExit inside a report."""
    sweep = LocalSweep(toy_workspace, "text", trials=1)
    job = sweep.start()

    def stop(epoch: int, metrics: Mapping[str, float]) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        run_job(job, stop, toy_workspace.folder)
    assert list(scratch_folder(toy_workspace, job).glob("state-*.json"))
    sweep.scheduler.interrupted(job)
    again = LocalSweep(toy_workspace, "text", trials=1)
    retried = again.start()
    assert (retried.name, retried.number) == (job.name, 1)
    again.run(retried)
    assert not scratch_folder(toy_workspace, job).exists()


def test_a_stopped_trial_leaves_nothing_to_go_on_from(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "text", trials=1)
    job = sweep.start()
    scratch = scratch_folder(toy_workspace, job)
    scratch.mkdir(parents=True)
    sweep.scheduler.pruned(job, 2, 90.0, StopReason(2, 48.0, 45.5, 3, 4))
    assert not scratch.exists()


def test_failures_in_a_row_end_a_search_without_any_result_and_are_noted(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=9)
    for _ in range(IN_A_ROW):
        sweep.scheduler.failed(sweep.start(), "out of memory")
    assert sweep.scheduler.next() is None and sweep.scheduler.done
    assert [call.args[1] for call in sweep.callback.failed.call_args_list] == ["out of memory"] * IN_A_ROW
    assert "3 in a row failed alike" in sweep.notes[-1]
    assert toy_workspace.store.complete() == []


def test_a_search_with_results_goes_on_after_failures(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=9)
    sweep.finish(sweep.start())
    for _ in range(IN_A_ROW):
        job = sweep.start()
        sweep.scheduler.failed(job, f"out of memory at {job.number}")
    assert len(sweep.notes) == 1
    assert sweep.start()


def test_a_limited_sweep_notes_after_its_first_training_how_much_it_can_afford(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=50, minutes=MINUTES)
    sweep.finish(sweep.start(), seconds=10.0)
    (text,) = sweep.notes
    assert text.startswith("lexical: one training takes 10.0 s, and the 95")
    assert text.endswith("s left are enough for 25 members of 3")


def test_a_first_trial_that_ran_into_its_own_limit_is_tried_again_while_there_is_time(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", minutes=MINUTES)
    job = sweep.start()
    assert job.deadline is not None
    sweep.scheduler.interrupted(replace(job, deadline=time.time() - 1.0))
    again = sweep.start()
    assert (again.name, again.number) == (job.name, 1)
    sweep.scheduler.interrupted(again)  # from outside: it had time
    assert sweep.scheduler.next() is None


def test_a_job_whose_worker_died_is_run_once_more_and_not_twice(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1, members=0)
    job = sweep.start()
    sweep.scheduler.epoch(job, 1, {"smape": 60.0})
    sweep.scheduler.lost(job, "its worker process died")
    assert not sweep.scheduler.done
    assert sweep.start() == job
    sweep.scheduler.epoch(job, 1, {"smape": 60.0})
    assert "once more" in sweep.notes[0]
    sweep.scheduler.lost(job, "its worker process died")
    sweep.callback.failed.assert_called_once_with(job, "its worker process died, twice", FailureCode.WORKER_LOST)
    storage = f"sqlite:///{toy_workspace.path('optuna.db')}"
    [lost] = optuna.load_study(study_name=sweep.scheduler.searches["lexical"].study.name, storage=storage).trials
    assert (lost.state.name, lost.user_attrs["error_code"]) == ("FAIL", "trial-worker-lost")


def test_a_lost_job_that_waits_to_be_run_once_more_is_not_left_running_at_the_end(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1, members=0)
    sweep.scheduler.lost(sweep.start(), "its worker process died")
    sweep.scheduler.close()
    assert sweep.scheduler.searches["lexical"].study.counts() == {"FAIL": 1}


def test_a_member_that_lost_a_fold_is_left_out_with_the_reason(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1)
    next(sweep.trained())
    fit = sweep.start()
    assert fit.kind == JobKind.FIT
    sweep.scheduler.failed(fit, "no space left on device")
    assert sweep.scheduler.done and toy_workspace.store.complete() == []
    assert sweep.scheduler.left_out() == [f"{fit.name}: fold {fit.fold} failed: no space left on device"]


def test_with_a_limit_a_member_that_lost_a_fold_is_no_part_of_the_stack_and_another_takes_its_place(
    toy_workspace: Workspace,
) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", members=None, minutes=MINUTES)
    next(sweep.trained())
    fit = sweep.start()
    assert fit.kind == JobKind.FIT
    sweep.scheduler.failed(fit, "no space left on device")
    second = next(sweep.trained())
    assert (second.kind, second.number) == (JobKind.TRIAL, 1)
    other = sweep.start()
    assert other.kind == JobKind.FIT and other.name != fit.name


def test_every_job_keeps_the_caches_limit(toy_workspace: Workspace) -> None:
    for _ in LocalSweep(toy_workspace, "lexical", trials=1).trained(cache_limit=1):
        assert len(toy_workspace.cache().entries()) == 1
    assert len(toy_workspace.store.complete()) == 1


def given_to(name: str, defaults: JobDefaults, **settings: Any) -> dict[str, Any]:
    kind = architecture(name)
    return defaults.of(kind, make_config(kind.Config, settings).model_dump(mode="json"))


def test_only_what_computes_on_a_gpu_gets_one() -> None:
    defaults = JobDefaults(seed=0, threads=1, device="cuda")
    given = {name: given_to(name, defaults)["device"] for name in ("text", "multimodal", "lexical", "boosted")}
    assert given == {"text": "cuda", "multimodal": "cuda", "lexical": "cpu", "boosted": "cpu"}
    assert [given_to(name, defaults, frozen_encoder="e5")["device"] for name in ("lexical", "boosted")] == ["cuda"] * 2
    assert given_to("lexical", defaults, frozen_encoder="e5", model="ridge")["device"] == "cpu"


def test_only_architectures_that_several_workers_can_train_get_them() -> None:
    defaults = JobDefaults(seed=0, threads=1, device="cpu", workers=2)
    given = {name: given_to(name, defaults)["workers"] for name in ("text", "multimodal", "lexical", "boosted")}
    assert given == {"text": 2, "multimodal": 2, "lexical": 1, "boosted": 1}


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


def test_a_training_far_slower_than_planned_is_planned_with_from_then_on(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", trials=1, minutes=16.0)
    trial = sweep.start()
    sweep.scheduler.finished(trial, replace(sweep.run(trial), seconds=1.0))
    first = sweep.start()
    assert sweep.notes[1:] == []  # as expected so far
    # The median of 1 and 900 seconds would let the last fold begin, for which there is no time.
    sweep.scheduler.finished(first, replace(sweep.run(first), seconds=900.0))
    assert sweep.notes[1] == "lexical: a training took 900.0 s, not 1.0: planned again with that"
    assert sweep.scheduler.searches["lexical"].seconds == 900.0
    assert sweep.scheduler.next() is None and sweep.scheduler.done


def test_candidates_of_an_architecture_that_became_slow_cost_more(toy_workspace: Workspace) -> None:
    sweep = LocalSweep(toy_workspace, "lexical", "boosted", trials=2, minutes=16.0)
    allocator = sweep.scheduler.allocator
    assert allocator is not None
    first, second = (sweep.start() for _ in range(2))
    sweep.scheduler.finished(first, replace(sweep.run(first), seconds=1.0))
    work = {each.plan.architecture: each.seconds for each in allocator._candidates.values()}
    assert work == {first.architecture: 1.0}
    allocator.slow_down(first.architecture, 3.0)
    allocator.slow_down(second.architecture, 9.0)
    assert [each.seconds for each in allocator._candidates.values()] == [3.0]
