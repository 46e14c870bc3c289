"""Ray Tune runner: jobs in reused workers, early stopping of trials (ASHA and others).

Ray Tune drives reused worker processes; a `JobSource` gives the next job and receives every event.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, remove_placement_group

from core.errors import FailureCode, OutOfTime, UserError
from core.metrics import METRICS
from experiments.common.jobs import PLACEMENT_GROUP, Job, JobOutcome, JobSource, WorkerLost, error_code, error_text
from experiments.execution.pruners import PerArchitecture
from experiments.execution.ray_pool import Capacity, Resources

Work = Callable[..., JobOutcome]
"""Function that trains: gets a job and a `Report`, and of several workers what `experiments.execution.data_parallel` adds."""

EPOCH_METRICS = (*METRICS, "loss", "skipped_steps", "seconds")
"""Figures of an epoch that are handed on to the source, where a training reports them."""

NODE_CHECK_SECONDS = 5.0
"""Between checks that there is still a node to work on."""


def run(
    source: JobSource, work: Work, folder: Path, resources: Resources, pruner: str, seconds: float | None = None
) -> bool:
    """Has workers do `work` on the jobs of `source` until it is done or `seconds` are over; Ray's own files go to `folder`.

    True if it was not interrupted by Ctrl-C.
    """
    scheduler = PerArchitecture(pruner)
    searcher = _JobSearcher(source, Capacity(resources), scheduler)
    trainable = tune.with_resources(
        partial(_train, work=work, resources=resources), partial(_needs, resources=resources)
    )
    interrupts = _Interrupts()
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            time_budget_s=seconds,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="jobs", storage_path=str(folder.resolve()), verbose=0, callbacks=[_TuneCallback(searcher, interrupts)]
        ),
    )
    with interrupts:
        try:
            tuner.fit()
        except ray.tune.error.TuneError as error:
            # Ray wraps what a source raises in its own error, which holds the traceback as text only.
            raise error.__context__ or error from None
    for job in searcher.live.values():
        source.interrupted(job)
    return not interrupts.received


class _Interrupts:
    """Observer of the signals on which Ray Tune ends in order: Ray keeps to itself that one came.

    Use as a context manager around the run; `observe` is called once Ray has installed its handler.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody may handle signals, nor does Ray
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python

    def observe(self) -> None:
        if self._before:  # Ray's handler puts the former one back when it is called
            self.received = signal.getsignal(signal.SIGINT) == self._before[signal.SIGINT]
        for number in self._before:
            signal.signal(number, partial(self._receive, signal.getsignal(number)))

    def _receive(self, handler: Any, number: int, frame: Any) -> None:
        self.received = True
        if callable(handler):
            handler(number, frame)


def _needs(config: Mapping[str, Any], resources: Resources) -> tune.PlacementGroupFactory:
    """A trial of several workers only waits for them: with a core of its own it could take the one that they wait for.

    A job that computes on the processor leaves the GPUs to others.
    """
    alone, gpus = config["job"]["workers"] == 1, 0.0 if config["job"]["device"] == "cpu" else resources.gpus
    # Ray Tune refuses trials that need nothing: one byte.
    return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": gpus} if alone else {"memory": 1}])


def _train(config: dict[str, Any], work: Work, resources: Resources) -> None:
    """Runs in a worker. Each epoch is a report; the last report carries the outcome, or the error's text.

    An exception is reported and not raised: raising would cost the worker its life, and the next trial its warm start.
    """

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        tune.report({"epoch": epoch, **metrics})

    job = Job(**config["job"])
    try:
        if job.workers == 1:
            outcome = work(job, report)
        else:
            from experiments.execution.data_parallel import train_together  # torch, which light jobs do without

            outcome = train_together(job, work, tune.report, resources.cpus, resources.gpus)
    except WorkerLost:
        raise
    except OutOfTime as error:
        tune.report({"out_of_time": str(error)})
    except Exception as error:  # noqa: BLE001
        tune.report({"error": error_text(error), "error_code": error_code(error)})
    else:
        tune.report({"epoch": outcome.best_epoch, **outcome.metrics, "outcome": json.dumps(asdict(outcome))})


class _JobSearcher(Searcher):
    """Ray Tune searcher: takes jobs from the source while there is capacity, and reports their ends to it.

    Ray's own limiter would hide its `None`. live: jobs that were started and have not ended, by Ray's id of the trial.
    broken: error that the source raised while a trial ended, which Ray would only log: it ends the run.
    """

    def __init__(self, source: JobSource, capacity: Capacity, scheduler: PerArchitecture) -> None:
        super().__init__(metric="smape", mode="min")
        self.source, self._capacity, self._scheduler = source, capacity, scheduler
        self.live: dict[str, Job] = {}
        self.broken: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its searchers so that it could restore them, but a sweep goes on from Optuna's storage."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.source.done:
            return Searcher.FINISHED
        if len(self.live) >= self._capacity.slots():
            return None
        job = self.source.next()
        if job is None:
            return Searcher.FINISHED if self.source.done and not self.live else None
        self.live[trial_id] = job
        return {"job": vars(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = None if error else self.live.pop(trial_id, None)
        if job is not None:
            try:
                self._end(job, trial_id, result or {})
            except Exception as fault:
                self.broken = fault
                raise

    def _end(self, job: Job, trial_id: str, result: Mapping[str, Any]) -> None:
        """A job ended: with an outcome it has finished, without one its scheduler stopped it."""
        if "outcome" in result:
            self.source.finished(job, JobOutcome(**json.loads(result["outcome"])))
        elif "out_of_time" in result:
            self.source.interrupted(job)
        elif "error" in result:
            self.source.failed(job, str(result["error"]), result["error_code"])
        elif "smape" in result:
            self.source.pruned(job, int(result["epoch"]), float(result["smape"]), self._scheduler.reasons.get(trial_id))
        else:
            self.source.failed(job, "stopped before it had a result: the time was over", FailureCode.WITHOUT_RESULT)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `__getstate__`."""


class _TuneCallback(tune.Callback):
    """Ray Tune callback: forwards epochs and lost workers, ends the run with the last node, frees placement groups."""

    def __init__(self, searcher: _JobSearcher, interrupts: _Interrupts) -> None:
        self._searcher, self._interrupts = searcher, interrupts
        self._checked = time.monotonic()
        self._groups: dict[str, PlacementGroup] = {}

    def setup(self, **_: Any) -> None:
        self._interrupts.observe()

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        if self._searcher.broken is not None:
            raise self._searcher.broken
        if time.monotonic() - self._checked > NODE_CHECK_SECONDS:
            self._checked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):  # Ray itself would wait for ever
                raise UserError(
                    "Ray's last node is gone: its raylet process was killed, or died for lack of memory",
                    code="ray-last-node-lost",
                    hint="run the same command to go on; finished trials and folds are kept",
                )

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if PLACEMENT_GROUP in result:
            self._groups[trial.trial_id] = result[PLACEMENT_GROUP]
        job = self._searcher.live.get(trial.trial_id)
        if job is not None and "smape" in result and "outcome" not in result:
            metrics = {name: float(result[name]) for name in EPOCH_METRICS if name in result}
            self._searcher.source.epoch(job, int(result["epoch"]), metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Removes the trial's workers: they are of no use, and where it was stopped or killed they may still be there."""
        if group := self._groups.pop(trial.trial_id, None):
            remove_placement_group(group)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)
        if job := self._searcher.live.pop(trial.trial_id, None):
            self._searcher.source.lost(job, "its worker process died (killed, or out of memory)")
