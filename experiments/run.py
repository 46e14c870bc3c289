"""The story of a sweep: prepare, plan, run, sum up."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial

from core.cache import Cache
from core.console import hushed, results_to_stderr, say
from core.errors import UserError
from core.hardware import Machine, detect
from core.protocols.architecture import Architecture
from core.store.workspace import Workspace
from experiments import STARTED
from experiments.common.memory import MemoryBudget, available_memory
from experiments.common.options import MOST_MEMBERS, Options, architectures_of
from experiments.execution.checkpoint_mirror import Depot, Endings
from experiments.execution.job_worker import run_job
from experiments.execution.ray_pool import Resources, joined, nodes, session
from experiments.execution.ray_tuner import Work, check_pruner, run
from experiments.planning.budget import Budget, SweepLimits, after_seconds
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.job_scheduler import JobScheduler
from experiments.planning.search_state import job_defaults, open_search, study_names
from experiments.planning.setup import (
    FEW_MEMBERS,
    ArchitecturePlan,
    are_few,
    candidates,
    cluster_resources,
    for_catalog,
    for_few,
    resources,
    together,
)
from experiments.prepare import fill_workspace
from experiments.remote.payload import Parcel
from experiments.remote.remote_runner import Away, at_home
from experiments.search.lease import SETTLE, lease
from experiments.search.storage import StorageError, cause, open_storage
from experiments.search.study import check_sampler
from experiments.sweep_summary import show_next_steps, show_outcome, show_plan, storage_url
from experiments.tracking.history import write_history
from experiments.tracking.json_events import Events, record_of, say_end, say_start
from experiments.tracking.run_callbacks import watching
from experiments.tracking.sweep_record import FINISHED, INTERRUPTED, recorded
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
    if options.storage_path is not None:
        Depot(options.storage_path).check()
    workspace = Workspace(options.workspace)
    workspace.check_writable()
    if options.address is None:
        machine = detect()
        return _on(machine, resources(options, kinds, machine), kinds, workspace, options, events)
    with joined(options.address):
        there = nodes()
        return _on(together(there), cluster_resources(options, kinds, there), kinds, workspace, options, events)


def _on(
    machine: Machine,
    share: Resources,
    kinds: list[Architecture],
    workspace: Workspace,
    options: Options,
    events: Events | None,
) -> bool:
    """The sweep on one machine, or on a cluster that was joined."""
    with workspace.lock():
        with hushed() if options.quiet else nullcontext():
            fill_workspace(workspace, options, say)
            found, notes = for_catalog(candidates(kinds, options, workspace, machine), options, workspace)
            cache = workspace.cache(options.cache_limit)
            few = are_few(workspace, options)
            if few:
                found, more = for_few(found, options)
                notes += more
            for note in notes:
                say(note)
            limits = SweepLimits(
                _budget(options, share, workspace), _room(options, found), FEW_MEMBERS if few else None
            )
            show_plan(workspace, found, options, share, cache, limits)
            if options.dry_run:
                say("dry run: nothing was trained")
                return True
            for each in found if options.address is None else ():  # each node of a cluster fills its own cache
                catalogs = {"train": workspace.train, "test": workspace.test}
                for note in each.prepare(catalogs, cache, options.drop_bad):
                    say(f"{each.name}: {note}")
        return _run(workspace, cache, found, options, machine, share, limits, events)


def _run(
    workspace: Workspace,
    cache: Cache,
    found: list[ArchitecturePlan],
    options: Options,
    machine: Machine,
    share: Resources,
    limits: SweepLimits,
    events: Events | None,
) -> bool:
    budget = limits.budget
    members = MemberBuilder(workspace, options.seed, {each.name: each.resolution.notes for each in found})
    try:
        storage = open_storage(storage_url(workspace, options))
        names = study_names(found, options, workspace, storage)
        # Nobody else comes to the workspace's own storage: the workspace is locked.
        with lease(storage, list(names.values()), settle=0.0 if options.storage is None else SETTLE) as held:
            searches = [
                open_search(each, names[each.name], options, workspace, members, storage, held) for each in found
            ]
            record = record_of(workspace, options, searches, budget)
            if events is not None:
                say_start(events, workspace, record)
            with (
                recorded(workspace.folder, record) as states,
                watching(options, workspace, searches, storage, budget, events) as listeners,
                session(share)
                if options.address is None
                else nullcontext(),  # last: a new diary takes seconds, as Ray does
            ):
                work, endings = _work(workspace, cache, found, options)
                defaults = job_defaults(options, share, machine)
                scheduler = JobScheduler(searches, members, limits, defaults, [*listeners, endings])
                finished = run(scheduler, work, workspace.path("ray"), share, options.pruner, _seconds(budget))
                scheduler.settle()
                endings.settle()
                write_history(workspace, storage, {each.name: each.study for each in searches})
                states.append(FINISHED if finished else INTERRUPTED)
    except StorageError as error:
        raise UserError(
            f"the study could not be written: {cause(error)}",
            hint="see that the disk has room and that the database can be reached, then run the same command again",
        ) from error
    show_outcome(workspace, scheduler)
    if events is not None:
        say_end(events, states[-1], workspace, scheduler)
    if finished:
        workspace.store.discard_lone_fits(scheduler.likeliest(MOST_MEMBERS))
        show_next_steps(workspace, scheduler, options, build_report(workspace), time.time() - STARTED)
    else:
        say(
            f"interrupted after {time.time() - STARTED:.0f} s; finished trials and folds are kept: run the same command to go "
            f"on; python -m reports.build --workspace {workspace.folder} shows what there is"
        )
    return finished


def _work(workspace: Workspace, cache: Cache, found: list[ArchitecturePlan], options: Options) -> tuple[Work, Endings]:
    """What workers do, and who hears of trainings that will not go on: here in the workspace itself, on a cluster far from it."""
    stores = [] if options.storage_path is None else [Depot(options.storage_path).remove]
    folder = workspace.folder.resolve()
    if options.address is None:
        local = partial(run_job, folder=folder, cache_limit=cache.limit, storage_path=options.storage_path)
        return local, Endings(stores)
    pictures = any(each.kind.reads_pictures for each in found)
    parcel = Parcel(workspace, pictures=pictures, encoders={name for each in found for name in each.encoder_folders()})
    preparations = {each.name: each.settings(each.space.best) for each in found}
    home = at_home(parcel, folder)
    away = Away(home, preparations, options.drop_bad, options.cache_limit, options.storage_path)
    return away, Endings([away.end, *stores])


def _budget(options: Options, share: Resources, workspace: Workspace) -> Budget:
    end = None if options.minutes is None else STARTED + 60 * options.minutes
    return Budget(STARTED, end, share.concurrent, after_seconds(len(workspace.train)))


def _room(options: Options, found: list[ArchitecturePlan]) -> MemoryBudget:
    """Nodes of a cluster look after their own memory."""
    limit = None if options.address is not None else options.memory or available_memory()
    return MemoryBudget(limit, {each.name: each.memory for each in found})


def _seconds(budget: Budget) -> float | None:
    return None if budget.deadline is None else max(1.0, budget.deadline - time.time())
