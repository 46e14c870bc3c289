"""The story of a sweep: prepare, plan, run, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import sqlalchemy.exc
from optuna.storages import BaseStorage
from rich.table import Table

from core.console import console, say
from core.errors import UserError
from core.machine import Machine, detect
from core.workspace import Workspace
from experiments import STARTED
from experiments.cluster import Resources, check_pruner, run, session
from experiments.jobs import Job
from experiments.live import View, metrics_text
from experiments.members import Members
from experiments.options import Options, architectures_of
from experiments.plan import Budget
from experiments.portfolio import Entry, JobDefaults, Portfolio
from experiments.prepare import open_workspace
from experiments.search import Study, check_sampler, open_storage, study_name
from experiments.setup import Candidate, candidates, resources
from experiments.tracking import Diary, DiaryError, prepare_diary, tracking_uri
from experiments.trial import read_trial, run_job


def sweep(options: Options) -> bool:
    """Runs the sweep; True if it came to its end, False if it was interrupted. Raises UserError for what the user can mend."""
    check_sampler(options.sampler)
    check_pruner(options.pruner)
    kinds = architectures_of(options)
    machine = detect()
    share = resources(options, machine)
    workspace = open_workspace(options, say)
    found = candidates(kinds, options, workspace, machine)
    budget = Budget(STARTED, None if options.minutes is None else STARTED + 60 * options.minutes, share.concurrent)
    _show_plan(workspace, found, options, share, budget)
    if options.dry_run:
        say("dry run: nothing was trained")
        return True
    with workspace.lock():
        return _run(workspace, found, options, machine, share, budget)


def _run(
    workspace: Workspace,
    found: list[Candidate],
    options: Options,
    machine: Machine,
    share: Resources,
    budget: Budget,
) -> bool:
    members = Members(workspace, options.seed, {each.name: each.resolution.notes for each in found})
    try:
        with ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(prepare_diary, workspace)  # a new MLflow database takes seconds, as does Ray
            with session(share):
                storage = open_storage(options.storage or f"sqlite:///{workspace.path('optuna.db')}")
                entries = [_entry(each, options, workspace, members, storage) for each in found]
                prepared.result()
                facts = {"seed": options.seed, "catalog": workspace.facts.catalog}
                diary = Diary(workspace, facts, _link({entry.name: entry.study for entry in entries}))
                view = View(console, budget, {each.name: each.trials for each in found})
                portfolio = Portfolio(entries, members, budget, _defaults(options, share, machine), [view, diary])
                work = partial(run_job, folder=workspace.folder.resolve())
                with view:
                    finished = run(portfolio, work, workspace.path("ray"), share, options.pruner, _seconds(budget))
    except (sqlalchemy.exc.OperationalError, DiaryError) as error:
        raise UserError(
            f"the study or the diary could not be written: {str(error).splitlines()[0]}",
            cure="see that the disk of the workspace has room and can be written, then run the same command again",
        ) from error
    return _sum_up(workspace, portfolio, finished)


def _seconds(budget: Budget) -> float | None:
    return None if budget.deadline is None else max(1.0, budget.deadline - time.time())


def _link(studies: Mapping[str, Study]) -> Callable[[Job, str], None]:
    """Has each trial of a study name its MLflow run."""
    return lambda job, run_id: studies[job.architecture].note(job.name, "mlflow_run", run_id)


def _entry(
    candidate: Candidate, options: Options, workspace: Workspace, members: Members, storage: BaseStorage
) -> Entry:
    facts = workspace.facts
    identity = {
        "catalog": facts.catalog,
        "folds": facts.folds,
        "seed": options.seed,
        "settings": candidate.resolution.settings,
        "space": {name: list(values) for name, values in candidate.space.values.items()},
    }
    study = Study(
        study_name(candidate.name, identity, storage, options.fresh),
        candidate.space,
        storage,
        identify=lambda searched: members.key(candidate.kind, candidate.settings(searched)).id,
        known=partial(read_trial, workspace),
        sampler="grid" if options.grid else options.sampler,
        seed=options.seed,
        attributes={"workspace": str(workspace.folder), "notes": list(candidate.resolution.notes)},
    )
    return Entry(
        candidate.kind,
        study,
        candidate.settings,
        candidate.estimate,
        candidate.trials,
        options.members,
        candidate.epochs,
    )


def _defaults(options: Options, share: Resources, machine: Machine) -> JobDefaults:
    device = machine.device if share.gpus or machine.device == "mps" else "cpu"
    return JobDefaults(options.seed, max(1, int(share.cpus)), device)


def _show_plan(
    workspace: Workspace, found: list[Candidate], options: Options, share: Resources, budget: Budget
) -> None:
    facts, train = workspace.facts, workspace.train
    prices = train.known_prices
    say(
        f"catalog: {len(train):,} training rows, {len(workspace.test):,} test rows, prices {prices.min():g} to "
        f"{prices.max():g}; {facts.k} folds ({facts.fold_mode}); {'pictures' if facts.images else 'no pictures'}"
    )
    say(
        f"same product in train: {facts.overlap['test']:.0%} of test rows, {facts.overlap['random']:.0%} of a random "
        f"fold's rows, {facts.overlap['folds']:.0%} of these folds' rows"
    )
    for each in found:
        for note in each.resolution.notes:
            say(f"{each.name}: {note}")
    table = Table(box=None, pad_edge=False)
    for column in ("architecture", "space", "points", "trials", "members", "estimate"):
        table.add_column(column, justify="left" if column in ("architecture", "space") else "right")
    total = 0.0
    for each in found:
        trials = each.trials if each.trials is not None else 1
        seconds = each.estimate * (trials + options.members * facts.k) / share.concurrent
        total += seconds
        wanted = str(each.trials) if each.trials is not None else "as time allows"
        table.add_row(
            each.name, each.space.source, f"{each.space.points:,}", wanted, str(options.members), _time(seconds)
        )
    console.print(table)
    limit = f"; --minutes {options.minutes:g} is the limit" if budget.end is not None else ""
    say(f"{share.concurrent} at once, {share.cpus:g} cores and {share.gpus:g} GPUs each; about {_time(total)}{limit}")


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _sum_up(workspace: Workspace, portfolio: Portfolio, finished: bool) -> bool:
    for line in portfolio.skipped:
        say(f"left out: {line}", style="yellow")
    table = Table(box=None, pad_edge=False)
    for column in ("architecture", "trials", "best config", "SMAPE, holdout"):
        table.add_column(column, justify="left" if column in ("architecture", "best config") else "right")
    for entry in portfolio.entries.values():
        counts = " ".join(f"{state.lower()} {count}" for state, count in entry.study.counts().items())
        best = entry.study.ranking()[:1]
        config = " ".join(f"{key}={value}" for each in best for key, value in each.searched.items())
        table.add_row(entry.name, counts or "none", config, "".join(f"{each.smape:.2f}" for each in best))
    console.print(table)
    for name in workspace.store.complete():
        record = workspace.store.read(name).record
        say(f"member {name}  {metrics_text(record['metrics'])}")
    errors: dict[str, Any] = {entry.name: entry.errors for entry in portfolio.entries.values() if entry.errors}
    for name, texts in errors.items():
        for text, count in texts.most_common(3):
            say(f"{name}: {count}x {text.strip()}", style="red")
    elapsed = time.time() - STARTED
    at = f"--workspace {workspace.folder}"
    if not finished:
        say(f"interrupted after {elapsed:.0f} s; finished trials and folds are kept: run the same command to go on")
        return False
    if not workspace.store.complete():
        raise UserError(
            f"no member came out of this sweep ({elapsed:.0f} s)",
            cure="mend the errors above, or give more time with --minutes"
            if errors
            else "give more time with --minutes",
        )
    say(f"{elapsed:.0f} s. Next: python -m ensemble.stack {at}")
    say(f"look: optuna-dashboard sqlite:///{workspace.path('optuna.db')}")
    say(f"      mlflow ui --backend-store-uri {tracking_uri(workspace)}")
    return True
