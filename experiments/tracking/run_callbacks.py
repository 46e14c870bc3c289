"""Callbacks of a sweep, put together, with the MLflow run log brought up to the studies at start and end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from core.atomic_files import digest
from core.console import console
from core.store.workspace import Workspace
from experiments.common.jobs import RunCallback
from experiments.planning.budget import Budget
from experiments.planning.search_state import ArchitectureSearch
from experiments.tracking.dashboard_notes import DashboardNotes
from experiments.tracking.json_events import Events
from experiments.tracking.live_view import LiveView, WarningsOnly
from experiments.tracking.mlflow_log import FLUSH_SECONDS, RunLog
from experiments.tracking.run_record import RunRecord, StudyRuns
from experiments.tracking.tracking_config import TrackingConfig

RUN_LOG_MARK = "diary"
"""User attribute of a study: the run log that has all of it. Empty while a sweep runs, and after one that was killed."""


@contextmanager
def watching(
    config: TrackingConfig,
    seed: int,
    workspace: Workspace,
    entries: Sequence[ArchitectureSearch],
    storage: BaseStorage,
    budget: Budget,
    events: Events | None,
) -> Iterator[list[RunCallback]]:
    """Callbacks of a sweep. Leaving the block completes the run log from the studies, and waits for it within bounds."""
    studies = {each.name: optuna.load_study(study_name=each.study.name, storage=storage) for each in entries}
    for study in studies.values():
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            study.set_metric_names(["SMAPE"])  # what the dashboard writes at its axes, instead of "Objective 0"
    notes = DashboardNotes(studies, storage)
    facts = {"seed": seed, "catalog": workspace.facts.catalog}
    runs = {name: StudyRuns(study.study_name, name, facts) for name, study in studies.items()}
    run_log = RunLog(workspace, runs, facts, notes.linked, config.uri, lambda: _patience(budget))
    mark = digest(config.uri or "workspace")[:12]
    there = config.uri is not None or workspace.path("mlflow.db").exists()
    callbacks: list[RunCallback] = [run_log, notes]
    with ExitStack() as stack:
        stack.enter_context(notes)
        stack.enter_context(run_log)
        for entry in entries:
            known = studies[entry.name].user_attrs.get(RUN_LOG_MARK) == mark and there
            studies[entry.name].set_user_attr(RUN_LOG_MARK, "")
            _catch_up(run_log, runs[entry.name], entry, studies[entry.name], known)
        run_log.catch_up_members()
        if config.quiet:
            callbacks.append(WarningsOnly())
        else:
            plan = {each.name: each.trials for each in entries}
            callbacks.append(stack.enter_context(LiveView(console, budget, plan)))
        if events is not None:
            callbacks.append(events)
        yield callbacks
        for entry in entries:
            _catch_up(run_log, runs[entry.name], entry, studies[entry.name], known=False)
    if run_log.complete:
        for study in studies.values():
            study.set_user_attr(RUN_LOG_MARK, mark)


def _catch_up(run_log: RunLog, runs: StudyRuns, entry: ArchitectureSearch, study: optuna.Study, known: bool) -> None:
    """Compares a study with the run log. known: they agreed when the last sweep ended."""

    def make(trial: FrozenTrial) -> RunRecord:
        return runs.whole(trial, entry.make_settings(trial.params), entry.study.differences(trial.params))

    run_log.catch_up(runs, study.get_trials(deepcopy=False), make, known)


def _patience(budget: Budget) -> float:
    """A time budget is kept: what the run log lacks then is written by the next sweep."""
    return FLUSH_SECONDS if budget.end is None else min(FLUSH_SECONDS, max(2.0, budget.end - time.time()))
