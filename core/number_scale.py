"""Number fields as inputs of linear models and networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.fields import NUMBERS

Floats = NDArray[np.float64]
_CLIP = 4.0
_RARE_FIELD = 0.01


@dataclass(frozen=True)
class NumberScale:
    """Number fields as inputs of linear models: signed log1p, standardised and clipped, each beside a flag `not there`."""

    fields: list[str]
    means: Floats
    spreads: Floats

    def apply(self, fields: pd.DataFrame) -> Floats:
        """(n, 2 * number of fields); a missing number is 0 with its flag 1."""
        scaled = (_signed_log(fields[self.fields].to_numpy(np.float64)) - self.means) / self.spreads
        missing = np.isnan(scaled)
        return np.hstack([np.clip(np.where(missing, 0.0, scaled), -_CLIP, _CLIP), missing.astype(np.float64)])


def learn_scale(fields: pd.DataFrame) -> NumberScale:
    """The scale of the fields that stand in at least 1% of the rows (and in two)."""
    values = fields[list(NUMBERS)].to_numpy(np.float64)
    there = (~np.isnan(values)).sum(axis=0)
    names = [name for name, count in zip(NUMBERS, there, strict=True) if count >= max(2, _RARE_FIELD * len(values))]
    logs = _signed_log(fields[names].to_numpy(np.float64))
    spreads = np.nanstd(logs, axis=0)
    return NumberScale(names, np.nanmean(logs, axis=0), np.where(spreads > 1e-6, spreads, 1.0))


def _signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))
