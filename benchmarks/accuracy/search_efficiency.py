"""Benchmark of search efficiency: epochs to within 1% of a grid's best SMAPE; ours, random search, Optuna's TPE and the grid.

    python benchmarks/accuracy/search_efficiency.py

Replays the learning curves of benchmarks/data/grid_curves.jsonl (every point of a 216-point grid, really trained by
grid_curves.py) over 50 seeds, one trial at a time. Ours is the sweep's own study and scheduler: no repeats, hopeless trials
stopped. The peers have neither. An epoch counts as soon as it is trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import optuna
from grid_curves import GRID, read_curves
from ray.tune.schedulers import TrialScheduler

from experiments.common.jobs import JobOutcome
from experiments.execution.pruners import PerArchitecture
from experiments.search.study import Study, StudySettings

TOLERANCE = 1.01
Curves = Mapping[str, list[float]]
METRICS = {"mae": 0.0, "rmse": 0.0, "r2": 0.0}


def identify(point: Mapping[str, Any]) -> str:
    return json.dumps(dict(point), sort_keys=True)


@dataclass
class Count:
    """Epochs until the target was reached, and of how many trials."""

    target: float
    epochs: int = 0
    trials: int = 0

    def reached(self, value: float) -> bool:
        self.epochs += 1
        return value <= self.target


def plain(curves: Curves, target: float, sampler: optuna.samplers.BaseSampler) -> Count:
    """Optuna alone: every proposal is trained, repeats included, to its end."""
    study = optuna.create_study(sampler=sampler)
    choices = {key: optuna.distributions.CategoricalDistribution(values) for key, values in GRID.values.items()}
    count = Count(target)
    while True:
        trial = study.ask(choices)
        count.trials += 1
        curve = curves[identify(trial.params)]
        if any(count.reached(value) for value in curve):
            return count
        study.tell(trial, min(curve))


@dataclass
class Replayed:
    """What a scheduler needs to know of a trial."""

    trial_id: str
    config: dict[str, Any]


def ours(curves: Curves, target: float, seed: int, sampler: str = "tpe", pruner: str = "asha") -> Count:
    """The sweep's study and scheduler."""
    study = Study(
        f"replay-{seed}", GRID, optuna.storages.InMemoryStorage(), identify=identify, known=lambda _: None,
        settings=StudySettings(sampler, seed),
    )  # fmt: skip
    scheduler, longest = PerArchitecture(pruner), max(map(len, curves.values()))
    job = {"kind": "trial", "architecture": "text", "epochs": longest, "longest": longest}
    count = Count(target)
    while (proposal := study.ask()) is not None:
        count.trials += 1
        trial, curve = Replayed(str(proposal.number), {"job": job}), curves[proposal.name]
        scheduler.on_trial_add(None, trial)
        for epoch, value in enumerate(curve, 1):
            if count.reached(value):
                return count
            study.report(proposal.name, epoch, value)
            result = {"epoch": epoch, "smape": value}
            if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                study.prune(proposal.name, value)
                break
        else:
            scheduler.on_trial_complete(None, trial, result)
            best = min(curve)
            study.complete(proposal.name, JobOutcome({"smape": best, **METRICS}, curve.index(best) + 1, 1.0))
    return count


def replay(seeds: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = {identify(point): curve for point, curve in read_curves()}
    whole = sum(map(len, curves.values()))
    target = TOLERANCE * min(map(min, curves.values()))
    good = sum(min(curve) <= target for curve in curves.values())
    print(f"{len(curves)} points, {whole} epochs; best SMAPE {target / TOLERANCE:.2f}, {good} points within 1% of it")
    ways: dict[str, Callable[[int], Count]] = {
        "Pricestack": lambda seed: ours(curves, target, seed),
        "random search": lambda seed: plain(curves, target, optuna.samplers.RandomSampler(seed=seed)),
        "Optuna's TPE": lambda seed: plain(curves, target, optuna.samplers.TPESampler(seed=seed)),
    }
    medians = {}
    for name, way in ways.items():
        counts = [way(seed) for seed in range(seeds)]
        epochs = [count.epochs for count in counts]
        medians[name] = median(epochs)
        low, high = np.quantile(epochs, [0.1, 0.9])
        print(
            f"{name:14} {medians[name]:6.0f} epochs at the median, {low:.0f} to {high:.0f} for 80%; "
            f"{median(count.trials for count in counts):.0f} trials; {medians[name] / whole:.1%} of the grid"
        )
    print(f"the full grid  {whole:6.0f} epochs")
    peer = min(value for name, value in medians.items() if name != "Pricestack")
    print(f"Pricestack / best peer: {medians['Pricestack'] / peer:.2f} (aim: at most 0.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    replay(parser.parse_args().seeds)


if __name__ == "__main__":
    main()
