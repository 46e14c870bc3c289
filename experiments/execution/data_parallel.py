"""Data-parallel training: one job by several workers, as a Ray Train run inside its Ray Tune trial.

trial (no core, no GPU)  ->  Ray Train's controller  ->  workers, each `work` on the same job, joined by gloo or NCCL
   <- reports -   queue  <- rank 0's reports -
    - go on? ->           - go on? ->

Ray's own `TuneReportCallback` carries reports one way: a trial that its scheduler stopped would hear of it when its process
is killed, and its workers later or never. Here rank 0 waits for the scheduler's answer after every epoch, and all end in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.config import LoggingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.train.v2.api.result import Result
from ray.util.placement_group import get_current_placement_group

from core.errors import OutOfTime
from core.protocols.architecture import Ended, PeerLost
from core.training.distributed import TorchGroup
from experiments.common.jobs import PLACEMENT_GROUP, Failed, Job, JobOutcome, WorkerLost, error_code, error_text

TuneReport = Callable[[Mapping[str, Any]], None]
Work = Callable[..., JobOutcome]

_POLL_SECONDS = 1.0
"""Between checks whether the workers have ended."""
_STARTS = 10
"""Tries of a minute each to place the workers."""


def train_together(job: Job, work: Work, report: TuneReport, cpus: float, gpus: float) -> JobOutcome:
    """Has `job.workers` processes do `work(job, report, group=..., device=...)`, each with so many cores and GPUs.

    Called in a Ray Tune trial's thread. `report` (`tune.report`) gets their placement group as PLACEMENT_GROUP, and then rank 0's
    reports; if it raises, the workers are stopped first. Raises OutOfTime as the workers do, Failed with the text of what one
    of them raised, WorkerLost where one died.
    """
    queue = ray.remote(num_cpus=0)(_ReportQueue).remote()
    trainer = TorchTrainer(
        lambda: _rank(job, work, queue),
        scaling_config=ScalingConfig(
            num_workers=job.workers, use_gpu=gpus > 0, resources_per_worker={"CPU": cpus, "GPU": gpus}
        ),
        run_config=RunConfig(
            name="workers",
            storage_path=tune.get_context().get_trial_dir(),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=_STARTS),
            logging_config=LoggingConfig("ERROR"),
        ),
    )
    try:
        with ThreadPoolExecutor(1) as pool:  # left when the workers have ended
            running = pool.submit(trainer.fit)
            try:
                _pass_on(running, queue, report)
            except BaseException:
                queue.answer.remote(False)
                raise
        outcome: JobOutcome = running.result().return_value
        return outcome
    except TrainingFailedError as error:
        raise _cause(error) from None
    finally:
        ray.kill(queue)


def _pass_on(running: Future[Result], queue: ray.actor.ActorHandle, report: TuneReport) -> None:
    while not running.done():
        result = ray.get(queue.next.remote(_POLL_SECONDS))
        if result is not None:
            report(result)
            queue.answer.remote(True)


def _rank(job: Job, work: Work, queue: ray.actor.ActorHandle) -> JobOutcome | None:
    """Runs in each worker. None where the scheduler stopped the trial."""

    def send(result: dict[str, Any]) -> None:
        if not ray.get(queue.report.remote(result)):
            raise SystemExit  # as `tune.report` does in a trial of one worker

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        send({"epoch": epoch, **metrics})

    group = TorchGroup()
    try:
        group.lead(partial(send, {PLACEMENT_GROUP: get_current_placement_group()}))
        return work(job, report, group=group, device=job.device if job.device == "cpu" else str(get_device()))
    except (SystemExit, Ended):
        return None
    except (OutOfTime, PeerLost):
        raise
    except Exception as error:  # noqa: BLE001
        raise Failed(error_text(error), error_code(error)) from None


def _cause(error: TrainingFailedError) -> Exception:
    """The first cause where several workers failed: one that is gone takes the others with it, not the other way round."""
    if not isinstance(error, WorkerGroupError):
        return Failed(f"Ray Train did not run the workers: {error}")
    for failure in error.worker_failures.values():
        if isinstance(failure, (Failed, OutOfTime)):
            return failure
    return WorkerLost(str(error))


class _ReportQueue:
    """Queue between rank 0's reports and the scheduler's decisions, as a Ray actor."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()

    async def report(self, result: dict[str, Any]) -> bool:
        """Queues a report and waits for its answer: True to go on."""
        await self._reports.put(result)
        return await self._answers.get()

    async def next(self, seconds: float) -> dict[str, Any] | None:
        """The next report, or None if there is none in that time."""
        try:
            return await asyncio.wait_for(self._reports.get(), seconds)
        except TimeoutError:
            return None

    async def answer(self, go_on: bool) -> None:
        await self._answers.put(go_on)
