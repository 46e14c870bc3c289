"""Shares of GPUs with real workers, where Ray believes to have two: packing, devices, and what a killed trial frees."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.hardware import Machine
from core.protocols.architecture import ALONE, Group, Report
from experiments.common.jobs import Job, JobOutcome
from experiments.execution.ray_pool import Resources, session
from experiments.execution.ray_tuner import run
from tests.experiments_tests.execution.test_ray_tuner import METRICS, Source, cause, make_job
from tests.experiments_tests.waiting import wait_for

GPUS = 2
SECONDS = 90.0
"""Until the workers that are to run at once have all started: each is a process that imports."""


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """A session of its own, with two GPUs in place of those that Ray detects."""
    import ray._private.accelerators.nvidia_gpu as detection  # not before `experiments` has told it how to authenticate

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        manager = detection.NvidiaGPUAcceleratorManager
        patch.setattr(manager, "get_current_node_num_accelerators", staticmethod(lambda: GPUS))
        with session(Resources(concurrent=8, cpus=0.25, gpus=0.25)):
            import ray

            assert ray.cluster_resources()["GPU"] == GPUS
            yield


def work(job: Job, report: Report, folder: Path, group: Group) -> JobOutcome:
    """Notes the devices that it sees and when; ends once as many as its settings say have run at the same time as it."""
    import ray

    ids = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    facts = {"job": job.number, "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "ids": ids, "start": time.time()}
    own = folder / f"{job.number}-{group.rank}"
    own.with_suffix(".started").touch()
    cause(job.settings.get("fault", ""))
    wait_for(lambda: len(list(folder.glob("*.started"))) >= job.settings["together"], SECONDS)
    group.lead(partial(report, 1, {"smape": 50.0, **METRICS}))
    time.sleep(0.5)
    own.with_suffix(".json").write_text(json.dumps({**facts, "end": time.time()}))
    return JobOutcome({"smape": 50.0, **METRICS}, 1, 0.1)


class GlooWork:
    """`work` that has Ray Train take gloo wherever it is unpickled: NCCL, its choice for workers with GPUs, needs real ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, job: Job, report: Report, group: Group = ALONE, device: str = "") -> JobOutcome:
        return work(job, report, self._folder, group)

    def __reduce__(self) -> tuple[Any, ...]:
        return on_gloo, (self._folder,)


def on_gloo(folder: Path) -> GlooWork:
    from ray.train.torch import TorchConfig

    make: Any = TorchConfig.__init__
    make.__defaults__ = ("gloo", *make.__defaults__[1:])
    return GlooWork(folder)


def gpu_job(number: int, **settings: Any) -> Job:
    return replace(make_job(number, epochs=1, **settings), device="cuda")


def execute(jobs: list[Job], folder: Path, resources: Resources) -> tuple[Source, list[dict[str, Any]]]:
    source, seen = Source(jobs), folder / "seen"
    seen.mkdir()
    assert run(source, GlooWork(seen), folder / "ray", resources, "none")
    return source, [json.loads(path.read_text()) for path in sorted(seen.glob("*.json"))]


def most_at_once(facts: list[dict[str, Any]]) -> int:
    """Largest number of these jobs that ran at the same time."""
    return max(sum(other["start"] <= each["start"] < other["end"] for other in facts) for each in facts)


def all_is_free() -> bool:
    import ray

    return ray.available_resources().get("GPU") == GPUS


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("share", "slots"), [(1.0, 2), (0.5, 4), (0.25, 8)])
def test_trials_fill_the_gpus_as_asked_and_each_sees_its_own(share: float, slots: int, tmp_path: Path) -> None:
    jobs = [gpu_job(number, together=slots) for number in range(slots + 2)]
    source, facts = execute(jobs, tmp_path, Resources(concurrent=slots + 2, cpus=0.1, gpus=share))
    assert {end[0] for end in source.ends.values()} == {"finished"} and len(facts) == slots + 2
    assert most_at_once(facts) == slots
    assert all(each["visible"] in ("0", "1") for each in facts)
    first = sorted(facts, key=lambda each: float(each["start"]))[:slots]
    assert Counter(each["visible"] for each in first) == {"0": slots // GPUS, "1": slots // GPUS}
    assert wait_for(all_is_free)


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_a_killed_trials_share_comes_back(tmp_path: Path) -> None:
    jobs = [gpu_job(0, fault="killed"), *(gpu_job(number, together=5) for number in range(1, 6))]
    source, facts = execute(jobs, tmp_path, Resources(concurrent=4, cpus=0.1, gpus=0.5))
    assert source.ends.pop(0)[0] == "lost"
    assert {end[0] for end in source.ends.values()} == {"finished"}
    assert most_at_once(facts) == 4, "four of the other five wait for the share of the one that was killed"
    assert wait_for(all_is_free)


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_two_workers_of_one_trial_take_a_gpu_each(tmp_path: Path) -> None:
    jobs = [gpu_job(0, workers=2, together=2), gpu_job(1, together=3)]
    source, facts = execute(jobs, tmp_path, Resources(concurrent=1, cpus=0.25, gpus=1.0, workers=2))
    assert {end[0] for end in source.ends.values()} == {"finished"}
    assert sorted(each["ids"] for each in facts if each["job"] == 0) == [["0"], ["1"]]
    assert len([each for each in facts if each["job"] == 1]) == 1
    assert wait_for(all_is_free)


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_jobs_of_the_processor_run_beside_those_that_hold_all_gpus(tmp_path: Path) -> None:
    classical = [make_job(number, epochs=1, together=4) for number in (2, 3)]
    source, facts = execute(
        [gpu_job(0, together=4), gpu_job(1, together=4), *classical],
        tmp_path,
        Resources(concurrent=4, cpus=0.1, gpus=1.0),
    )
    assert {end[0] for end in source.ends.values()} == {"finished"} and most_at_once(facts) == 4
    assert {each["job"]: each["ids"] for each in facts if each["job"] > 1} == {2: [], 3: []}
    assert sorted(each["ids"] for each in facts if each["job"] < 2) == [["0"], ["1"]]
    assert wait_for(all_is_free)


@pytest.mark.parametrize(
    ("share", "gpus", "workers", "slots"),
    [(1.0, [2], 1, 2), (0.5, [2], 1, 4), (0.4, [2], 1, 4), (0.6, [1, 1, 0], 1, 2), (0.3, [1, 2], 1, 9), (2.0, [3, 2], 1, 2),
     (1.0, [2], 2, 1), (1.0, [1, 1, 0], 2, 1), (0.1, [1], 1, 10)],
)  # fmt: skip
def test_a_share_lies_on_one_gpu_when_jobs_are_counted(share: float, gpus: list[int], workers: int, slots: int) -> None:
    nodes = [Machine(16, 2**30, "cuda" if each else "cpu", each) for each in gpus]
    assert Resources(0, 1.0, share, workers, elastic=True).slots(nodes) == slots
