"""Text of a sweep's plan before it starts, and of its results and next steps after it has ended."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.cache import Cache, size_text
from core.console import console, say
from core.data.price_scale import UNSCALED
from core.errors import UserError
from core.formatting import describe, duration, metrics_text, plain_table, written_out
from core.store.workspace import Workspace
from experiments.execution.ray_pool import Resources
from experiments.planning.budget import TIME_MARGIN, SweepLimits, makespan
from experiments.planning.job_scheduler import JobScheduler
from experiments.planning.setup import ArchitecturePlan
from experiments.search.storage import without_password
from experiments.search.trial_selection import Finished
from experiments.sweep_config import SweepConfig
from experiments.tracking.mlflow_log import tracking_uri

START_SECONDS = 6.0
"""From the plan to the first training: Ray, the studies and the run log start meanwhile."""


def forecast(seconds: Mapping[str, float], trainings: int, limits: SweepLimits, now: float) -> Iterator[str]:
    """Lines of a plan with a time limit, in order. seconds: of one training by architecture; trainings: of one member."""
    budget = limits.budget
    left = max(0.0, budget.left(now) - START_SECONDS)
    yield f"{duration(left)} for trainings, {budget.concurrent} at once; {duration(budget.closing)} are kept for report and stack"
    number, later = 0, list[str]()
    opening = [name for name, each in seconds.items() if limits.small_data_members or budget.opens(each, trainings)]
    for name in sorted(seconds, key=lambda name: (name not in opening, seconds[name])):
        member = makespan((), [seconds[name]] * trainings, budget.concurrent)
        one = f"about {duration(seconds[name])} a training"
        if TIME_MARGIN * member > left:
            yield f"not started: {name}, {one}; a member of {trainings} would take {duration(member)}"
            continue
        if name in opening:
            number += 1
            left -= member
            yield f"{number}. {name}, its documented best as a member at once: {trainings} trainings, {one}, {duration(member)}"
        else:
            later.append(f"{name} ({one}; a member would take {duration(member)})")
    cheapest = min(makespan((), [each] * trainings, budget.concurrent) for each in seconds.values())
    further = int(left / (TIME_MARGIN * cheapest))
    if later:
        number += 1
        yield f"{number}. where their rate of gain is the highest: {', '.join(later)}"
    wanted = limits.small_data_members
    if wanted is not None:
        last = f"their other documented points, then the same with other seeds, until each has {wanted} members"
    else:
        last = "whatever is expected to lower the stack's SMAPE most per second"
    yield f"{number + 1}. {last}: {duration(left)}, enough for {further} more members of the cheapest kind"


def show_plan(
    workspace: Workspace,
    found: Sequence[ArchitecturePlan],
    config: SweepConfig,
    share: Resources,
    cache: Cache,
    limits: SweepLimits,
) -> None:
    """Prints the catalog's facts, each architecture's encoders, space and plan, the estimated time, and limits.

    With a time limit also the steps in their order.
    """
    facts, train, budget, memory = workspace.facts, workspace.train, limits.budget, limits.memory
    prices = workspace.train_in_units.known_prices
    low, high = written_out(prices.min(), 12), written_out(prices.max(), 12)
    scaled = f", divided by {written_out(facts.scale)} in training" if facts.scale != UNSCALED else ""
    say(
        f"catalog: {len(train):,} training rows, {len(workspace.test):,} test rows, prices {low} to {high}{scaled}; "
        f"{facts.k} folds ({facts.fold_mode}); {'images' if facts.images else 'no images'}"
    )
    say(
        f"same product in train: {facts.overlap['test']:.0%} of test rows, {facts.overlap['random']:.0%} of a random "
        f"fold's rows, {facts.overlap['folds']:.0%} of these folds' rows"
    )
    for each in found:
        for note in (*each.resolution.notes, *each.idle_settings()):
            say(f"{each.name}: {note}")
    total = _show_table(found, facts.k, share)
    workers = f"{share.workers} workers per trial, " if share.workers > 1 else ""
    say(
        f"{share.concurrent} at once, {workers}{share.cpus:g} cores and {share.gpus:g} GPUs each{_without_gpu(found, share)}; "
        + (f"about {duration(total)}" if budget.end is None else f"--minutes {config.budget.minutes:g} is the limit")
    )
    for line in passes(found, share):
        say(line)
    if share.concurrent < (config.resources.max_concurrent or 0):
        say(
            f"fewer at once than --max-concurrent {config.resources.max_concurrent}: each thread needs a core of its own"
        )
    if budget.end is not None:
        for line in forecast({each.name: each.estimate for each in found}, facts.k, limits, time.time()):
            say(f"plan: {line}")
    if memory.limit is not None:
        say(
            f"memory: at most {size_text(memory.limit)} ({'what is free; ' if config.resources.memory is None else ''}--memory)"
        )
        for each in found:
            if not memory.fits(each.name):
                say(f"{each.name}: {memory.sentence(each.name)}")
    assert cache.limit is not None, "a workspace's cache has a limit"
    default = "half of the free disk; --cache-limit" if config.resources.cache_limit is None else "--cache-limit"
    say(f"cache: {cache.folder}, at most {size_text(cache.limit)} ({default})")


def _without_gpu(found: Sequence[ArchitecturePlan], share: Resources) -> str:
    names = [each.name for each in found if share.gpus and not each.kind.uses_gpu(each.settings(each.space.best))]
    return f" ({' and '.join(names)}: no GPU)" if names else ""


def passes(found: Sequence[ArchitecturePlan], share: Resources) -> Iterator[str]:
    """Lines on the largest pass of each network through its share of a GPU, where both are known."""
    for each in found:
        size = int(each.gpu_memory * min(1.0, share.gpus))
        expected = each.kind.estimate_pass(each.config(each.space.best), size) if size else None
        if expected is None:
            continue
        whole = f"{size / 2**30:.0f} GiB"
        if not expected.tokens:
            yield (
                f"{each.name}: not one row of {expected.row:,} tokens fits into {whole} of the GPU; lower max_length, "
                "or keep the encoder's weights (--set freeze_text=true)"
            )
            continue
        halved = f"; training begins with {expected.first:,} and halves them to {expected.found:,}"
        yield (
            f"{each.name}: {expected.tokens:,} tokens a pass, {expected.memory / 2**30:.1f} of {whole} (estimated"
            f"{halved if expected.found < expected.first else ''})"
        )


def _show_table(found: Sequence[ArchitecturePlan], folds: int, share: Resources) -> float:
    """Prints a line for each architecture; returns the estimated seconds of all."""
    table = plain_table("architecture", "space", "points", "trials", "members", "estimate", "memory", left=2)
    total = 0.0
    for each in found:
        trials, members = each.trials or 1, each.members or 1
        seconds = each.estimate * (trials + members * folds) / share.concurrent
        total += seconds
        wanted = ["as time allows" if count is None else str(count) for count in (each.trials, each.members)]
        table.add_row(
            each.name,
            each.space.source,
            "endless" if math.isinf(each.space.points) else f"{each.space.points:,}",
            *wanted,
            duration(seconds),
            size_text(each.memory),
        )
    console.print(table)
    return total


def show_outcome(workspace: Workspace, scheduler: JobScheduler) -> None:
    """Prints trials by state with the best config, every member of the workspace, what was left out, and errors grouped."""
    for line in scheduler.left_out():
        say(f"left out: {line}", style="yellow")
    table = plain_table("architecture", "trials", "SMAPE, holdout", "best config", left=2)
    for search in scheduler.searches.values():
        counts = " ".join(f"{state.lower()} {count}" for state, count in search.study.counts().items())
        best = search.study.ranking()[:1]
        config = "".join(describe(each.searched) for each in best)
        table.add_row(search.name, counts or "none", "".join(map(_smape, best)), config)
    console.print(table)
    for name in workspace.store.complete():
        say(f"member {name}  {metrics_text(workspace.store.read(name).record['metrics'])}")
    for search in scheduler.searches.values():
        for text, count in search.failures.errors.most_common(3):
            say(f"{search.name}: {count}x {text.strip()}", style="red")


def _smape(trial: Finished) -> str:
    spread = "" if trial.standard_error is None else f" ± {trial.standard_error:.2f}"
    return f"{trial.smape:.2f}{spread}"


def storage_url(workspace: Workspace, given: str | None) -> str:
    """URL of the studies' storage, as `optuna-dashboard` takes it."""
    return given or f"sqlite:///{workspace.path('optuna.db')}"


def show_next_steps(
    workspace: Workspace, scheduler: JobScheduler, config: SweepConfig, page: Path, seconds: float
) -> None:
    """Prints the commands that follow. Raises UserError for a sweep without a member."""
    say(f"report:    {page}")
    if not workspace.store.complete():
        failed = any(search.failures.errors for search in scheduler.searches.values())
        more = "give more time with --minutes"
        raise UserError(
            f"no member came out of this sweep ({seconds:.0f} s)",
            code="sweep-without-member",
            hint=f"mend the errors above, or {more}" if failed else more,
        )
    say(
        f"watch:     python -m experiments.dashboard --workspace {workspace.folder}    (trials and runs in the browser)"
    )
    say(f"trials:    {without_password(storage_url(workspace, config.search.storage))}")
    say(f"run log:   {without_password(tracking_uri(workspace, config.tracking.uri))}")
    say(f"{seconds:.0f} s. Next: python -m ensemble.stack --workspace {workspace.folder}", style="bold")
