"""Jobs of two workers, with real Ray Train runs: what one worker learns, and every way in which a job can end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from core.architectures.text import TextArchitecture
from core.protocols.architecture import ALONE, Group, Report, make_config
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobKind, JobOutcome
from experiments.execution.job_worker import run_job
from experiments.execution.ray_pool import Resources, session
from experiments.execution.ray_tuner import run
from tests.commands import run as run_command
from tests.commands import trials
from tests.experiments_tests.execution.test_ray_tuner import METRICS, Source, cause, make_job
from tests.experiments_tests.waiting import wait_for

TWO = Resources(concurrent=1, cpus=1.0, gpus=0.0, workers=2)
EPOCHS = 4
CLOSE = 1e-4
SETTINGS = {
    "text_encoder": "tiny", "dropout": 0.0, "category_dropout": 0.0, "learning_rate": 2e-3, "batch_size": 16, "epochs": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    with session(TWO):
        yield


@pytest.mark.usefixtures("ray_session")
def test_two_workers_learn_what_one_learns_and_leave_one_trial_and_one_fit(
    toy_workspace: Workspace, tmp_path: Path
) -> None:
    settings = make_config(TextArchitecture.Config, SETTINGS).model_dump(mode="json")
    job = Job(
        JobKind.TRIAL, "text", "text-000000000000", settings, 0, 0, 1, "cpu", number=0, epochs=3, longest=3, workers=2
    )
    source = Source([job])
    assert run(source, partial(run_job, folder=toy_workspace.folder), tmp_path / "ray", TWO, "none")
    alone: list[Mapping[str, float]] = []
    outcome = run_job(job, lambda epoch, metrics: alone.append(metrics), toy_workspace.folder)
    for key in ("smape", "loss"):
        together = [metrics[key] for metrics in source.curves[0].values()]
        assert together == pytest.approx([metrics[key] for metrics in alone], abs=CLOSE)
    ended, shared = source.ends[0]
    assert ended == "finished" and shared.best_epoch == outcome.best_epoch
    assert shared.metrics == pytest.approx(outcome.metrics, rel=CLOSE)
    assert len(list(toy_workspace.store.folder.glob("*/fold-0/fit.json"))) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"ray", "runs", "train.csv", "test.csv"}


job = partial(make_job, epochs=EPOCHS, workers=2)


def work(job: Job, report: Report, group: Group = ALONE, device: str = "") -> JobOutcome:
    """Reports falling SMAPEs. Settings say which fault happens in the second epoch, and on which rank."""
    level = job.settings.get("level", 50.0)
    for epoch in range(1, EPOCHS + 1):
        group.lead(partial(report, epoch, {"smape": level - epoch, **METRICS}))
        if epoch == 2 and group.rank == job.settings.get("rank", 0):
            cause(job.settings.get("fault", ""))
    return JobOutcome({"smape": level - EPOCHS, **METRICS}, EPOCHS, 0.1)


def execute(source: Source, folder: Path, pruner: str) -> Source:
    assert run(source, work, folder / "ray", TWO, pruner)
    return source


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_a_stopped_trial_leaves_nothing_and_the_next_one_runs(tmp_path: Path) -> None:
    source = execute(Source([job(0), job(1, level=90.0), job(2, workers=1), job(3, level=30.0)]), tmp_path, "asha")
    assert [source.ends[number][0] for number in range(4)] == ["finished", "pruned", "finished", "finished"]
    assert source.ends[1][1:3] == (2, 88.0)
    assert_all_cores_are_free()


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_whichever_worker_fails_the_job_says_why_and_the_next_one_runs(tmp_path: Path) -> None:
    jobs = [job(0, fault="broken", rank=1), job(1, fault="bug"), job(2, fault="late", rank=1), job(3)]
    source = execute(Source(jobs), tmp_path, "none")
    assert source.ends[0] == ("failed", "no such encoder\n  what to do: name another", "no-encoder")
    assert source.ends[1][0] == "failed" and source.ends[1][1].startswith("ZeroDivisionError: a bug\nTraceback")
    assert source.ends[2] == ("interrupted",)
    assert source.ends[3][0] == "finished"


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_is_a_lost_job_whichever_it_is(rank: int, tmp_path: Path) -> None:
    source = execute(Source([job(0, fault="killed", rank=rank), job(1)]), tmp_path, "none")
    assert source.ends[0] == ("lost", "its worker process died (killed, or out of memory)")
    assert source.ends[1][0] == "finished"


class Killer(Source):
    """Kills the process of the first job's trial, which waits for its workers, after the second epoch."""

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        super().epoch(job, epoch, metrics)
        if (job.number, epoch) == (0, 2):
            children = psutil.Process().children(recursive=True)
            (trial,) = [process for process in children if process.name().startswith("ray::Impl")]
            trial.kill()


@pytest.mark.faults
@pytest.mark.usefixtures("ray_session")
def test_a_killed_trial_takes_its_workers_with_it(tmp_path: Path) -> None:
    source = Killer([job(0), job(1)])
    execute(source, tmp_path, "none")
    assert source.ends[0] == ("lost", "its worker process died (killed, or out of memory)")
    assert source.ends[1][0] == "finished"
    assert_all_cores_are_free()


def assert_all_cores_are_free() -> None:
    import ray  # not before `experiments` has told it how to authenticate

    wait_for(lambda: ray.available_resources().get("CPU") == 2)


def text_curve(workspace: Path) -> tuple[str, dict[int, float]]:
    """(config, SMAPE of each epoch) of the one trial of `text`."""
    (trial,) = (trial for trial in trials(workspace) if trial.user_attrs["config"].startswith("text-"))
    assert trial.state == TrialState.COMPLETE
    return trial.user_attrs["config"], trial.intermediate_values


@pytest.mark.faults
def test_the_command_gives_one_workers_curve_and_member(tmp_path: Path, toy_sweep: list[object]) -> None:
    arguments = ["text", "lexical", *toy_sweep, "--text-encoder", "tiny", "--trials", 1, "--set", "text.dropout=0.0"]
    arguments += ["--set", "text.category_dropout=0.0", "--set", "text.epochs=3", "--max-concurrent", 1]
    output = {}
    for workers in (1, 2):
        own = ["--workspace", tmp_path / f"runs-{workers}", "--workers-per-trial", workers]
        output[workers] = run_command("experiments.sweep", *arguments, *own)
    assert "2 workers per trial" in output[2] and "workers" not in output[1]
    assert output[2].count("complete  SMAPE") == output[1].count("complete  SMAPE") == 2
    (config, alone), (same, together) = (text_curve(tmp_path / f"runs-{workers}") for workers in (1, 2))
    assert same == config and len(alone) == 3
    assert together == pytest.approx(alone, abs=CLOSE)
    assert not list(tmp_path.glob("runs-2/trials/*/*-*/"))
