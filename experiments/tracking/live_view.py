"""Live view of a running sweep: a table on a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.console import warn
from core.formatting import describe, headline, metrics_text
from experiments.common.jobs import Job, JobOutcome, RunCallback, StopReason
from experiments.planning.budget import Budget


@dataclass
class _Row:
    job: Job
    started: float
    epoch: int = 0
    smape: float | None = None
    best: float | None = None


@dataclass
class _Tally:
    finished: int = 0
    pruned: int = 0
    failed: int = 0
    members: int = 0
    best: float | None = None


@dataclass
class LiveView(RunCallback):
    """Callback that prints a table or lines. Use as a context manager around the run."""

    console: Console
    budget: Budget
    plan: Mapping[str, int | None]
    rows: dict[tuple[str, int], _Row] = field(default_factory=dict)
    tallies: dict[str, _Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tallies = {name: _Tally() for name in self.plan}
        # Twice a second is smooth enough to watch and cheap enough to leave both cores to the training.
        self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> LiveView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, job: Job) -> None:
        self.rows[job.name, job.fold] = _Row(job, time.time())
        self._line(f"{job.label} started  {describe(job.searched)}")

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        row = self.rows[job.name, job.fold]
        row.epoch, row.smape = epoch, metrics["smape"]
        row.best = min(metrics["smape"], row.best if row.best is not None else float("inf"))
        if job.epochs > 1:
            self._line(f"{job.label} epoch {epoch}/{job.epochs}  SMAPE {metrics['smape']:.2f}  best {row.best:.2f}")

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        tally = self._end(job)
        if job.kind == "trial":
            tally.finished += 1
            tally.best = min(outcome.metrics["smape"], tally.best if tally.best is not None else float("inf"))
        cut = "  (cut by the deadline)" if outcome.cut else ""
        self._say(f"{job.label} done  {metrics_text(outcome.metrics)}  {outcome.seconds:.1f} s{cut}", "green")

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        self._end(job).pruned += 1
        why = f"SMAPE {smape:.2f} is not promising" if reason is None else reason.sentence
        self._say(f"{job.label} stopped after epoch {epoch}: {why}", "dim")

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        self._end(job).failed += 1
        self._say(f"{job.label} failed: {headline(error)}", "red")

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        self.tallies[record["architecture"]].members += 1
        self._say(f"member {name} complete  {metrics_text(record['metrics'])} out of fold", "bold green")

    def note(self, text: str) -> None:
        self._say(text, "yellow")

    def render(self) -> RenderableType:
        table = Table(expand=False, box=None, pad_edge=False)
        for column in ("running", "config", "epoch", "SMAPE", "best", "seconds"):
            table.add_column(column, justify="left" if column in ("running", "config") else "right")
        for row in list(self.rows.values()):
            epochs = f"{row.epoch}/{row.job.epochs}" if row.job.epochs > 1 else ""
            values = [f"{value:.2f}" if value is not None else "" for value in (row.smape, row.best)]
            seconds = f"{time.time() - row.started:.0f}"
            table.add_row(row.job.label, describe(row.job.searched), epochs, *values, seconds)
        return Group(table, *(Text(line) for line in self._summary()))

    def _summary(self) -> list[str]:
        lines = []
        for name, tally in self.tallies.items():
            wanted = self.plan[name]
            best = f"best {tally.best:.2f}" if tally.best is not None else "no result yet"
            of = f" of {wanted}" if wanted is not None else ""
            lines.append(
                f"{name}: {tally.finished + tally.pruned}{of} trials ({tally.pruned} stopped, {tally.failed} failed), "
                f"{tally.members} members, {best}"
            )
        elapsed = time.time() - self.budget.start
        left = "" if self.budget.end is None else f", {max(0.0, self.budget.end - time.time()):.0f} s left"
        return [*lines, f"{elapsed:.0f} s{left}; Ctrl-C stops in order, the same command goes on"]

    def _end(self, job: Job) -> _Tally:
        del self.rows[job.name, job.fold]
        return self.tallies[job.architecture]

    def _say(self, text: str, style: str) -> None:
        """A line that stays: above the table on a terminal, in the log elsewhere."""
        self.console.print(f"{time.time() - self.budget.start:6.0f} s  {text}", style=style, soft_wrap=True)

    def _line(self, text: str) -> None:
        """A line that the table shows better."""
        if not self.console.is_terminal:
            self._say(text, "default")


class WarningsOnly(RunCallback):
    """Callback for `--quiet`: prints failures and notes."""

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        warn(f"{job.label} failed: {headline(error)}")

    def note(self, text: str) -> None:
        warn(text)
