"""How long batches take, and so how many rows the next one should have."""

from __future__ import annotations

import numpy as np

WORK_SECONDS = 1.0
"""A batch is no more work than this, as far as is known: who comes next must wait for it."""
FIRST_ROWS = 8
"""Of a batch before anything is known."""
_MEMORY = 0.9
_ALIKE = 0.25
"""Squared rows. Where sizes vary less, it cannot be told what a batch costs whatever its size, and larger ones are tried."""


class Pace:
    """Learns `seconds = fixed + each * rows` by least squares over the last batches, older ones counting less and less."""

    def __init__(self) -> None:
        self._sums = np.zeros(5)  # of weights, rows, rows squared, seconds, rows times seconds

    def told(self, rows: int, seconds: float) -> None:
        """One batch of one process."""
        self._sums = _MEMORY * self._sums + np.array([1.0, rows, rows * rows, seconds, rows * seconds])

    @property
    def rows(self) -> int:
        """The most rows of a batch, at least 1.

        As many as take WORK_SECONDS; more where most of the time goes by whatever their number, for then single rows would
        cost nearly as much: so many that rows cost as much as all that is fixed.
        """
        if not self._sums[0]:
            return FIRST_ROWS
        fixed, each = self._line()
        best = max(WORK_SECONDS - fixed, fixed) / each
        if self._spread() < _ALIKE:
            best = max(best, 2 * self._means()[0])
        return max(1, int(min(best, 1e6)))

    @property
    def rate(self) -> float:
        """Rows a second of one process that computes batches of that size; 0 where nothing is known."""
        if not self._sums[0]:
            return 0.0
        fixed, each = self._line()
        return self.rows / (fixed + each * self.rows)

    def _means(self) -> tuple[float, float]:
        """Of rows and of seconds."""
        weight, rows, _, seconds, _ = self._sums.tolist()
        return rows / weight, seconds / weight

    def _spread(self) -> float:
        """Variance of the batches' rows."""
        return float(self._sums[2] / self._sums[0]) - self._means()[0] ** 2

    def _line(self) -> tuple[float, float]:
        """(fixed, each), neither negative; each above 0. Batches of one size count as proportional to their rows."""
        rows, seconds = self._means()
        proportional = max(seconds / rows, 1e-9)
        if self._spread() < _ALIKE:
            return 0.0, proportional
        slope = float(self._sums[4] / self._sums[0] - rows * seconds) / self._spread()
        each = min(max(slope, proportional / 100), proportional)
        return max(0.0, seconds - each * rows), each
