"""The story of a sweep: prepare, plan, run, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import sqlalchemy.exc
from optuna.storages import BaseStorage

from core.cache import Cache
from core.console import console, say
from core.errors import UserError
from core.machine import Machine, detect
from core.predictions import CORE_VERSION
from core.workspace import Workspace
from experiments import STARTED
from experiments.cluster import Resources, check_pruner, run, session
from experiments.jobs import Job
from experiments.live import View
from experiments.members import Members
from experiments.options import MOST_MEMBERS, Options, architectures_of
from experiments.plan import Budget, stack_seconds
from experiments.portfolio import Entry, JobDefaults, Portfolio
from experiments.prepare import fill_workspace
from experiments.search import Study, StudyError, check_sampler, open_storage, study_name
from experiments.setup import Candidate, candidates, resources
from experiments.summary import show_next_steps, show_outcome, show_plan, storage_url
from experiments.tracking import Diary, DiaryError, prepare_diary
from experiments.trial import read_trial, run_job
from reports.build import build_report


def sweep(options: Options) -> bool:
    """Runs the sweep; True if it came to its end, False if it was interrupted. Raises UserError for what the user can mend."""
    check_sampler(options.sampler)
    check_pruner(options.pruner)
    kinds = architectures_of(options)
    machine = detect()
    share = resources(options, kinds, machine)
    workspace = Workspace(options.workspace)
    workspace.check_writable()
    with workspace.lock():
        fill_workspace(workspace, options, say)
        found = candidates(kinds, options, workspace, machine)
        end = None if options.minutes is None else STARTED + 60 * options.minutes
        budget = Budget(STARTED, end, share.concurrent, stack_seconds(len(workspace.train)))
        cache = workspace.cache(options.cache_limit)
        show_plan(workspace, found, options, share, cache)
        if options.dry_run:
            say("dry run: nothing was trained")
            return True
        for each in found:
            catalogs = {"train": workspace.train, "test": workspace.test}
            for note in each.prepare(catalogs, cache, options.drop_bad):
                say(f"{each.name}: {note}")
        return _run(workspace, cache, found, options, machine, share, budget)


def _run(
    workspace: Workspace,
    cache: Cache,
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
                storage = open_storage(storage_url(workspace, options))
                entries = [_entry(each, options, workspace, members, storage) for each in found]
                prepared.result()
                facts = {"seed": options.seed, "catalog": workspace.facts.catalog}
                diary = Diary(workspace, facts, _link({entry.name: entry.study for entry in entries}))
                view = View(console, budget, {each.name: each.trials for each in found})
                portfolio = Portfolio(entries, members, budget, _defaults(options, share, machine), [view, diary])
                work = partial(run_job, folder=workspace.folder.resolve(), cache_limit=cache.limit)
                with view:
                    finished = run(portfolio, work, workspace.path("ray"), share, options.pruner, _seconds(budget))
                portfolio.settle()
    except (sqlalchemy.exc.OperationalError, StudyError, DiaryError) as error:
        raise UserError(
            f"the study or the diary could not be written: {_root_cause(error)}",
            cure="see that the disk of the workspace has room and can be written, then run the same command again",
        ) from error
    show_outcome(workspace, portfolio)
    if finished:
        workspace.store.discard_lone_fits(portfolio.likeliest(MOST_MEMBERS))
        page = build_report(workspace) if workspace.store.complete() else None
        show_next_steps(workspace, portfolio, options, page, time.time() - STARTED)
    else:
        say(
            f"interrupted after {time.time() - STARTED:.0f} s; finished trials and folds are kept: run the same command to go on"
        )
    return finished


def _root_cause(error: BaseException) -> str:
    """The first line of the error that began the chain: `database or disk is full`, not what was made of it."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return str(error).partition("\n")[0]


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
        "core": CORE_VERSION,
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
        options.wanted_members,
        candidate.longest,
        fit_seconds=study.seconds(),
    )


def _defaults(options: Options, share: Resources, machine: Machine) -> JobDefaults:
    device = machine.device if share.gpus or machine.device == "mps" else "cpu"
    return JobDefaults(options.seed, max(1, int(share.cpus)), device, share.workers)
