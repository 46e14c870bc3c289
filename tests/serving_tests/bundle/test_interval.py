from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.matrix.level_one import Rows
from ensemble.methods.smape_minimizer import Conditional
from ensemble.pipeline.serialization import load, save
from serving.bundle.interval import LEVEL, bounds, fit_interval, width


def noisy(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, Rows]:
    """(combined, true, rows) where two members disagree as much as both err."""
    rng = np.random.default_rng(seed)
    true, size = np.exp(rng.normal(3, 1, rows)), rng.uniform(0.05, 0.8, rows)
    logs = np.log(true)[:, None] + size[:, None] * rng.normal(0, 1, (rows, 2))
    return np.exp(logs.mean(axis=1)), true, Rows(np.exp(logs), np.empty((rows, 0)))


def test_coverage_is_the_nominal_one_and_intervals_are_wide_where_members_disagree(tmp_path: Path) -> None:
    combined, true, rows = noisy(4_000, 0)
    fitted, quality = fit_interval(combined, true, rows, np.arange(4_000) % 5)
    assert quality.coverage == pytest.approx(LEVEL, abs=0.03)
    combined, true, rows = noisy(4_000, 1)
    ends = bounds(fitted, combined, rows)
    assert ((ends[:, 0] <= true) & (true <= ends[:, 1])).mean() == pytest.approx(LEVEL, abs=0.03)
    apart = np.abs(np.diff(rows.logs, axis=1))[:, 0]
    wide = np.log(ends[:, 1] / ends[:, 0])
    assert wide[apart > np.quantile(apart, 0.9)].mean() > 2 * wide[apart < np.quantile(apart, 0.1)].mean()
    save(fitted, tmp_path)
    assert np.array_equal(bounds(load(tmp_path, Conditional), combined, rows), ends)


def test_stretching_widens_it_around_the_price() -> None:
    combined, true, rows = noisy(400, 0)
    fitted, _ = fit_interval(combined, true, rows, np.arange(400) % 2)
    once, twice = (bounds(fitted, combined, rows, stretch) for stretch in (1.0, 2.0))
    assert width(twice) == pytest.approx(2 * width(once))
    assert ((twice[:, 0] <= combined) & (combined <= twice[:, 1])).all()


def test_one_price_for_all_is_covered_despite_its_last_bits() -> None:
    true = np.full(60, 9.99)
    combined = true * (1 + 1e-13)
    _, quality = fit_interval(
        combined, true, Rows(np.column_stack([combined] * 2), np.empty((60, 0))), np.arange(60) % 3
    )
    assert quality.coverage == 1.0
