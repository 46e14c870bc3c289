"""State of one architecture's search in a sweep: its study, wanted trials and members, measured costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from optuna.storages import BaseStorage

from core.errors import UserError
from core.hardware import Machine
from core.protocols.architecture import Architecture
from core.store.oof_store import CORE_VERSION
from core.store.workspace import Workspace
from experiments.execution.job_worker import read_trial
from experiments.execution.ray_pool import Resources
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.marginal_gain import NEW_KIND
from experiments.planning.setup import ArchitecturePlan, prior_of
from experiments.search.failures import Failures
from experiments.search.lease import SETTLE, Lease, lease
from experiments.search.search_config import SearchConfig
from experiments.search.storage import StorageError, cause, open_storage
from experiments.search.study import Study, StudySettings, study_name
from experiments.search.trial_selection import Finished, survivors
from reports.figures.study_records import PRESET, PRESET_CHANGES

SLOWDOWN = 1.5
"""A training that takes this multiple of what was expected makes the planner plan again with what it took."""
SLOWDOWN_SECONDS = 1.0
"""Shorter differences change no plan."""


@dataclass
class ArchitectureSearch:
    """Search of one architecture, with what its trainings have cost so far.

    make_settings: every setting of a trial from the searched ones. estimate: seconds of one training. longest: epochs of any
    config in the search. trials, members: wanted at most; None: as many as lower the stack's SMAPE in the time.
    prior: see `experiments.planning.marginal_gain`. measured: seconds of each finished training, newest last.
    spent: seconds of trials so far. promoted: configs that were queued as members. is_open: trials may follow.
    """

    kind: Architecture
    study: Study
    make_settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    estimate: float
    trials: int | None
    members: int | None
    longest: int
    prior: float = NEW_KIND
    measured: list[float] = field(default_factory=list)
    failures: Failures = field(init=False, default_factory=Failures)
    running: int = field(init=False, default=0)
    promoted: int = field(init=False, default=0)
    spent: float = field(init=False, default=0.0)
    is_open: bool = field(init=False, default=True)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def seconds(self) -> float:
        """Of one training: the median of those measured, else the estimate."""
        return median(self.measured) if self.measured else self.estimate

    def ranking(self) -> list[Finished]:
        """Trials that can become members, the best first."""
        return survivors(self.study.ranking())

    @property
    def tried(self) -> int:
        """Different configs that have a result or run."""
        return self.study.distinct + self.running

    @property
    def wants_more(self) -> bool:
        return self.is_open and (self.trials is None or self.tried < self.trials) and not self.study.exhausted

    def slowdown(self, seconds: float) -> float | None:
        """Ratio of a training's seconds to those expected, where the plan no longer holds; else None.

        What was measured before is forgotten then: machine or configs are not what they were.
        """
        ratio = seconds / self.seconds
        if ratio <= SLOWDOWN or seconds - self.seconds < SLOWDOWN_SECONDS:
            return None
        self.measured.clear()
        return ratio

    def succeed(self, searched: Mapping[str, Any] | None, seconds: float | None = None) -> None:
        """Records a training with a result. seconds: of one that ran to its end."""
        self.failures.end_row(searched)
        if seconds is not None:
            self.measured.append(seconds)

    def fail(self, error: str, searched: Mapping[str, Any] | None) -> None:
        """Records a failed training; the search ends where the next would most likely fail as well."""
        self.failures.add(error, searched)
        if self.failures.hopeless:
            self.is_open = False


def next_search(searches: Iterable[ArchitectureSearch]) -> ArchitectureSearch | None:
    """The search that gets the next trial where no time limit decides, or None if none wants one.

    Each has its trial 0 first, the cheapest before the others; then the one on which least time was spent.
    """
    wanting = [each for each in searches if each.wants_more]
    if firsts := [each for each in wanting if not each.tried]:
        return min(firsts, key=lambda each: each.seconds)
    return min(wanting, key=lambda each: each.spent, default=None)


@dataclass(frozen=True)
class JobDefaults:
    """Fields that all jobs of a sweep share. threads: of each worker. workers: of each job."""

    seed: int
    threads: int
    device: str
    workers: int = 1

    def of(self, kind: Architecture, settings: Mapping[str, Any]) -> dict[str, Any]:
        """For a job of this architecture: one that cannot be trained by several workers together gets one, and one that has no
        use for a GPU none.
        """
        device = self.device if kind.uses_gpu(settings) else "cpu"
        return {**vars(self), "workers": self.workers if kind.data_parallel else 1, "device": device}


@contextmanager
def open_searches(
    plans: Sequence[ArchitecturePlan], asked: SearchConfig, members: MemberBuilder, url: str
) -> Iterator[tuple[list[ArchitectureSearch], BaseStorage]]:
    """Opens the storage at `url` and leases the plans' studies in it. Raises UserError where it cannot be written."""
    try:
        storage, workspace = open_storage(url), members.workspace
        names = [
            study_name(
                each.name, _about(each, asked, workspace), _identity(each, asked, workspace), storage, asked.fresh
            )
            for each in plans
        ]
        # Nobody else comes to the workspace's own storage: the workspace is locked.
        with lease(storage, names, settle=0.0 if asked.storage is None else SETTLE) as held:
            named = zip(plans, names, strict=True)
            yield [_open(plan, name, asked, members, storage, held) for plan, name in named], storage
    except StorageError as error:
        raise UserError(
            f"the study could not be written: {cause(error)}",
            code="study-not-written",
            hint="see that the disk has room and that the database can be reached, then run the same command again",
        ) from error


def _about(plan: ArchitecturePlan, asked: SearchConfig, workspace: Workspace) -> list[str]:
    """Preset, encoders and catalog of a plan, for the name of its study."""
    settings = plan.settings(plan.space.best)
    encoders = [str(settings[key]) for key in plan.kind.encoder_settings if settings.get(key) is not None]
    catalog = f"{Path(workspace.facts.train).name}, {len(workspace.train):,} rows"
    preset = [f"preset {asked.preset}"] if asked.preset else []
    return [*preset, *([" + ".join(Path(name).name for name in encoders)] if encoders else []), catalog]


def _identity(plan: ArchitecturePlan, asked: SearchConfig, workspace: Workspace) -> dict[str, Any]:
    """Facts that make trials comparable: they name the study."""
    return {
        "catalog": workspace.facts.catalog,
        "folds": workspace.facts.folds,
        "seed": asked.seed,
        "core": CORE_VERSION,
        "settings": plan.resolution.settings,
        "space": plan.space.record(),
        **({"preset": asked.preset} if asked.preset else {}),
    }


def _open(
    plan: ArchitecturePlan, name: str, asked: SearchConfig, members: MemberBuilder, storage: BaseStorage, held: Lease
) -> ArchitectureSearch:
    study = Study(
        name,
        plan.space,
        storage,
        identify=lambda searched: members.key(plan.kind, plan.settings(searched)).id,
        effect=lambda searched: members.key(plan.kind, plan.effective_settings(searched)).id,
        known=partial(read_trial, members.workspace),
        settings=StudySettings(
            asked.sampler_name,
            asked.seed,
            {
                "workspace": str(members.workspace.folder),
                "notes": list(plan.resolution.notes),
                **({PRESET: asked.preset, PRESET_CHANGES: asked.changes(plan.kind)} if asked.preset else {}),
            },
            held.check,
        ),
    )
    limits = plan.estimate, plan.trials, plan.members, plan.longest
    return ArchitectureSearch(plan.kind, study, plan.settings, *limits, prior_of(plan), study.seconds())


def job_defaults(seed: int, share: Resources, machine: Machine) -> JobDefaults:
    """Defaults of a sweep's jobs: a GPU for those that were given a share of one; Ray does not count Apple's."""
    device = machine.device if share.gpus or machine.device == "mps" else "cpu"
    return JobDefaults(seed, max(1, int(share.cpus)), device, share.workers)
