"""One job, run in a worker process: train, judge on the held-out rows, keep what is worth keeping."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.architectures import architecture
from core.architectures.base import Architecture, Context, Model, Prices, make_config
from core.cache import Cache
from core.catalog import Catalog
from core.files import read_json, write_json
from core.folds import HOLDOUT
from core.metrics import all_metrics
from core.predictions import Fit
from core.workspace import Workspace
from experiments.jobs import Job, Outcome

Report = Callable[[int, Mapping[str, float]], None]


def trial_path(workspace: Workspace, name: str) -> Path:
    """Where a finished trial of that config is written; complete if it is there."""
    return workspace.path("trials", name, "trial.json")


def read_trial(workspace: Workspace, name: str) -> Outcome | None:
    """The outcome of the finished trial of that config, in whichever study it ran, or None."""
    path = trial_path(workspace, name)
    if not path.exists():
        return None
    record: dict[str, Any] = read_json(path)
    return Outcome(record["metrics"], record["best_epoch"], record["seconds"])


def run_job(job: Job, report: Report, folder: Path, cache_limit: int | None = None) -> Outcome:
    """Trains `job` on the workspace in `folder`; what it leaves there is complete or absent. cache_limit: see `Workspace.cache`.

    A model that never looked at its validation rows is as honest on them as a member's fold model: an architecture
    with `stops_on_valid = False` has its trial kept as the member's fold, and nothing is trained twice.
    """
    workspace = _open(folder)
    scratch = workspace.path("trials", job.name, f"{job.kind}-{job.fold}")
    try:
        return _run(job, workspace, workspace.cache(cache_limit), report, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # checkpoints; also of a trial that its scheduler stops


def _run(job: Job, workspace: Workspace, cache: Cache, report: Report, scratch: Path) -> Outcome:
    start = time.monotonic()
    kind = architecture(job.architecture)
    rows, held_out = workspace.folds.split(job.fold)
    train, valid = workspace.train.take(rows), workspace.train.take(held_out)
    context = Context(job.seed, cache, scratch, job.device, job.threads, report=report, deadline=job.deadline)
    model = kind.train(train, valid if job.kind == "trial" else None, make_config(kind.Config, job.settings), context)
    cut = kind.stops_on_valid and context.out_of_time  # the others finish or raise
    prices = model.predict(valid.without_prices())
    if job.kind == "fit" or _may_serve_as_fit(kind, job):
        _keep_fit(workspace, job, model, valid, prices, start)
    metrics = all_metrics(valid.known_prices, prices)
    outcome = Outcome(metrics, model.best_epoch, time.monotonic() - start, cut)
    if job.kind == "trial" and not cut:
        record = {"architecture": job.architecture, "settings": job.settings, "seed": job.seed, **vars(outcome)}
        write_json(trial_path(workspace, job.name), record)
    return outcome


def _may_serve_as_fit(kind: Architecture, job: Job) -> bool:
    return not kind.stops_on_valid and job.fold == HOLDOUT


def _keep_fit(workspace: Workspace, job: Job, model: Model, valid: Catalog, prices: Prices, start: float) -> None:
    store = workspace.store
    model.save(store.fold_folder(job.name, job.fold))
    test = model.predict(workspace.test)
    fit = Fit(
        job.fold,
        prices,
        test,
        time.monotonic() - start,
        model.predict_quantiles(valid.without_prices()),
        model.predict_quantiles(workspace.test),
    )
    store.write_fit(job.name, fit)


@lru_cache(maxsize=1)
def _open(folder: Path) -> Workspace:
    """One worker reads its catalog once, not once per trial."""
    return Workspace(folder)
