"""What a sweep searches: for each architecture its study, opened or made, and what the portfolio needs to know beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from optuna.storages import BaseStorage

from core.hardware import Machine
from core.store.oof_store import CORE_VERSION
from core.store.workspace import Workspace
from experiments.common.options import Options
from experiments.entry import Entry, JobDefaults
from experiments.execution.job_worker import read_trial
from experiments.execution.ray_pool import Resources
from experiments.members import Members
from experiments.search.lease import Lease
from experiments.search.study import Study, study_name
from experiments.setup import Candidate, prior_of


def study_names(
    found: Sequence[Candidate], options: Options, workspace: Workspace, storage: BaseStorage
) -> dict[str, str]:
    """By architecture: from all that makes trials comparable."""
    return {
        each.name: study_name(each.name, _identity(each, options, workspace), storage, options.fresh) for each in found
    }


def _identity(candidate: Candidate, options: Options, workspace: Workspace) -> dict[str, Any]:
    return {
        "catalog": workspace.facts.catalog,
        "folds": workspace.facts.folds,
        "seed": options.seed,
        "core": CORE_VERSION,
        "settings": candidate.resolution.settings,
        "space": {name: list(values) for name, values in candidate.space.values.items()},
    }


def open_entry(
    candidate: Candidate,
    name: str,
    options: Options,
    workspace: Workspace,
    members: Members,
    storage: BaseStorage,
    held: Lease,
) -> Entry:
    """The architecture with its study of that name."""
    study = Study(
        name,
        candidate.space,
        storage,
        identify=lambda searched: members.key(candidate.kind, candidate.settings(searched)).id,
        known=partial(read_trial, workspace),
        sampler="grid" if options.grid else options.sampler,
        seed=options.seed,
        attributes={"workspace": str(workspace.folder), "notes": list(candidate.resolution.notes)},
        guard=held.check,
    )
    return Entry(
        candidate.kind,
        study,
        candidate.settings,
        candidate.estimate,
        candidate.trials,
        candidate.members,
        candidate.longest,
        prior_of(candidate),
        fit_seconds=study.seconds(),
    )


def job_defaults(options: Options, share: Resources, machine: Machine) -> JobDefaults:
    """A GPU is used by jobs that were given a share of one; Ray does not count Apple's."""
    device = machine.device if share.gpus or machine.device == "mps" else "cpu"
    return JobDefaults(options.seed, max(1, int(share.cpus)), device, share.workers)
