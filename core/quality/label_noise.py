"""Label noise detection: training prices that contradict same products, similar rows or out-of-fold predictions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer

from core.arrays import Floats, Ints
from core.atomic_files import atomic_path
from core.classical.linear import fit_ridge
from core.classical.target_encoding import DIMENSIONS, log_amounts
from core.classical.tfidf_inputs import learn_inputs
from core.data.catalog import ID, PRICE, Catalog, Strings
from core.data.folds import inner_folds
from core.data.near_duplicates import Links
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.fields import read_fields
from core.formatting import written_out
from core.metrics import robust_deviation

SAME = 0.9
"""Similarity from which two rows count as one product, as in the folds' overlap rates."""
NEIGHBOURS = 8
MIN_LABEL_ROWS = 50
"""With fewer rows there is no usual distance to be far beyond."""
_LOOKED_AT = 300
_LEAST_SPREAD = 0.2
_BEYOND = 3.0
_CONSENSUS = 5.0
_CONSENSUS_FACTOR = float(np.log(3))


def find_label_noise(train: Catalog, links: Links, words: Vocabulary) -> list[SuspectLabel]:
    """Conflicts and outliers among the training rows (with groups), the worst first.

    links: between these rows. words: of these rows, and maybe of others behind them. Seconds for 75,000 rows.
    """
    return worst_first([*find_conflicts(train, links), *find_outliers(train, words)])


def find_conflicts(train: Catalog, links: Links) -> list[SuspectLabel]:
    """Rows of one product (equal or nearly equal text, or picture) whose prices differ more than twofold.

    Where their amounts differ, the dearer price may be as many times higher as the amount is, and twofold beyond. Rows whose
    numbers differ without being amounts are other products.
    """
    logs = np.log(train.known_prices)
    cheap, dear = _extremes(links, logs)
    apart = logs[dear] - logs[cheap] > FACTOR
    cheap, dear = cheap[apart], dear[apart]
    amounts = _log_amounts(train, np.concatenate([cheap, dear]))
    partners: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for low, high in zip(cheap.tolist(), dear.tolist(), strict=True):
        more = float(_more(amounts[[high]], amounts[[low]])[0])
        if not re.search(r"\w", train.texts[low]):
            continue  # rows without a text are no one product
        if more == 0 and _numbers(train.texts[low]) != _numbers(train.texts[high]):
            continue
        if logs[high] - logs[low] > max(more, 0.0) + FACTOR:
            partners[low].append((high, -more))
            partners[high].append((low, more))
    return [_conflict(train, row, others) for row, others in partners.items()]


def find_outliers(train: Catalog, words: Vocabulary) -> list[SuspectLabel]:
    """Rows far from what a ridge regression on other products' rows expects, and as far from their nearest neighbours' prices.

    A neighbour of another amount may cost anything from its own price to that price in proportion to the amounts.
    """
    logs = np.log(train.known_prices)
    if len(logs) < MIN_LABEL_ROWS:
        return []
    matrix = word_matrix(words, len(train))
    if not matrix.shape[1]:
        return []
    residuals = logs - cross_fitted(matrix, logs, train.product_groups, seed=0)
    far = np.abs(robust_z(residuals))
    candidates = np.flatnonzero((far > FAR) & (np.abs(residuals) > FACTOR))
    candidates = candidates[np.argsort(-far[candidates], kind="stable")][:_LOOKED_AT]
    nearest = [nearest_rows(matrix, row)[0] for row in candidates.tolist()]
    amounts = _log_amounts(train, np.concatenate([candidates, *nearest]))
    found = []
    for row, near in zip(candidates.tolist(), nearest, strict=True):
        more = _more(amounts[[row]], amounts[near])
        expected = logs[near] + np.clip(logs[row] - logs[near], np.minimum(more, 0.0), np.maximum(more, 0.0))
        middle = float(np.median(expected))
        spread = max(robust_deviation(expected), _LEAST_SPREAD)
        distance = logs[row] - middle
        if abs(distance) > max(FACTOR, _BEYOND * spread):
            low, high = (float(np.exp(middle + side * _BEYOND * spread / 2)) for side in (-1, 1))
            reason = f"{_times(distance)} what the {len(near)} most similar rows cost"
            found.append(_finding(train, row, LabelNoise.OUTLIER, low, high, reason, near.tolist()))
    return found


def word_matrix(words: Vocabulary, rows: int) -> sp.csr_matrix:
    """(n, d) TF-IDF of the first n rows' words that stand in two rows at least; d may be 0."""
    inside = words.rows < rows
    table = sp.csr_matrix(
        (np.ones(inside.sum(), dtype=np.float32), (words.rows[inside], words.words[inside])),
        shape=(rows, max(len(words.names), 1)),
    )
    shared = table[:, table.getnnz(axis=0) > 1]
    return TfidfTransformer().fit_transform(shared).tocsr() if shared.shape[1] else shared


def nearest_rows(matrix: sp.csr_matrix, row: int) -> tuple[Ints, Floats]:
    """The NEIGHBOURS other rows of highest cosine similarity to `row`, the nearest first, and their similarities."""
    likeness = (matrix @ matrix[row].T).toarray()[:, 0]
    likeness[row] = -1.0
    nearest = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
    return nearest, likeness[nearest]


def find_against_members(ids: Strings, prices: Floats, oof: Floats) -> list[SuspectLabel]:
    """Rows whose price lies outside of all members' out-of-fold prices (n, m), far beyond what is usual; NaN is no price."""
    known = np.isfinite(oof).any(axis=1)
    if known.sum() < MIN_LABEL_ROWS:
        return []
    ids, logs, members = ids[known], np.log(prices[known]), np.log(oof[known])
    middle, low, high = np.nanmedian(members, axis=1), np.nanmin(members, axis=1), np.nanmax(members, axis=1)
    distance = logs - middle
    wrong = (np.abs(robust_z(distance)) > _CONSENSUS) & (np.abs(distance) > _CONSENSUS_FACTOR)
    wrong &= (logs < low) | (logs > high)
    found = []
    for row in np.flatnonzero(wrong).tolist():
        price, least, most = (float(np.exp(part[row])) for part in (logs, low, high))
        reason = f"{_times(distance[row])} what models say that have not seen it ({oof.shape[1]} members)"
        found.append(SuspectLabel(str(ids[row]), LabelNoise.CONSENSUS, price, least, most, reason))
    return worst_first(found)


def _log_amounts(train: Catalog, rows: Ints) -> Floats:
    """(n, a) log amounts by dimension of these rows, NaN for the others and where the text does not say: reading takes time."""
    amounts, looked_at = np.full((len(train), len(DIMENSIONS)), np.nan), np.unique(rows)
    if len(looked_at):
        amounts[looked_at] = log_amounts(read_fields(train.texts[looked_at]))
    return amounts


def _more(left: Floats, right: Floats) -> Floats:
    """(n,) by how much amounts (n, a) exceed others, in logarithms: in the first dimension that both know, else 0."""
    apart = left - right
    known = ~np.isnan(apart)
    first = np.take_along_axis(apart, known.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(known.any(axis=1), first, 0.0)


def _extremes(links: Links, logs: Floats) -> tuple[Ints, Ints]:
    """(p,) cheaper and (p,) dearer rows of pairs of one product: the cheapest and dearest of a text, or of two linked ones."""
    order = np.lexsort((logs, links.nodes))
    starts = np.flatnonzero(np.append(True, np.diff(links.nodes[order]) > 0))
    low, high = order[starts], order[np.append(starts[1:], len(order)) - 1]
    same = links.similarity >= SAME
    left, right = links.left[same], links.right[same]
    cheap, dear = np.concatenate([low, low[left], low[right]]), np.concatenate([high, high[right], high[left]])
    return cheap, dear


def _conflict(train: Catalog, row: int, others: list[tuple[int, float]]) -> SuspectLabel:
    """others: (row, log of this row's amount over that row's)."""
    prices = train.known_prices
    low = min(prices[other] * np.exp(min(more, 0.0)) for other, more in others)
    high = max(prices[other] * np.exp(max(more, 0.0)) for other, more in others)
    nearest = min((other for other, _ in others), key=lambda other: abs(np.log(prices[other] / prices[row])))
    reason = f"{_times(float(np.log(prices[row] / prices[nearest])))} what the same product costs in row {train.ids[nearest]}"
    if any(more != 0 for _, more in others):
        reason += ", amounts considered"
    return _finding(train, row, LabelNoise.CONFLICT, float(low), float(high), reason, [other for other, _ in others])


def _finding(
    train: Catalog, row: int, kind: LabelNoise, low: float, high: float, reason: str, others: list[int]
) -> SuspectLabel:
    ids = tuple(str(train.ids[other]) for other in others)
    return SuspectLabel(str(train.ids[row]), kind, float(train.known_prices[row]), low, high, reason, ids)


def _times(distance: float) -> str:
    return f"{np.exp(abs(distance)):.1f} times {'' if distance > 0 else 'below '}".rstrip()


def _numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


FILE = "labels.csv"
_COLUMNS = (ID, "kind", PRICE, "expected_low", "expected_high", "reason", "other_rows")


class LabelNoise(StrEnum):
    """Kinds of label noise, as `labels.csv` and reports store them."""

    CONFLICT = "conflict"
    OUTLIER = "outlier"
    CONSENSUS = "members"


KINDS = {
    LabelNoise.CONFLICT: "conflict with the same product",
    LabelNoise.OUTLIER: "far from similar rows",
    LabelNoise.CONSENSUS: "far from all members",
}


@dataclass(frozen=True)
class SuspectLabel:
    """A training row whose price lies outside of what the other rows make of it, `low` to `high` (currency units).

    kind: a LabelNoise, or one of another version's `labels.csv`. others: ids of the rows behind the range.
    """

    sample_id: str
    kind: str
    price: float
    low: float
    high: float
    reason: str
    others: tuple[str, ...] = ()

    @property
    def times(self) -> float:
        """Factor, at least 1, by which the price is too high or too low, from the nearer end of the range."""
        return max(self.price / self.high, self.low / self.price, 1.0)

    @property
    def sentence(self) -> str:
        low, high = written_out(self.low, 4), written_out(self.high, 4)
        return f"{self.sample_id} costs {written_out(self.price, 12)}, expected {low} to {high}: {self.reason}"


def worst_first(findings: Sequence[SuspectLabel]) -> list[SuspectLabel]:
    return sorted(findings, key=lambda each: (-each.times, each.sample_id, each.kind))


def write_findings(path: Path, findings: Sequence[SuspectLabel]) -> None:
    """A CSV with one line for each finding, the worst first; whole or not at all."""
    rows = [
        (one.sample_id, one.kind, one.price, digits(one.low), digits(one.high), one.reason, "; ".join(one.others))
        for one in findings
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=list(_COLUMNS)).to_csv(temporary, index=False)


def digits(price: float) -> float:
    """Six digits that count: of a price, however low, none becomes 0."""
    return float(f"{price:.6g}")


def read_findings(path: Path) -> list[SuspectLabel]:
    """Reads back what `write_findings` wrote. Raises UserError for another table."""
    frame = pd.read_csv(path, dtype={ID: str, "other_rows": str}, keep_default_na=False)
    if missing := set(_COLUMNS) - set(frame.columns):
        raise UserError(
            f"{path} lacks the columns {', '.join(sorted(missing))}",
            code="labels-missing-columns",
            hint="make it again: python -m core.labels",
        )
    rows = zip(*(frame[name] for name in _COLUMNS), strict=True)
    return [
        SuspectLabel(key, kind, float(price), float(low), float(high), reason, tuple(filter(None, others.split("; "))))
        for key, kind, price, low, high, reason, others in rows
    ]


def summary(findings: Sequence[SuspectLabel], path: Path, worst: int = 3) -> list[str]:
    """Lines for people: how many of which kind, and the worst few. Empty for no finding."""
    if not findings:
        return []
    counts = {kind: sum(each.kind == kind for each in findings) for kind in KINDS}
    parts = ", ".join(f"{count} {KINDS[kind]}" for kind, count in counts.items() if count)
    rows = len({each.sample_id for each in findings})
    lines = [f"labels: {rows:,} training rows have a price that looks wrong ({parts}); all are in {path}"]
    return lines + [f"  {each.sentence}" for each in findings[:worst]]


Suspects = Literal["keep", "downweight", "drop"]

_FOLDS = 3
_ALPHA = 1.0
_DOUBT = 2.5
FAR = 4.0
LEAST_SCALE = 0.1
"""Floor of the scale: where most prices are predicted nearly exactly, the others are not therefore wrong."""
FACTOR = float(np.log(2))


def cross_fitted(matrix: sp.csr_matrix, log_prices: Floats, groups: Ints, seed: int) -> Floats:
    """(n,) log prices by ridge regressions on the rows of other products, (n, d): what each row should cost by the others."""
    folds = inner_folds(groups, _FOLDS, seed)
    expected = np.empty(len(log_prices))
    for fold in np.unique(folds):
        inside = folds == fold
        expected[inside] = fit_ridge(matrix[~inside], log_prices[~inside], _ALPHA).predict(matrix[inside])
    return expected


def robust_z(residuals: Floats) -> Floats:
    """(n,) distances of log prices (n,) from their median, in robust standard deviations of LEAST_SCALE at least."""
    centred = residuals - np.median(residuals)
    return np.asarray(centred / max(robust_deviation(residuals), LEAST_SCALE))


def row_weights(matrix: sp.csr_matrix, log_prices: Floats, groups: Ints, suspects: Suspects, seed: int) -> Floats:
    """(n,) weights 0 to 1, from these rows alone: matrix (n, d) of their texts, log prices, groups of one product.

    `downweight`: (2.5 / z)^2 beyond z = 2.5, z being a row's distance from the others' expectation in robust standard deviations.
    `drop`: 0 beyond z = 4 and a factor of 2. `keep`: 1.
    """
    if suspects == "keep":
        return np.ones(len(log_prices))
    residuals = log_prices - cross_fitted(matrix, log_prices, groups, seed)
    z = np.abs(robust_z(residuals))
    if suspects == "downweight":
        return np.asarray(np.square(np.minimum(1.0, _DOUBT / np.maximum(z, 1e-9))))
    return np.asarray(1.0 - ((z > FAR) & (np.abs(residuals) > FACTOR)))


def without_suspects(train: Catalog, max_terms: int, number_weight: float, seed: int) -> Catalog:
    """The training rows that `drop` keeps, by the inputs of the linear models (`core.classical.tfidf_inputs`)."""
    matrix = learn_inputs(train, max_terms, number_weight).matrix(train)
    weights = row_weights(matrix, np.log(train.known_prices), train.product_groups, "drop", seed)
    return train.take(weights > 0)
