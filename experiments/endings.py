"""What follows when a training will not go on: nobody needs its states any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.common.jobs import Job, Outcome
from experiments.search.study import INTERRUPTED


class Endings:
    """A listener that has states removed once their training will not go on."""

    def __init__(self, remove: Sequence[Callable[[Job], None]]) -> None:
        self._remove = remove
        self._stopped: list[Job] = []

    def started(self, job: Job) -> None: ...
    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None: ...
    def member(self, name: str, record: Mapping[str, Any]) -> None: ...
    def note(self, text: str) -> None: ...

    def finished(self, job: Job, outcome: Outcome) -> None:
        self._end(job)

    def pruned(self, job: Job, epoch: int, smape: float) -> None:
        self._stopped.append(job)
        self._end(job)

    def failed(self, job: Job, error: str) -> None:
        if error != INTERRUPTED:
            self._end(job)

    def _end(self, job: Job) -> None:
        for remove in self._remove:
            remove(job)

    def settle(self) -> None:
        """Once nothing runs: a training that was stopped from outside may have been copying its state at that moment."""
        for job in self._stopped:
            self._end(job)
