"""Seeded matrices without leaks of log prices: what the checks must let pass."""

from __future__ import annotations

import numpy as np

from core.arrays import Floats

KINDS = 6
FOLD_MODELS = 5


def clean_members(seed: int) -> tuple[Floats, Floats]:
    """((n, m), (t, m)) log prices of 3 to 25 members on 200 to 5,000 rows and about as many test rows.

    Errors are shared in part by all and by families, larger on difficult rows, and biased by kind; every sixth member knows two
    kinds only. Test prices are averages of five fold models, so they have less noise. The test rows have somewhat other kinds,
    prices and difficulties.
    """
    rng = np.random.default_rng(seed)
    rows, members = int(np.exp(rng.uniform(np.log(200), np.log(5000)))), int(rng.integers(3, 26))
    count = rows + int(rows * rng.uniform(0.2, 1.5))
    test = np.arange(count) >= rows
    shares = rng.dirichlet(np.full(KINDS, 4.0))
    others = shares * np.exp(rng.normal(0, 0.2, KINDS))
    kind = np.where(test, rng.choice(KINDS, count, p=others / others.sum()), rng.choice(KINDS, count, p=shares))
    centres = rng.normal(2.65, 0.6, KINDS)
    logs = centres[kind] + rng.normal(0, 0.8, count) + test * rng.normal(0, 0.1)
    hard = np.exp(rng.normal(-0.12, 0.5, count)) * np.where(test, rng.uniform(0.9, 1.15), 1.0)
    shared, families = rng.standard_t(5, count) * 0.22, rng.standard_t(5, (3, count)) * 0.2
    columns = []
    for place in range(members):
        error = shared + families[place % 3] + rng.standard_t(5, count) * rng.uniform(0.05, 0.5)
        fits = rng.normal(0, rng.uniform(0.02, 0.4), (count, FOLD_MODELS))
        noise = hard * np.where(test, fits.mean(axis=1), fits[:, 0])
        column = logs - rng.uniform(0, 0.15) * (logs - 2.65) + hard * error + rng.normal(0, 0.18, KINDS)[kind]
        if place % 6 == 5:
            known = rng.choice(KINDS, 2, replace=False)
            home = centres[known].mean()
            inside = logs + hard * rng.standard_t(5, count) * 0.14
            column = np.where(np.isin(kind, known), inside, home + 0.45 * (logs - home) + hard * error)
        columns.append(column + noise + rng.normal(0, 0.1))
    table = np.column_stack(columns)
    return table[:rows], table[rows:]
