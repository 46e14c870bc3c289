"""JSON events (`--json`): one object per line for everything that happens in a sweep; fields in docs/watching.md."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from core.formatting import headline
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, RunCallback, StopReason
from experiments.planning.job_scheduler import JobScheduler
from experiments.tracking.sweep_record import Record

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields and events may come without it."""


class Events(RunCallback):
    """Callback that writes one JSON line per event to `stream`, flushed at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout

    def started(self, job: Job) -> None:
        known = ("epochs", "searched", "differs", "settings") if job.kind == "trial" else ()
        self.write(f"{_thing(job)}_started", **_named(job), **{name: getattr(job, name) for name in known})

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self.write("epoch", **_named(job), epoch=epoch, **metrics)

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        ended = {"epoch": outcome.best_epoch, "seconds": round(outcome.seconds, 3), "cut": outcome.cut}
        self.write(f"{_thing(job)}_finished", **_named(job), state="COMPLETE", **ended, **outcome.metrics)

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        why = None if reason is None else asdict(reason)
        self.write("trial_stopped", **_named(job), state="PRUNED", epoch=epoch, smape=smape, reason=why)

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        failure = {"error": headline(error), "code": code, "details": error}
        self.write(f"{_thing(job)}_failed", **_named(job), state="FAIL", **failure)

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        kept = {key: record[key] for key in ("architecture", "seconds", "standard_error", "fold_smape")}
        self.write("member", member=name, **kept, **record["metrics"])

    def note(self, text: str) -> None:
        self.write("note", text=text)

    def write(self, event: str, **fields: Any) -> None:
        """One line: `time` (seconds since 1970), `event`, then the fields. What is not finite becomes null."""
        line = {"time": round(time.time(), 3), "event": event, **_finite(fields)}
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()


def _thing(job: Job) -> str:
    return "trial" if job.kind == "trial" else "fold"


def _named(job: Job) -> dict[str, Any]:
    place = {"trial": job.number, "config": job.name} if job.kind == "trial" else {"member": job.name, "fold": job.fold}
    return {"architecture": job.architecture, **place}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity, which a diverged training may well report."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def say_start(events: Events, workspace: Workspace, record: Record) -> None:
    shown = {name: value for name, value in vars(record).items() if name not in ("state", "ended", "error")}
    events.write("sweep_started", schema=SCHEMA, workspace=str(workspace.folder), **shown)


def say_end(events: Events, state: str, workspace: Workspace, scheduler: JobScheduler) -> None:
    studies = {name: search.study for name, search in scheduler.searches.items()}
    best = {name: ranking[0].smape for name, study in studies.items() if (ranking := study.ranking())}
    counts = {name: study.counts() for name, study in studies.items()}
    seconds, members = round(time.time() - scheduler.budget.start, 3), workspace.store.complete()
    events.write("sweep_ended", state=state, seconds=seconds, counts=counts, best=best, members=members)
