"""One architecture in a sweep: its study, what is wanted of it, and what its trainings have cost so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from optuna.storages import BaseStorage

from core.hardware import Machine
from core.protocols.architecture import Architecture
from core.store.oof_store import CORE_VERSION
from core.store.workspace import Workspace
from experiments.execution.job_worker import read_trial
from experiments.execution.ray_pool import Resources
from experiments.planning.budget import SearchProgress
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.marginal_gain import NEW_KIND
from experiments.planning.setup import ArchitecturePlan, prior_of
from experiments.search.failures import Failures
from experiments.search.lease import Lease
from experiments.search.search_config import SearchConfig
from experiments.search.study import Study, study_name
from experiments.search.trial_selection import Finished, survivors


@dataclass
class ArchitectureSearch:
    """One architecture in the sweep. make_config: the full settings of a trial from the searched ones.

    longest: epochs of any config in the search. members: wanted at most; None: as many as lower the stack's SMAPE in the time.
    prior: see `experiments.planning.marginal_gain`. spent: seconds of its trials so far; fit_seconds: of each finished training, newest last.
    promoted: how many of its configs were queued as members.
    """

    kind: Architecture
    study: Study
    make_settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    estimate: float
    trials: int | None
    members: int | None
    longest: int
    prior: float = NEW_KIND
    open: bool = True
    running: int = 0
    promoted: int = 0
    failures: Failures = field(default_factory=Failures)
    spent: float = 0.0
    fit_seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def seconds(self) -> float:
        """Of one training: measured where there is a measurement."""
        return median(self.fit_seconds) if self.fit_seconds else self.estimate

    def ranking(self) -> list[Finished]:
        """Its trials that are worth cross-validating, the best first."""
        return survivors(self.study.ranking())

    def progress(self) -> SearchProgress:
        is_open = self.open and not self.study.exhausted
        return SearchProgress(
            self.name, self.seconds, self.spent, self.study.distinct, self.running, self.trials, is_open
        )


@dataclass(frozen=True)
class JobDefaults:
    """What all jobs of a sweep share. threads: of each worker. workers: of each job."""

    seed: int
    threads: int
    device: str
    workers: int = 1

    def of(self, kind: Architecture) -> dict[str, Any]:
        """For the jobs of this architecture: one that cannot be trained by several workers together gets one."""
        return {**vars(self), "workers": self.workers if kind.data_parallel else 1}


def study_names(
    plans: Sequence[ArchitecturePlan], asked: SearchConfig, workspace: Workspace, storage: BaseStorage
) -> dict[str, str]:
    """By architecture: from all that makes trials comparable."""
    return {
        each.name: study_name(each.name, _identity(each, asked.seed, workspace), storage, asked.fresh) for each in plans
    }


def _identity(plan: ArchitecturePlan, seed: int, workspace: Workspace) -> dict[str, Any]:
    return {
        "catalog": workspace.facts.catalog,
        "folds": workspace.facts.folds,
        "seed": seed,
        "core": CORE_VERSION,
        "settings": plan.resolution.settings,
        "space": {name: list(values) for name, values in plan.space.values.items()},
    }


def open_search(
    plan: ArchitecturePlan,
    name: str,
    asked: SearchConfig,
    members: MemberBuilder,
    storage: BaseStorage,
    held: Lease,
) -> ArchitectureSearch:
    """The architecture with its study of that name."""
    study = Study(
        name,
        plan.space,
        storage,
        identify=lambda searched: members.key(plan.kind, plan.settings(searched)).id,
        known=partial(read_trial, members.workspace),
        sampler=asked.sampler_name,
        seed=asked.seed,
        attributes={"workspace": str(members.workspace.folder), "notes": list(plan.resolution.notes)},
        guard=held.check,
    )
    return ArchitectureSearch(
        plan.kind,
        study,
        plan.settings,
        plan.estimate,
        plan.trials,
        plan.members,
        plan.longest,
        prior_of(plan),
        fit_seconds=study.seconds(),
    )


def job_defaults(seed: int, share: Resources, machine: Machine) -> JobDefaults:
    """A GPU is used by jobs that were given a share of one; Ray does not count Apple's."""
    device = machine.device if share.gpus or machine.device == "mps" else "cpu"
    return JobDefaults(seed, max(1, int(share.cpus)), device, share.workers)
