"""A price for a member that does not answer: the nearest answering member's, moved by their usual distance.

Near is who differs least out of fold, after the median difference in log price is taken off. Where members of several qualities
are in a stack this is far better than the median of all others, which fills holes that are few (`ensemble.matrix.screening_checks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.arrays import Floats
from core.fields.field_table import load_arrays, save_arrays


@dataclass(frozen=True, eq=False)
class Distances:
    """Of m members from each other in log price.

    offsets: (m, m) median of row's less column's. apart: (m, m) mean absolute deviation from it.
    """

    offsets: Floats
    apart: Floats

    def fill(self, given: Floats) -> Floats:
        """(n, m) prices without the NaN of (n, m), of which no row may be all NaN."""
        filled = given.copy()
        for member in np.flatnonzero(np.isnan(given).any(axis=0)):
            for other in np.argsort(self.apart[member], kind="stable"):
                rows = np.isnan(filled[:, member]) & ~np.isnan(given[:, other])
                filled[rows, member] = given[rows, other] * np.exp(self.offsets[member, other])
        return filled

    def save(self, path: Path) -> None:
        save_arrays(path, {"offsets": self.offsets, "apart": self.apart})


def measure(oof: Floats) -> Distances:
    """From prices (n, m) out of fold."""
    logs = np.log(oof)
    offsets, apart = np.zeros((2, logs.shape[1], logs.shape[1]))
    for place, column in enumerate(logs.T):
        differences = column[:, None] - logs
        offsets[place] = np.median(differences, axis=0)
        apart[place] = np.abs(differences - offsets[place]).mean(axis=0)
    return Distances(offsets, apart)


def load_distances(path: Path) -> Distances:
    """Reads back what `Distances.save` wrote."""
    return Distances(**load_arrays(path))
