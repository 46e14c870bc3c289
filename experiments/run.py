"""Sweep from start to end: prepare the workspace, plan, train, sum up."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

from core.cache import Cache
from core.console import results_to_stderr, say, silenced, warn
from core.data.column_selection import UnmappedColumns
from core.errors import UserError
from core.hardware import Machine, busy_note, detect
from core.protocols.architecture import Architecture
from core.store.workspace import Workspace
from experiments.common.jobs import SweepStatus
from experiments.common.memory import MemoryBudget, available_memory
from experiments.execution.checkpoint_mirror import CheckpointCleanup, CheckpointMirror
from experiments.execution.job_worker import run_job
from experiments.execution.pruners import check_pruner
from experiments.execution.ray_pool import Resources, joined, nodes, session
from experiments.execution.ray_tuner import Work, run
from experiments.planning.budget import MOST_MEMBERS, Budget, SweepLimits, after_seconds
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.encoder_downloads import download_encoders
from experiments.planning.job_scheduler import JobScheduler
from experiments.planning.search_state import ArchitectureSearch, job_defaults, open_searches
from experiments.planning.setup import (
    SMALL_DATA_MEMBERS,
    ArchitecturePlan,
    Planner,
    cluster_resources,
    for_catalog,
    for_small_data,
    is_small_data,
    resources,
    together,
)
from experiments.prepare import fill_workspace, folds_of_preset
from experiments.remote.payload import Payload
from experiments.remote.remote_runner import RemoteRunner, start_driver_actor
from experiments.search.search_config import ALL
from experiments.search.storage import without_password
from experiments.search.study import check_sampler
from experiments.sweep_config import SweepConfig
from experiments.sweep_summary import show_next_steps, show_outcome, show_plan, storage_url
from experiments.tracking.history import write_history
from experiments.tracking.json_events import Events, say_end, say_start
from experiments.tracking.run_callbacks import watching
from experiments.tracking.sweep_record import Record, here, recorded
from reports.build import build_report


def sweep(config: SweepConfig, start: float | None = None) -> bool:
    """Runs the sweep; True if it came to its end, False if it was interrupted. Raises UserError for what the user can mend.

    start: `time.time()` value that `--minutes` and the sweep's duration count from; None: now.
    """
    start = time.time() if start is None else start
    if not config.tracking.json_events:
        return _sweep(config, start, None)
    results_to_stderr()
    events = Events()
    try:
        return _sweep(config, start, events)
    except UserError as error:
        events.write("error", error=error.what, details=str(error))
        raise


def _sweep(config: SweepConfig, start: float, events: Events | None) -> bool:
    check_sampler(config.search.sampler)
    check_pruner(config.search.pruner)
    kinds, asked = config.search.kinds(), config.resources
    if asked.storage_path is not None:
        CheckpointMirror(asked.storage_path).check()
    workspace = Workspace(config.workspace)
    workspace.check_writable()
    if asked.address is None:
        machine = detect()
        return _Sweep(config, workspace, machine, resources(asked, kinds, machine), start, events).run(kinds)
    with joined(asked.address):
        there = nodes()
        share = cluster_resources(asked, kinds, there)
        return _Sweep(config, workspace, together(there), share, start, events).run(kinds)


@dataclass(frozen=True)
class _Sweep:
    """A sweep on one machine, or on a cluster that was joined."""

    config: SweepConfig
    workspace: Workspace
    machine: Machine
    share: Resources
    start: float
    events: Events | None

    def run(self, kinds: list[Architecture]) -> bool:
        """Plans under the workspace's lock, and trains unless it is a dry run; False if it was interrupted."""
        with self.workspace.lock():
            with silenced() if self.config.tracking.quiet else nullcontext():
                asked = folds_of_preset(self.workspace, self.config)
                try:
                    fill_workspace(self.workspace, asked, self.config.search.seed, say)
                except UnmappedColumns as unmapped:
                    if not self.config.dry_run:
                        raise
                    warn(unmapped.what)
                    say(unmapped.line)
                    return True
                sweep = replace(self, start=self.start + self._download(kinds))
                plans, limits = sweep._plan(kinds)
                if self.config.dry_run:
                    say("dry run: nothing was trained")
                    return True
                for each in () if self._on_cluster else plans:  # each node of a cluster fills its own cache
                    catalogs = {"train": self.workspace.train, "test": self.workspace.test}
                    for note in each.prepare(catalogs, self._cache, self.config.catalog.drop_bad):
                        say(f"{each.name}: {note}")
            scheduler, finished = sweep._train(plans, limits)
            sweep._sum_up(scheduler, finished)
            return finished

    def _download(self, kinds: list[Architecture]) -> float:
        """Seconds of downloads, which do not count; `all` leaves out what reads images where there are none."""
        config = self.config
        everything = ALL in config.search.architectures and self.workspace.facts.images is None
        able = [kind for kind in kinds if not (everything and kind.reads_images)]
        return download_encoders(able, config.search, self.machine, config.budget.minutes)

    @cached_property
    def _cache(self) -> Cache:
        return self.workspace.cache(self.config.resources.cache_limit)

    @property
    def _on_cluster(self) -> bool:
        return self.config.resources.address is not None

    def _plan(self, kinds: list[Architecture]) -> tuple[list[ArchitecturePlan], SweepLimits]:
        """The architectures' plans and the limits of time and memory, printed."""
        config, workspace = self.config, self.workspace
        planner = Planner(config.search, config.budget, workspace, self.machine)
        plans, notes = for_catalog(planner.plans(kinds), config.search, workspace)
        small = is_small_data(workspace, config.search, config.budget)
        if small:
            plans, more = for_small_data(plans, config.search)
            notes += more
        if not self._on_cluster and (busy := busy_note(os.getloadavg()[0], self.machine.cores, os.cpu_count() or 1)):
            notes += (busy,)
        for note in notes:
            say(note)
        limits = SweepLimits(self._budget(), self._memory(plans), SMALL_DATA_MEMBERS if small else None)
        show_plan(workspace, plans, config, self.share, self._cache, limits)
        return plans, limits

    def _budget(self) -> Budget:
        minutes = self.config.budget.minutes
        end = None if minutes is None else self.start + 60 * minutes
        return Budget(self.start, end, self.share.concurrent, after_seconds(len(self.workspace.train)))

    def _memory(self, plans: list[ArchitecturePlan]) -> MemoryBudget:
        """Nodes of a cluster look after their own memory."""
        limit = None if self._on_cluster else self.config.resources.memory or available_memory()
        return MemoryBudget(limit, {each.name: each.memory for each in plans})

    def _train(self, plans: list[ArchitecturePlan], limits: SweepLimits) -> tuple[JobScheduler, bool]:
        """All trials and members; the scheduler as it ended, and False if it was interrupted."""
        asked, workspace, share, tracking = self.config.search, self.workspace, self.share, self.config.tracking
        members = MemberBuilder(workspace, asked.seed, {each.name: each.resolution.notes for each in plans})
        with open_searches(plans, asked, members, storage_url(workspace, asked.storage)) as (searches, storage):
            record = self._record(searches, limits.budget)
            if self.events is not None:
                say_start(self.events, workspace, record)
            with (
                recorded(workspace.folder, record) as states,
                watching(tracking, asked.seed, workspace, searches, storage, limits.budget, self.events) as callbacks,
                # Last: a new run log takes seconds, as Ray does.
                nullcontext() if self._on_cluster else session(share),
            ):
                work, endings = self._work(plans)
                defaults = job_defaults(asked.seed, share, self.machine)
                scheduler = JobScheduler(searches, members, limits, defaults, [*callbacks, endings])
                finished = run(scheduler, work, workspace.path("ray"), share, asked.pruner, _seconds(limits.budget))
                scheduler.close()
                endings.settle()
                write_history(workspace, storage, {each.name: each.study for each in searches})
                states.append(SweepStatus.FINISHED if finished else SweepStatus.INTERRUPTED)
            return scheduler, finished

    def _record(self, searches: Sequence[ArchitectureSearch], budget: Budget) -> Record:
        """Contents of `sweep.json`, which `experiments.status` reads. Holds no password."""
        config = self.config
        return Record(
            **here(),
            start=budget.start,
            end=budget.end,
            folds=self.workspace.folds.k,
            storage=without_password(config.search.storage or ""),
            tracking=without_password(config.tracking.uri or ""),
            studies={each.name: each.study.name for each in searches},
            trials={each.name: each.trials for each in searches},
            members=config.budget.wanted_members,
            command=shlex.join(["python", "-m", "experiments.sweep", *map(without_password, sys.argv[1:])]),
            options={
                "minutes": config.budget.minutes, "sampler": config.search.sampler_name, "pruner": config.search.pruner,
                "seed": config.search.seed, "set": list(config.search.settings), "preset": config.search.preset,
                "address": config.resources.address,
            },
        )  # fmt: skip

    def _work(self, plans: list[ArchitecturePlan]) -> tuple[Work, CheckpointCleanup]:
        """The function that workers run, and the callback that clears away after trainings that will not go on."""
        asked = self.config.resources
        stores = [] if asked.storage_path is None else [CheckpointMirror(asked.storage_path).remove]
        folder = self.workspace.folder.resolve()
        if not self._on_cluster:
            local = partial(run_job, folder=folder, cache_limit=self._cache.limit, storage_path=asked.storage_path)
            return local, CheckpointCleanup(stores)
        images = any(each.kind.reads_images for each in plans)
        encoders = {name: path for each in plans for name, path in each.encoder_folders().items()}
        driver = start_driver_actor(Payload(self.workspace, images=images, encoders=encoders), folder)
        preparations = {each.name: each.settings(each.space.best) for each in plans}
        away = RemoteRunner(driver, preparations, self.config.catalog.drop_bad, asked.cache_limit, asked.storage_path)
        return away, CheckpointCleanup([away.end, *stores])

    def _sum_up(self, scheduler: JobScheduler, finished: bool) -> None:
        workspace, config = self.workspace, self.config
        show_outcome(workspace, scheduler)
        if self.events is not None:
            say_end(self.events, SweepStatus.FINISHED if finished else SweepStatus.INTERRUPTED, workspace, scheduler)
        if finished:
            workspace.store.discard_lone_fits(scheduler.likely_members(MOST_MEMBERS))
            page = build_report(workspace)
            show_next_steps(workspace, scheduler, config, page, time.time() - self.start)
        else:
            say(
                f"interrupted after {time.time() - self.start:.0f} s; finished trials and folds are kept: run the same command "
                f"to go on; python -m reports.build --workspace {workspace.folder} shows what there is"
            )


def _seconds(budget: Budget) -> float | None:
    return None if budget.deadline is None else max(1.0, budget.deadline - time.time())
