"""Benchmark of a sweep's overhead: 32 trials that do nothing, against a plain Ray Tune script, in turns.

    python benchmarks/sweeps/sweep_overhead.py

Ours: studies, members, diary, live view and Ray as in a real sweep; only the work is empty. The peer: Ray Tune with reused
actors, its OptunaSearch on an SQLite file, ASHA, and each trial logged to MLflow (SQLite) by hand in its worker. Both find
their MLflow database made. Seconds from starting Ray to having stopped it, each in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

CONCURRENT, EPOCHS = 2, 4
CHOICES: dict[str, tuple[Any, ...]] = {
    "learning_rate": (1e-5, 2e-5, 5e-5, 1e-4), "batch_size": (16, 32, 64), "dropout": (0.2, 0.4, 0.5), "depth": (1, 2, 3)
}  # fmt: skip


def smape(settings: Mapping[str, Any], epoch: int) -> float:
    return 40.0 + 10.0 * settings["dropout"] + settings["depth"] - epoch


def peer(folder: Path, trials: int) -> float:
    """Seconds of the plain script."""
    import mlflow
    import optuna
    import ray
    from optuna.samplers import TPESampler
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment("peer", artifact_location=(folder / "artifacts").as_uri())

    def train(config: dict[str, Any]) -> None:
        mlflow.set_tracking_uri(uri)
        with mlflow.start_run(experiment_id=experiment):
            mlflow.log_params(config)
            for epoch in range(1, EPOCHS + 1):
                value = smape(config, epoch)
                mlflow.log_metric("smape", value, step=epoch)
                tune.report({"smape": value})

    start = time.perf_counter()
    ray.init(num_cpus=CONCURRENT, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    search = OptunaSearch(
        {key: tune.choice(values) for key, values in CHOICES.items()},
        metric="smape", mode="min", sampler=TPESampler(seed=0),
        storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db"), study_name="peer",
    )  # fmt: skip
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(search, CONCURRENT), num_samples=trials, reuse_actors=True,
            scheduler=ASHAScheduler(metric="smape", mode="min"),
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )  # fmt: skip
    tuner.fit()
    ray.shutdown()
    return time.perf_counter() - start


def ours(folder: Path, trials: int) -> float:
    """Seconds of a sweep's own machinery."""
    from core.architectures import architecture
    from core.data.folds import make_folds
    from core.data.reading import read_catalogs
    from core.demo import make_demo
    from core.store.workspace import Workspace, WorkspaceFacts, catalog_fingerprint
    from experiments.common.jobs import Job, JobOutcome
    from experiments.common.memory import MemoryBudget
    from experiments.execution import ray_tuner
    from experiments.execution.ray_pool import Resources, session
    from experiments.planning.budget import Budget, SweepLimits
    from experiments.planning.cross_validation import MemberBuilder
    from experiments.planning.job_scheduler import ArchitectureSearch, JobDefaults, JobScheduler
    from experiments.search.storage import open_storage
    from experiments.search.study import Study
    from experiments.tracking.mlflow_log import RunLog
    from experiments.tracking.run_callbacks import watching
    from experiments.tracking.tracking_config import TrackingConfig
    from search_spaces import Space

    demo = make_demo(folder / "demo", rows=2000, seed=0)
    read = read_catalogs(demo.train, demo.test, None)
    folds, _ = make_folds(read.train, read.test, k=5, seed=0, fold_groups="off")
    workspace = Workspace(folder / "runs")
    name = catalog_fingerprint(read.train, read.test)
    workspace.create(
        read.train, read.test, folds, WorkspaceFacts("", "", None, name, folds.hash, 5, "off", folds.mode, {})
    )
    with RunLog(workspace, {}, {}):
        pass
    space = Space("nothing", CHOICES, {})

    def nothing(job: Job, report: Callable[[int, Mapping[str, float]], None]) -> JobOutcome:
        for epoch in range(1, EPOCHS + 1):
            metrics = {"smape": smape(job.settings, epoch), "mae": 1.0, "rmse": 1.0, "r2": 0.5}
            report(epoch, metrics)
        return JobOutcome(metrics, EPOCHS, 0.0)

    start = time.perf_counter()
    share = Resources(CONCURRENT, 1.0, 0.0)
    storage, budget = open_storage(f"sqlite:///{folder}/optuna.db"), Budget(time.time(), None, 2)
    limits = SweepLimits(budget, MemoryBudget(None, {}))
    study = Study(
        "nothing", space, storage,
        identify=lambda searched: "-".join(map(str, searched.values())), known=lambda _: None,
    )  # fmt: skip
    search = ArchitectureSearch(architecture("text"), study, dict, 1.0, trials, 0, EPOCHS)
    with (
        watching(TrackingConfig(), 0, workspace, [search], storage, budget, None) as listeners,
        session(share),
    ):
        scheduler = JobScheduler([search], MemberBuilder(workspace, 0, {}), limits, JobDefaults(0, 1, "cpu"), listeners)
        assert ray_tuner.run(scheduler, nothing, workspace.path("ray"), share, "asha")
    assert sum(study.counts().values()) >= trials
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "peer"], help="one of them, once, in this process")
    arguments = parser.parse_args()
    kinds = {"ours": ours, "peer": peer}
    if arguments.only:
        with TemporaryDirectory() as folder:
            print(kinds[arguments.only](Path(folder), arguments.trials))
        return
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.rounds):
        for name, seconds in found.items():
            command = [sys.executable, __file__, "--only", name, "--trials", str(arguments.trials)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(float(done.stdout.splitlines()[-1]))
    for name, seconds in found.items():
        print(f"{name}: {median(seconds):.1f} s (of {', '.join(f'{one:.1f}' for one in seconds)})")
    print(f"ours / peer: {median(found['ours']) / median(found['peer']):.2f} (aim: at most 1.2)")


if __name__ == "__main__":
    main()
