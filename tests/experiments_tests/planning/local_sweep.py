"""Sweeps without Ray: the scheduler's jobs are run here, one after the other, by the real worker code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from unittest.mock import create_autospec

from core.architectures import architecture
from core.hardware import Machine
from core.protocols.architecture import make_config
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, RunCallback
from experiments.common.memory import MemoryBudget
from experiments.execution.job_worker import read_trial, run_job
from experiments.planning.budget import Budget, SweepLimits
from experiments.planning.cross_validation import MemberBuilder
from experiments.planning.job_scheduler import JobScheduler
from experiments.planning.search_state import ArchitectureSearch, JobDefaults
from experiments.search.storage import open_storage
from experiments.search.study import Study
from search_spaces import load_space

LAPTOP = Machine(cores=2, memory=8 * 2**30, device="cpu", gpus=0)
FIXED = {"text": {"text_encoder": "tiny", "epochs": 2}}


def make_search(
    name: str, builder: MemberBuilder, storage: Any, *, run: str = "a", seconds: float = 1.0, **limits: int | None
) -> ArchitectureSearch:
    """Search in the architecture's own space. seconds: estimate of one training. limits: trials and members."""
    kind, fixed = architecture(name), FIXED.get(name, {})
    resolution = kind.resolve(fixed, LAPTOP, None)

    def settings(searched: Mapping[str, Any]) -> dict[str, Any]:
        return make_config(kind.Config, {**resolution.settings, **searched}).model_dump(mode="json")

    study = Study(
        f"{name}-{run}", load_space(resolution.space, kind.Config).without(fixed), storage,
        identify=lambda searched: builder.key(kind, settings(searched)).id, known=partial(read_trial, builder.workspace),
    )  # fmt: skip
    return ArchitectureSearch(kind, study, settings, seconds, limits.get("trials"), limits.get("members"), longest=2)


class LocalSweep:
    """Scheduler with searches of these architectures, and a callback that records its calls."""

    def __init__(
        self, workspace: Workspace, *names: str, trials: int = 2, members: int | None = 1, run: str = "a", **limits: Any
    ) -> None:
        """limits: minutes, memory (a `MemoryBudget`) and small_data_members."""
        self.workspace = workspace
        storage, builder = open_storage(f"sqlite:///{workspace.path('optuna.db')}"), MemberBuilder(workspace, 0, {})
        searches = [make_search(name, builder, storage, run=run, trials=trials, members=members) for name in names]
        now, minutes = time.time(), limits.get("minutes")
        budget = Budget(now, None if minutes is None else now + 60 * minutes, concurrent=1)
        memory = limits.get("memory", MemoryBudget(None, {}))
        self.callback = create_autospec(RunCallback, instance=True)
        self.scheduler = JobScheduler(
            searches, builder, SweepLimits(budget, memory, limits.get("small_data_members")), JobDefaults(0, 1, "cpu"),
            [self.callback],
        )  # fmt: skip

    @property
    def notes(self) -> list[str]:
        return [call.args[0] for call in self.callback.note.call_args_list]

    def start(self) -> Job:
        """The next job, which there must be."""
        job = self.scheduler.next()
        assert job is not None
        return job

    def run(self, job: Job, **options: Any) -> JobOutcome:
        return run_job(job, partial(self.scheduler.epoch, job), self.workspace.folder, **options)

    def finish(self, job: Job, seconds: float = 1.0, memory: int | None = None) -> None:
        """Reports a made-up outcome of a job that was not run."""
        metrics = {"smape": 40.0, "mae": 1.0, "rmse": 1.0, "r2": 0.0}
        self.scheduler.finished(job, JobOutcome(metrics, 1, seconds, memory=memory))

    def trained(self, **options: Any) -> Iterator[Job]:
        """The jobs, each run to its end, until there is none."""
        while (job := self.scheduler.next()) is not None:
            self.scheduler.finished(job, self.run(job, **options))
            yield job
