"""Scaling and spline features of number fields for linear models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.arrays import Floats
from core.fields import NUMBERS

_CLIP = 4.0
_RARE_FIELD = 0.01
_KNOTS = 8


@dataclass(frozen=True)
class NumberScale:
    """Number fields on one scale: signed log1p, standardised and clipped.

    fields: (f,) names. means, spreads: (f,) of the logarithms. knots: (f, k) rising values on that scale, NaN behind the last.
    """

    fields: list[str]
    means: Floats
    spreads: Floats
    knots: Floats

    def apply(self, fields: pd.DataFrame) -> Floats:
        """(n, 2 f): each number beside a flag `not there`; a missing number is 0 with its flag 1."""
        scaled = self._scaled(fields)
        missing = np.isnan(scaled)
        return np.hstack([np.where(missing, 0.0, scaled), missing.astype(np.float64)])

    def bent(self, fields: pd.DataFrame) -> Floats:
        """(n, f k): each number by the linear B-splines of its knots, zeros where it is missing.

        A model that is linear in these is piecewise linear in the number.
        """
        parts = [_splines(values, knots) for values, knots in zip(self._scaled(fields).T, self.knots, strict=True)]
        return np.hstack([np.zeros((len(fields), 0)), *parts])

    def _scaled(self, fields: pd.DataFrame) -> Floats:
        values = fields[self.fields].to_numpy(np.float64)
        return np.clip((_signed_log(values) - self.means) / self.spreads, -_CLIP, _CLIP)


def learn_scale(fields: pd.DataFrame, candidates: Sequence[str] = NUMBERS) -> NumberScale:
    """The scale of those candidates that stand in at least 1% of the rows (and in two); knots at quantiles."""
    values = fields[list(candidates)].to_numpy(np.float64)
    there = (~np.isnan(values)).sum(axis=0)
    names = [name for name, count in zip(candidates, there, strict=True) if count >= max(2, _RARE_FIELD * len(values))]
    logs = _signed_log(fields[names].to_numpy(np.float64))
    means, spreads = np.nanmean(logs, axis=0), np.nanstd(logs, axis=0)
    spreads = np.where(spreads > 1e-6, spreads, 1.0)
    scaled = np.clip((logs - means) / spreads, -_CLIP, _CLIP)
    knots = np.full((len(names), _KNOTS), np.nan)
    for place, column in enumerate(scaled.T):
        own = np.unique(np.nanquantile(column, np.linspace(0, 1, _KNOTS)))
        knots[place, : len(own)] = own
    return NumberScale(names, means, spreads, knots)


def _splines(values: Floats, knots: Floats) -> Floats:
    """(n, k) for values (n,): 1 at its own knot, falling to 0 at the next ones; beyond the last as on it."""
    out = np.zeros((len(values), len(knots)))
    own = knots[~np.isnan(knots)]
    known = np.flatnonzero(~np.isnan(values))
    if len(own) == 1:
        out[known, 0] = 1.0
    if len(own) < 2:
        return out
    inside = np.clip(values[known], own[0], own[-1])
    left = np.clip(np.searchsorted(own, inside, side="right") - 1, 0, len(own) - 2)
    share = (inside - own[left]) / (own[left + 1] - own[left])
    out[known, left], out[known, left + 1] = 1.0 - share, share
    return out


def _signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))
