"""The story of a sweep: prepare, plan, run, sum up."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

from core.cache import Cache
from core.console import hushed, results_to_stderr, say
from core.errors import UserError
from core.machine import Machine, detect
from core.workspace import Workspace
from experiments import STARTED
from experiments.cluster import Resources, check_pruner, run, session
from experiments.entries import job_defaults, open_entry, study_names
from experiments.events import SCHEMA, Events
from experiments.lease import SETTLE, lease
from experiments.members import Members
from experiments.options import MOST_MEMBERS, Options, architectures_of
from experiments.plan import Budget, stack_seconds
from experiments.portfolio import Entry, Portfolio
from experiments.prepare import fill_workspace
from experiments.record import FINISHED, INTERRUPTED, Record, here, recorded
from experiments.search import check_sampler
from experiments.setup import Candidate, candidates, resources
from experiments.storage import StorageError, cause, open_storage, without_password
from experiments.summary import show_next_steps, show_outcome, show_plan, storage_url
from experiments.trial import run_job
from experiments.watching import watching
from reports.build import build_report


def sweep(options: Options) -> bool:
    """Runs the sweep; True if it came to its end, False if it was interrupted. Raises UserError for what the user can mend."""
    if not options.json:
        return _sweep(options, None)
    results_to_stderr()
    events = Events()
    try:
        return _sweep(options, events)
    except UserError as error:
        events.write("error", error=error.what, details=str(error))
        raise


def _sweep(options: Options, events: Events | None) -> bool:
    check_sampler(options.sampler)
    check_pruner(options.pruner)
    kinds = architectures_of(options)
    machine = detect()
    share = resources(options, machine)
    workspace = Workspace(options.workspace)
    workspace.check_writable()
    with workspace.lock():
        with hushed() if options.quiet else nullcontext():
            fill_workspace(workspace, options, say)
            found = candidates(kinds, options, workspace, machine)
            cache = workspace.cache(options.cache_limit)
            show_plan(workspace, found, options, share, cache)
            if options.dry_run:
                say("dry run: nothing was trained")
                return True
            for each in found:
                catalogs = {"train": workspace.train, "test": workspace.test}
                for note in each.prepare(catalogs, cache, options.drop_bad):
                    say(f"{each.name}: {note}")
        return _run(workspace, cache, found, options, machine, share, events)


def _run(
    workspace: Workspace,
    cache: Cache,
    found: list[Candidate],
    options: Options,
    machine: Machine,
    share: Resources,
    events: Events | None,
) -> bool:
    end = None if options.minutes is None else STARTED + 60 * options.minutes
    budget = Budget(STARTED, end, share.concurrent, stack_seconds(len(workspace.train)))
    members = Members(workspace, options.seed, {each.name: each.resolution.notes for each in found})
    try:
        storage = open_storage(storage_url(workspace, options))
        names = study_names(found, options, workspace, storage)
        # Nobody else comes to the workspace's own storage: the workspace is locked.
        with lease(storage, list(names.values()), settle=0.0 if options.storage is None else SETTLE) as held:
            entries = [open_entry(each, names[each.name], options, workspace, members, storage, held) for each in found]
            record = _record(workspace, options, entries, budget)
            if events is not None:
                events.write("sweep_started", schema=SCHEMA, workspace=str(workspace.folder), **_shown(record))
            with (
                recorded(workspace.folder, record) as states,
                watching(options, workspace, entries, storage, budget, events) as listeners,
                session(share),  # last: a new diary takes seconds, as does Ray
            ):
                defaults = job_defaults(options, share.cpus, share.gpus, machine)
                portfolio = Portfolio(entries, members, budget, defaults, listeners)
                work = partial(run_job, folder=workspace.folder.resolve(), cache_limit=cache.limit)
                finished = run(portfolio, work, workspace.path("ray"), share, options.pruner, _seconds(budget))
                portfolio.settle()
                states.append(FINISHED if finished else INTERRUPTED)
    except StorageError as error:
        raise UserError(
            f"the study could not be written: {cause(error)}",
            cure="see that the disk has room and that the database can be reached, then run the same command again",
        ) from error
    show_outcome(workspace, portfolio)
    if events is not None:
        _say_end(events, states[-1], workspace, portfolio)
    if finished:
        workspace.store.discard_lone_fits(portfolio.likeliest(MOST_MEMBERS))
        page = build_report(workspace) if workspace.store.complete() else None
        show_next_steps(workspace, portfolio, options, page, time.time() - STARTED)
    else:
        say(
            f"interrupted after {time.time() - STARTED:.0f} s; finished trials and folds are kept: run the same command to go on"
        )
    return finished


def _record(workspace: Workspace, options: Options, entries: list[Entry], budget: Budget) -> Record:
    return Record(
        **here(),
        start=budget.start,
        end=budget.end,
        folds=workspace.folds.k,
        storage=without_password(options.storage or ""),
        tracking=without_password(options.tracking or ""),
        studies={entry.name: entry.study.name for entry in entries},
        trials={entry.name: entry.trials for entry in entries},
        members=options.wanted_members,
        command=shlex.join(["python", "-m", "experiments.sweep", *map(without_password, sys.argv[1:])]),
        options={
            "minutes": options.minutes, "sampler": "grid" if options.grid else options.sampler, "pruner": options.pruner,
            "seed": options.seed, "set": list(options.settings), "address": options.address,
        },
    )  # fmt: skip


def _shown(record: Record) -> dict[str, Any]:
    """Of the record, what the first event tells."""
    return {name: value for name, value in vars(record).items() if name not in ("state", "ended", "error")}


def _say_end(events: Events, state: str, workspace: Workspace, portfolio: Portfolio) -> None:
    best = {name: ranking[0].smape for name, entry in portfolio.entries.items() if (ranking := entry.study.ranking())}
    counts = {name: entry.study.counts() for name, entry in portfolio.entries.items()}
    seconds = round(time.time() - STARTED, 3)
    members = workspace.store.complete()
    events.write("sweep_ended", state=state, seconds=seconds, counts=counts, best=best, members=members)


def _seconds(budget: Budget) -> float | None:
    return None if budget.deadline is None else max(1.0, budget.deadline - time.time())
