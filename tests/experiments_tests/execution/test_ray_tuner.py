"""Ray Tune runner with real workers: results, pruning, errors, a killed worker, and the end of the time."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutOfTime, UserError
from core.protocols.architecture import Report
from experiments.common.jobs import Job, JobKind, JobOutcome
from experiments.execution.ray_pool import Resources, session
from experiments.execution.ray_tuner import run

pytestmark = pytest.mark.usefixtures("ray_session")
RESOURCES = Resources(concurrent=2, cpus=1.0, gpus=0.0)
EPOCHS = 9
METRICS = {"mae": 1.0, "rmse": 1.0, "r2": 0.0}


def ending(event: str) -> Callable[..., None]:
    """Method of `Source` that records this end of a job."""

    def end(self: Source, job: Job, *facts: Any) -> None:
        self.live -= 1
        self.ends[job.number] = event, *facts

    return end


class Source:
    """Jobs from a list; records every event."""

    def __init__(self, jobs: list[Job]) -> None:
        self.waiting, self.live, self.most = list(jobs), 0, 0
        self.ends: dict[int, tuple[Any, ...]] = {}
        self.curves: dict[int, dict[int, Mapping[str, float]]] = {}

    def next(self) -> Job | None:
        if not self.waiting:
            return None
        self.live += 1
        self.most = max(self.most, self.live)
        return self.waiting.pop(0)

    @property
    def done(self) -> bool:
        return not self.waiting and not self.live

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self.curves.setdefault(job.number, {})[epoch] = metrics

    finished, pruned, failed, lost, interrupted = map(ending, ("finished", "pruned", "failed", "lost", "interrupted"))


def make_job(
    number: int, kind: JobKind = JobKind.TRIAL, epochs: int = EPOCHS, workers: int = 1, **settings: Any
) -> Job:
    return Job(
        kind, "text", f"config-{number}", settings, 0, 0, 1, "cpu",
        number=number, epochs=epochs, longest=epochs, workers=workers,
    )  # fmt: skip


def cause(fault: str) -> None:
    """Ends a job as its settings say."""
    if fault == "broken":
        raise UserError("no such encoder", code="no-encoder", hint="name another")
    if fault == "bug":
        raise ZeroDivisionError("a bug")
    if fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/oof.parquet")
    if fault == "late":
        raise OutOfTime("out of time")
    if fault == "killed":
        os._exit(9)


def work(job: Job, report: Report, pids: Path) -> JobOutcome:
    (pids / str(os.getpid())).touch()
    level = job.settings.get("level", 50.0)
    cause(job.settings.get("fault", ""))
    time.sleep(job.settings.get("sleep", 0.0))
    for epoch in range(1, EPOCHS + 1):
        report(epoch, {"smape": level - epoch, **METRICS})
    return JobOutcome({"smape": level - EPOCHS, **METRICS}, EPOCHS, 0.1)


@pytest.fixture(scope="module")
def ray_session() -> Any:
    with session(RESOURCES):
        yield


def execute(source: Source, folder: Path, pruner: str, seconds: float | None = None) -> bool:
    pids = folder / "pids"
    pids.mkdir()
    return run(source, partial(work, pids=pids), folder / "ray", RESOURCES, pruner, seconds)


def test_jobs_run_side_by_side_in_reused_workers_and_each_ends_as_it_deserves(tmp_path: Path) -> None:
    jobs = [make_job(number, level=50.0 + number) for number in range(6)]
    jobs += [make_job(6, fault="broken"), make_job(7, fault="bug"), make_job(8, fault="full")]
    source = Source(jobs)
    assert execute(source, tmp_path, "none")
    for number in range(6):
        assert source.ends[number] == ("finished", JobOutcome(source.ends[number][1].metrics, EPOCHS, 0.1))
        assert list(source.curves[number]) == list(range(1, EPOCHS + 1))
        assert source.ends[number][1].metrics["smape"] == 50.0 + number - EPOCHS
    assert source.ends[6] == ("failed", "no such encoder\n  what to do: name another", "no-encoder")
    assert source.ends[7][0] == "failed" and "ZeroDivisionError: a bug" in source.ends[7][1]
    assert source.ends[7][2] is None, "a bug has no code"
    assert source.ends[8][1].startswith("/data/oof.parquet: the disk is full") and "Traceback" not in source.ends[8][1]
    assert source.most == 2
    assert len(list((tmp_path / "pids").iterdir())) <= 2


def test_asha_stops_hopeless_trials_and_never_a_members_fit(tmp_path: Path) -> None:
    jobs = [make_job(number, level=50.0 + 10 * number) for number in range(5)]
    jobs += [make_job(number, JobKind.FIT, level=190.0) for number in range(5, 7)]
    source = Source(jobs)
    assert execute(source, tmp_path, "asha")
    ends = {number: end[0] for number, end in source.ends.items()}
    assert ends[0] == "finished"
    assert ends[5] == ends[6] == "finished"
    pruned = [end for end in source.ends.values() if end[0] == "pruned"]
    assert pruned and all(epoch >= 2 for _, epoch, *_ in pruned)


def test_a_killed_worker_costs_its_job_alone(tmp_path: Path) -> None:
    source = Source([make_job(0, fault="killed"), make_job(1), make_job(2)])
    assert execute(source, tmp_path, "none")
    assert source.ends[0][0] == "lost" and "worker process died" in source.ends[0][1]
    assert source.ends[1][0] == source.ends[2][0] == "finished"


def test_when_the_time_is_over_running_jobs_end(tmp_path: Path) -> None:
    source = Source([make_job(0, sleep=60.0)])
    assert execute(source, tmp_path, "none", seconds=3.0)
    assert source.ends[0][0] in ("interrupted", "failed")
    assert source.done


def test_an_error_of_the_source_ends_the_run_and_is_raised(tmp_path: Path) -> None:
    class Broken(Source):
        def finished(self, job: Job, outcome: JobOutcome) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "optuna.db")

    with pytest.raises(OSError, match=r"optuna\.db"):
        execute(Broken([make_job(number) for number in range(4)]), tmp_path, "none")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_the_run_in_order_and_leaves_the_former_handler(tmp_path: Path, number: signal.Signals) -> None:
    class Interrupted(Source):
        def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    source = Interrupted([make_job(0, sleep=0.5), make_job(1, sleep=60.0)])
    assert not execute(source, tmp_path, "none")
    assert source.ends[1] == ("interrupted",)
    assert signal.getsignal(number) == before
