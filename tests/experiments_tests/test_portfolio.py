"""From studies to members without Ray: the portfolio's jobs are run here, one after the other, by the real worker code."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.architectures import architecture
from core.architectures.base import Architecture, Context, Model, make_config
from core.catalog import Catalog
from core.machine import Machine
from core.metrics import smape
from core.workspace import Workspace
from experiments.jobs import Job, Outcome
from experiments.members import Members
from experiments.plan import Budget
from experiments.portfolio import FAILURES_IN_A_ROW, Entry, JobDefaults, Portfolio
from experiments.search import Study, open_storage
from experiments.trial import read_trial, run_job
from search_spaces import load_space

MACHINE = Machine(cores=1, memory=2**33, device="cpu", gpus=0)
FIXED = {"text": {"text_encoder": "tiny", "epochs": 2}, "lexical": {}}


class Log:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def started(self, job: Job) -> None:
        self.lines.append(("started", job.label))

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self.lines.append(("epoch", job.label))

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.lines.append(("finished", job.label))

    def pruned(self, job: Job, epoch: int, smape: float) -> None:
        self.lines.append(("pruned", job.label))

    def failed(self, job: Job, error: str) -> None:
        self.lines.append(("failed", error))

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        self.lines.append(("member", name))

    def note(self, text: str) -> None:
        self.lines.append(("note", text))

    def count(self, what: str) -> int:
        return sum(line[0] == what for line in self.lines)


def portfolio(
    workspace: Workspace, *names: str, trials: int = 2, members: int = 1, end: float | None = None, run: str = "a"
) -> tuple[Portfolio, Log]:
    storage = open_storage(f"sqlite:///{workspace.path('optuna.db')}")
    factory = Members(workspace, 0, {})
    entries = [entry(workspace, architecture(name), factory, storage, trials, members, run) for name in names]
    log = Log()
    budget = Budget(time.time(), end, concurrent=1)
    return Portfolio(entries, factory, budget, JobDefaults(0, 1, "cpu"), [log]), log


def entry(
    workspace: Workspace, kind: Architecture, factory: Members, storage: Any, trials: int, members: int, run: str
) -> Entry:
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
    return Entry(kind, study, settings, 1.0, trials, members, 2)


def work_off(source: Portfolio, folder: Path) -> list[Job]:
    done = []
    while not source.done:
        job = source.next()
        if job is None:
            break
        done.append(job)
        source.finished(job, run_job(job, partial(source.epoch, job), folder))
    return done


def test_trials_then_members_each_row_priced_by_a_model_that_never_saw_it(toy_workspace: Workspace) -> None:
    source, log = portfolio(toy_workspace, "text", "lexical")
    jobs = work_off(source, toy_workspace.folder)
    kinds = [(job.architecture, job.kind) for job in jobs]
    assert kinds.count(("text", "trial")) == kinds.count(("lexical", "trial")) == 2
    assert kinds.count(("text", "fit")) == 3
    # A lexical trial never looks at its validation rows: it already is the member's fold 0.
    assert kinds.count(("lexical", "fit")) == 2
    assert log.count("member") == 2
    for name in toy_workspace.store.complete():
        member = toy_workspace.store.read(name)
        assert np.isfinite(member.oof).all() and (member.oof > 0).all()
        assert len(member.test) == len(toy_workspace.test)
        assert member.record["metrics"]["smape"] == pytest.approx(smape(toy_workspace.train.known_prices, member.oof))
        assert member.record["folds"] == toy_workspace.facts.folds
    assert not toy_workspace.path("trials").rglob("trial-0/*") or not list(toy_workspace.path("trials").rglob("*.tmp"))


def test_a_second_sweep_trains_nothing_again(toy_workspace: Workspace) -> None:
    work_off(portfolio(toy_workspace, "lexical")[0], toy_workspace.folder)
    same, _ = portfolio(toy_workspace, "lexical")
    assert work_off(same, toy_workspace.folder) == []
    fresh, log = portfolio(toy_workspace, "lexical", run="b")
    assert work_off(fresh, toy_workspace.folder) == []
    assert log.count("member") == 0


def test_failures_in_a_row_end_the_search_and_are_told(toy_workspace: Workspace) -> None:
    source, log = portfolio(toy_workspace, "lexical", trials=9)
    for _ in range(FAILURES_IN_A_ROW):
        job = source.next()
        assert job is not None
        source.failed(job, "out of memory")
    assert source.next() is None
    assert source.done
    assert log.lines.count(("failed", "out of memory")) == FAILURES_IN_A_ROW
    assert toy_workspace.store.complete() == []


def test_a_job_whose_worker_died_is_run_once_more_and_not_twice(toy_workspace: Workspace) -> None:
    source, log = portfolio(toy_workspace, "lexical", trials=1, members=0)
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
    assert source.entries["lexical"].study.counts() == {"FAIL": 1}


def test_what_waits_to_be_run_once_more_is_not_left_running_at_the_end(toy_workspace: Workspace) -> None:
    source, _ = portfolio(toy_workspace, "lexical", trials=1, members=0)
    job = source.next()
    assert job is not None
    source.lost(job, "its worker process died")
    source.settle()
    assert source.entries["lexical"].study.counts() == {"FAIL": 1, "WAITING": 1}


def test_a_member_that_lost_a_fold_is_left_out_and_said_so(toy_workspace: Workspace) -> None:
    source, _ = portfolio(toy_workspace, "lexical", trials=1)
    trial = source.next()
    assert trial is not None
    source.finished(trial, run_job(trial, partial(source.epoch, trial), toy_workspace.folder))
    fit = source.next()
    assert fit is not None and fit.kind == "fit"
    source.failed(fit, "no space left on device")
    assert source.done and toy_workspace.store.complete() == []
    assert source.left_out() == [f"{fit.name}: fold {fit.fold} failed: no space left on device"]


def test_every_job_keeps_the_caches_limit(toy_workspace: Workspace) -> None:
    source, _ = portfolio(toy_workspace, "lexical", trials=1)
    while (job := source.next()) is not None:
        source.finished(job, run_job(job, partial(source.epoch, job), toy_workspace.folder, cache_limit=1))
        assert len(toy_workspace.cache().entries()) == 1
    assert len(toy_workspace.store.complete()) == 1


def test_members_are_not_started_when_they_would_not_be_finished(toy_workspace: Workspace) -> None:
    source, _ = portfolio(toy_workspace, "lexical", trials=1, end=time.time() + 1000.0)
    trial = source.next()
    assert trial is not None
    outcome = run_job(trial, partial(source.epoch, trial), toy_workspace.folder)
    source.finished(trial, Outcome(outcome.metrics, outcome.best_epoch, seconds=5000.0))
    assert source.next() is None
    assert source.done
    assert source.left_out() == ["lexical: no time was left to cross-validate its best config"]


def test_a_trial_cut_by_its_deadline_is_used_but_not_remembered_as_finished(
    toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = portfolio(toy_workspace, "lexical", trials=1)
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
