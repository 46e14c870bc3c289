"""Job worker: trains one job in a worker process, evaluates it on held-out rows, keeps its model."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from core.architectures import architecture
from core.atomic_files import read_json, write_json
from core.cache import Cache
from core.data.price_scale import metrics_in_units
from core.errors import OutOfTime
from core.hardware import usable_cores
from core.metrics import all_metrics, group_standard_error, smape_terms
from core.protocols.architecture import ALONE, Architecture, Context, Group, Model, PeerLost, Report, make_config
from core.store.oof_store import FoldFit, MemberKey, write_prices
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobKind, JobOutcome
from experiments.common.memory import PeakMemory
from experiments.execution.checkpoint_mirror import mirrored
from experiments.search.trial_selection import steady


def trial_path(workspace: Workspace, name: str) -> Path:
    """Path of the record of a finished trial of that config; complete if it exists."""
    return workspace.path("trials", name, "trial.json")


def read_trial(workspace: Workspace, name: str) -> JobOutcome | None:
    """The outcome of the finished trial of that config, in whichever study it ran, or None."""
    path = trial_path(workspace, name)
    if not path.exists():
        return None
    record: dict[str, Any] = read_json(path)
    return JobOutcome(
        record["metrics"], record["best_epoch"], record["seconds"], False, record["steady"], record["standard_error"]
    )


def holdout_path(workspace: Workspace, name: str) -> Path:
    """Path of a finished trial's prices of the holdout fold; exists if the trial does."""
    return workspace.path("trials", name, "holdout.parquet")


def member_key(workspace: Workspace, kind: Architecture, settings: Mapping[str, Any], seed: int) -> MemberKey:
    """Key of the member that a config would train here: equal configs after defaults have equal keys."""
    config, facts = make_config(kind.Config, settings), workspace.facts
    return MemberKey(kind.name, config.canonical(), kind.identity(config), facts.catalog, facts.folds, seed)


def refit_settings(kind: Architecture, settings: Mapping[str, Any], best_epoch: int) -> dict[str, Any]:
    """Settings of the member that follows from a trial: its epochs come from the search."""
    refit: dict[str, Any] = kind.refit_config(make_config(kind.Config, settings), best_epoch).model_dump(mode="json")
    return refit


def scratch_folder(workspace: Workspace, job: Job) -> Path:
    """Folder of the states that a training keeps until it has ended."""
    return workspace.path("trials", job.folder)


def run_job(
    job: Job,
    report: Report,
    folder: Path,
    cache_limit: int | None = None,
    storage_path: str | None = None,
    *,
    group: Group = ALONE,
    device: str = "",
) -> JobOutcome:
    """Trains `job` on the workspace in `folder`; its artifacts are complete or absent. cache_limit: see `Workspace.cache`.
    storage_path: folder or URL for copies of its checkpoints (`experiments.execution.checkpoint_mirror`).

    A training that is stopped from outside, or runs out of time, leaves its checkpoints: it goes on from them if it is run again.
    The processes of a group all run the same job; the first of them writes, and its outcome counts. device: this process's own,
    where it is not the job's.
    """
    job = replace(job, device=device or job.device, threads=min(job.threads, usable_cores()))
    workspace = _open(folder)
    scratch = scratch_folder(workspace, job)
    try:
        with mirrored(storage_path if group.leads else None, job, scratch), PeakMemory() as peak:
            outcome = _run(job, workspace, workspace.cache(cache_limit), report, scratch, group, peak)
    except (OutOfTime, PeerLost):
        raise
    except Exception:
        if group.leads:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    if group.leads:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcome


def _run(
    job: Job, workspace: Workspace, cache: Cache, report: Report, scratch: Path, group: Group, peak: PeakMemory
) -> JobOutcome:
    start = time.monotonic()
    epochs: list[dict[str, float]] = []

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        shown = metrics_in_units(metrics, workspace.facts.scale)
        epochs.append({"epoch": epoch, **shown})
        report(epoch, shown)

    kind, is_trial = architecture(job.architecture), job.kind == JobKind.TRIAL
    rows, held_out = workspace.folds.split(job.fold)
    train, valid = workspace.train.take(rows), workspace.train.take(held_out)
    context = Context(
        job.seed, cache, scratch, job.device, job.threads, report=on_epoch, deadline=job.deadline, group=group
    )
    model = kind.train(train, valid if is_trial else None, make_config(kind.Config, job.settings), context)
    threadpool_limits(job.threads)  # predictions, too, by libraries that this training has loaded
    (cut,) = group.decide(kind.stops_on_valid and context.out_of_time)  # the other architectures finish or raise
    prices = model.predict(valid.without_prices())
    metrics = metrics_in_units(all_metrics(valid.known_prices, prices), workspace.facts.scale)
    name = _fit_name(job, kind, workspace, model, metrics["smape"], cut)
    if name is not None:
        test = model.predict(workspace.test)
        if group.leads:
            model.save(workspace.store.fold_folder(name, job.fold))
            seconds = time.monotonic() - start
            quantiles = [model.predict_quantiles(rows) for rows in (valid.without_prices(), workspace.test)]
            workspace.store.write_fit(name, FoldFit(job.fold, prices, test, seconds, *quantiles))
    curve = [each["smape"] for each in epochs]
    smoothing = steady(curve) - min(curve) if is_trial and curve else 0.0
    error = group_standard_error(smape_terms(valid.known_prices, prices), valid.product_groups)
    outcome = JobOutcome(
        metrics, model.best_epoch, time.monotonic() - start, cut,
        steady=metrics["smape"] + smoothing, standard_error=error if math.isfinite(error) else None, memory=peak.bytes,
    )  # fmt: skip
    if is_trial and not cut and group.leads:
        record = {
            "architecture": job.architecture, "settings": job.settings, "seed": job.seed, **vars(outcome),
            "device": job.device, "rows": len(train), "epochs": epochs,
        }  # fmt: skip
        write_prices(holdout_path(workspace, job.name), prices)
        write_json(trial_path(workspace, job.name), record)
    return outcome


def _fit_name(job: Job, kind: Architecture, workspace: Workspace, model: Model, smape: float, cut: bool) -> str | None:
    """The member whose fold this training is, or None if it is none.

    A good trial is one: the member that would follow from it trains on the same rows for as many epochs as were best, and ends
    with the very weights that the trial has kept. They are not trained twice.
    """
    if job.kind == JobKind.FIT:
        return job.name
    if cut or (job.keep_below is not None and smape >= job.keep_below):
        return None
    return member_key(workspace, kind, refit_settings(kind, job.settings, model.best_epoch), job.seed).id


@lru_cache(maxsize=1)
def _open(folder: Path) -> Workspace:
    """Workspace of this worker, whose catalog is read once, not once per trial."""
    return Workspace(folder)
