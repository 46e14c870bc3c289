"""Seeded synthetic prediction matrices, as competitions make them: input of ensembling.py.

Log prices are a mixture of kinds of product. A member's error in log price is a bias of its own, a bias for each kind, and noise
of which a part is shared by all members, a part by its family and the rest is its own, larger on difficult rows. A specialist
knows some kinds well and elsewhere says little more than its own kinds' typical price. Copies repeat a member with a little
noise. The leaked member has seen half the truth of the training rows, and none of the test rows'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Floats

KINDS = 8
FAMILIES = 4
SPECIALISTS = 5
COPIES = 3


@dataclass(frozen=True, eq=False)
class Generated:
    """oof (n, m) and prices (n,) to fit to, test (t, m) and truth (t,) to be judged by. leaked: that member's name, or None."""

    names: tuple[str, ...]
    oof: Floats
    prices: Floats
    test: Floats
    truth: Floats
    leaked: str | None


def generate(
    seed: int, rows: int = 75_000, members: int = 25, *, held_out: int = 25_000, kinds: bool = True, leak: bool = True
) -> Generated:
    """`members` members of SMAPE 33 to 60. kinds: whether there are specialists and biases by kind."""
    rng = np.random.default_rng(seed)
    count = rows + held_out
    kind = rng.choice(KINDS, count, p=rng.dirichlet(np.full(KINDS, 4.0)))
    centres = rng.normal(2.65, 0.6, KINDS)
    logs = centres[kind] + rng.normal(0.0, 0.8, count)
    hard = np.exp(rng.normal(-0.12, 0.5, count))
    shared = rng.standard_t(5, count) * 0.22
    families = rng.standard_t(5, (FAMILIES, count)) * 0.2

    def noise(family: int, spread: float) -> Floats:
        return hard * (shared + families[family] + rng.standard_t(5, count) * spread)

    columns, names = list[Floats](), list[str]()
    special = SPECIALISTS if kinds else 0
    plain = members - special - COPIES - int(leak)
    for place in range(plain):
        family = place % FAMILIES
        error = noise(family, rng.uniform(0.12, 0.6)) + rng.normal(0, 0.05)
        if kinds:
            error = error + rng.normal(0, 0.18, KINDS)[kind]
        pull = rng.uniform(0.0, 0.15)  # towards the mean, as every model that is unsure
        columns.append(logs - pull * (logs - 2.65) + error)
        names.append(f"family{family}-{place}")
    for place in range(special):
        known = rng.choice(KINDS, 2, replace=False)
        inside = np.isin(kind, known)
        home = centres[known].mean()
        outside = home + 0.45 * (logs - home) + noise(place % FAMILIES, 0.25)
        columns.append(np.where(inside, logs + hard * rng.standard_t(5, count) * 0.14, outside))
        names.append(f"specialist-{place}")
    for place, original in enumerate(rng.choice(len(columns), COPIES, replace=False)):
        columns.append(columns[original] + rng.normal(0, 0.01 * (place + 1), count))
        names.append(f"copy-{place}-of-{names[original]}")
    table = np.column_stack(columns)
    if leak:
        error = noise(0, 0.75)
        seen = np.arange(count) < rows
        table = np.column_stack([table, logs + np.where(seen, 0.5, 1.0) * error])
        names.append("leaked")
    order = rng.permutation(table.shape[1])
    prices, table = np.exp(logs), np.exp(table[:, order])
    shuffled = tuple(names[place] for place in order)
    return Generated(shuffled, table[:rows], prices[:rows], table[rows:], prices[rows:], "leaked" if leak else None)
