"""Benchmark of study storage at scale: 10,000 instant trials from 200 workers against PostgreSQL, through the sweep's study.

    python benchmarks/sweeps/storage_scale.py [--trials 10000] [--workers 200] [--storage URL] [--sampler tpe]

Without --storage a PostgreSQL server is started in a temporary folder from Debian's binaries, with its default settings. The
driver's thread asks and tells, as in a sweep; workers are threads that take jobs and answer at once with a synthetic SMAPE, a
third of them stopped early. In windows of a tenth of the trials: seconds of a proposal (median and 95th percentile), of writing
an end, trials per second, the driver's memory, and how long another process takes to read the study's state meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import queue
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.jobs import JobOutcome
from experiments.search.lease import lease
from experiments.search.storage import open_storage
from experiments.search.study import Proposal, Study, StudySettings
from search_spaces import Space

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "learning_rate": (1e-5, 2e-5, 5e-5, 1e-4, 2e-4),
    "batch_size": (16, 32, 64, 128),
    "dropout": (0.1, 0.2, 0.3, 0.4, 0.5),
    "weight_decay": (0.0, 0.01, 0.03, 0.05, 0.1),
    "regressor_width": (64, 128, 256, 512, 1024),
    "regressor_depth": (1, 2, 3, 4, 5),
    "warmup": (0.0, 0.03, 0.06, 0.1),
}
SPACE = Space("synthetic", VALUES, {name: choices[1] for name, choices in VALUES.items()})
AIM, MEMORY_AIM = 0.150, 2.0
"""Seconds of a median proposal; GiB."""

READ = """
import sys, time
from collections import Counter
import optuna
began = time.perf_counter()
study = optuna.load_study(study_name="scale", storage=sys.argv[1])
Counter(trial.state for trial in study.get_trials(deepcopy=False))
print(time.perf_counter() - began)
"""


def identify(searched: Mapping[str, Any]) -> str:
    return " ".join(str(searched[name]) for name in VALUES)


def smape(searched: Mapping[str, Any]) -> float:
    """Between 40 and 90, the same for the same point."""
    places = [VALUES[name].index(searched[name]) / (len(VALUES[name]) - 1) for name in VALUES]
    noise = int(hashlib.blake2b(identify(searched).encode(), digest_size=4).hexdigest(), 16) / 2**32
    return 40.0 + 45.0 * float(np.mean([(place - 0.6) ** 2 for place in places])) / 0.36 + 5.0 * noise


@dataclass
class Window:
    """What was measured in a tenth of the run. Seconds."""

    started: float = field(default_factory=time.perf_counter)
    proposals: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def row(self, trials: int, read: float) -> str:
        took = time.perf_counter() - self.started
        ask, end = np.array(self.proposals) * 1000.0, np.array(self.ends) * 1000.0
        return (
            f"{trials:7,}  {np.median(ask):7.0f}  {np.percentile(ask, 95):7.0f}  {np.median(end):7.0f}  {len(ask) / took:8.1f}"
            f"  {peak():6.2f}  {read:6.1f}"
        )


def peak() -> float:
    """GiB of memory that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def work(jobs: queue.SimpleQueue[Proposal | None], done: queue.SimpleQueue[tuple[Proposal, float]]) -> None:
    while (job := jobs.get()) is not None:
        done.put((job, smape(job.searched)))


def end(study: Study, job: Proposal, value: float) -> None:
    """A third of the trials is stopped after an epoch."""
    study.report(job.name, 1, value + 5.0)
    if job.number % 3 == 2:
        study.prune(job.name, value + 5.0)
    else:
        study.complete(job.name, JobOutcome({"smape": value, "mae": 1.0, "rmse": 1.0, "r2": 0.5}, 1, 0.0))


def timed(into: list[float], call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    into.append(time.perf_counter() - began)
    return result


def sweep(text: str, trials: int, workers: int, sampler: str) -> list[float]:
    """Runs it and prints a line per window; seconds of all proposals."""
    storage = open_storage(text)
    jobs: queue.SimpleQueue[Proposal | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Proposal, float]] = queue.SimpleQueue()
    threads = [threading.Thread(target=work, args=(jobs, done), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    every, window, proposals, running = max(1, trials // 10), Window(), [], 0
    print(" trials   ask ms   95% ms   end ms  trials/s     GiB  read s")
    with lease(storage, ["scale"], settle=0.0) as held:
        settings = StudySettings(sampler, guard=held.check)
        study = Study("scale", SPACE, storage, identify=identify, known={}.get, settings=settings)
        while True:
            while running < workers and (job := timed(window.proposals, partial(study.ask, trials))) is not None:
                jobs.put(job)
                running += 1
            if not running:
                break
            timed(window.ends, partial(end, study, *done.get()))
            running -= 1
            if study.distinct % every == 0:
                print(window.row(study.distinct, read(text)), flush=True)
                proposals += window.proposals
                window = Window()
        study.close()
        print(f"counts: {study.counts()}, {study.distinct:,} different configs")
    for _ in threads:
        jobs.put(None)
    return proposals


def read(text: str) -> float:
    """Seconds that another process takes to count the trials by state."""
    done = subprocess.run(
        [sys.executable, "-c", READ, text], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    return float(done.stdout)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database on a server of our own."""
    sys.path.insert(0, str(ROOT))
    from tests.experiments_tests import postgres

    if postgres.MISSING:
        raise SystemExit(f"{postgres.MISSING}, or name a server with --storage")
    with postgres.server(options=()) as server:
        yield server.create("scale")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--storage", help="a database without a study called scale")
    parser.add_argument("--sampler", default="tpe")
    options = parser.parse_args()
    began = time.perf_counter()
    with contextlib.nullcontext(options.storage) if options.storage else postgresql() as text:
        proposals = sweep(text, options.trials, options.workers, options.sampler)
    median, gibibytes = float(np.median(proposals)), peak()
    print(f"{time.perf_counter() - began:.0f} s in all; {options.workers} workers, {SPACE.points:,} points")
    print(f"proposal, median: {1000 * median:.0f} ms (aim {1000 * AIM:.0f}): {'met' if median < AIM else 'MISSED'}")
    print(f"driver's memory: {gibibytes:.2f} GiB (aim {MEMORY_AIM:g}): {'met' if gibibytes < MEMORY_AIM else 'MISSED'}")


if __name__ == "__main__":
    main()
