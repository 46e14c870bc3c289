"""How a sweep begins and ends, for `sweep.json` and for JSON events."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence

from core.store.workspace import Workspace
from experiments import STARTED
from experiments.common.options import Options
from experiments.planning.budget import Budget
from experiments.planning.job_scheduler import Portfolio
from experiments.planning.search_state import Entry
from experiments.search.storage import without_password
from experiments.tracking.json_events import SCHEMA, Events
from experiments.tracking.sweep_record import Record, here


def record_of(workspace: Workspace, options: Options, entries: Sequence[Entry], budget: Budget) -> Record:
    """What `experiments.status` tells of this sweep. Holds no password."""
    return Record(
        **here(),
        start=budget.start,
        end=budget.end,
        folds=workspace.folds.k,
        storage=without_password(options.storage or ""),
        tracking=without_password(options.tracking or ""),
        studies={entry.name: entry.study.name for entry in entries},
        trials={entry.name: entry.trials for entry in entries},
        members=options.wanted_members,
        command=shlex.join(["python", "-m", "experiments.sweep", *map(without_password, sys.argv[1:])]),
        options={
            "minutes": options.minutes, "sampler": "grid" if options.grid else options.sampler, "pruner": options.pruner,
            "seed": options.seed, "set": list(options.settings), "address": options.address,
        },
    )  # fmt: skip


def say_start(events: Events, workspace: Workspace, record: Record) -> None:
    shown = {name: value for name, value in vars(record).items() if name not in ("state", "ended", "error")}
    events.write("sweep_started", schema=SCHEMA, workspace=str(workspace.folder), **shown)


def say_end(events: Events, state: str, workspace: Workspace, portfolio: Portfolio) -> None:
    best = {name: ranking[0].smape for name, entry in portfolio.entries.items() if (ranking := entry.study.ranking())}
    counts = {name: entry.study.counts() for name, entry in portfolio.entries.items()}
    seconds = round(time.time() - STARTED, 3)
    members = workspace.store.complete()
    events.write("sweep_ended", state=state, seconds=seconds, counts=counts, best=best, members=members)
