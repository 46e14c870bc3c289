"""Leak detection: ids, file order and codes in texts that tell the price, tested before any training.

Ids and order are never features here, but members made outside may have used them. A code in the text is a feature like any
other word: where test rows lack it, out-of-fold scores are too good and test prices are wrong, unnoticed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, Ints
from core.atomic_files import read_json, write_json
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.data.vocabulary import Vocabulary, read_vocabulary
from core.store.workspace import Workspace

MIN_LEAK_ROWS = 50
"""Fewer rows prove nothing."""
MIN_ORDER_SHARE = 0.5
"""Share of the variance of log prices from which ids or the order of the file count as a leak."""
MIN_NUMBER_SHARE = 0.85
"""The same of numbers in texts: sizes and ages may well explain half."""
ONE_SIDED = 0.4
"""Difference between the shares of training and of test rows with a word from which the files count as differently made."""
SAME_PRICE = 0.02
"""Difference in log price below which two rows cost the same."""
MIN_CODE_SHARE = 0.8
"""Share of the rare words of one shape whose rows all cost the same, from which that shape is a code for the price."""
CODE_ROWS = 6
"""A word in more rows than this is no code of one product."""
TIED = 0.1
"""How much larger the share of rows that codes tie to other folds may be than that of test rows tied to training rows."""
COMMON = 0.05
"""Share of the rows from which on a word's numbers are looked at."""
FEW_PRICES = 2
"""Different prices up to which nothing can be said of leaks."""
FILE = "leaks.json"
_CODES = 20
_SAMPLE = 20_000
_DIGITS = 4
_BINS = 20
_NUMBERS = re.compile(r"([^\W\d_]+)[\W_]{0,3}(\d+(?:[.,]\d+)?)")
_RIDGE = 1.0


class LeakKind(StrEnum):
    """Places in a catalog that tell the price."""

    IDS = "ids"
    ORDER = "order"
    NUMBER = "number"
    ONE_SIDED = "one-sided"
    CODE = "code"
    COLUMN = "column"


@dataclass(frozen=True)
class Leak:
    """A possible leak. sentence: what was found, with its figure. hint: what to do."""

    kind: LeakKind
    sentence: str
    hint: str

    @property
    def note(self) -> str:
        return f"possible leak: {self.sentence}; {self.hint}"


def find_leaks(train: Catalog, test: Catalog, folds: Folds, words: Vocabulary | None = None) -> list[Leak]:
    """Possible leaks, the surest first; mostly none. `train` and `test` in the order of their files.

    words: of all rows, the training rows first, if they are known. A catalog of 75,000 rows of 150 words takes seconds.
    """
    if len(train) < MIN_LEAK_ROWS or has_few_prices(train.known_prices):
        return []
    logs = np.log(train.known_prices)
    words = words or read_vocabulary([*train.texts, *test.texts])
    found = [_ids(train, logs, folds.groups), _order(logs, folds.groups)]
    if (words.rows < len(train)).any() and len(test):
        found.append(_one_sided(words, len(train), len(test)))
        found.append(_numbers(train, logs, folds.groups))
        found.append(_codes(words, logs, folds, len(train), len(test)))
    return [leak for leak in found if leak is not None]


def has_few_prices(prices: Floats) -> bool:
    """True for one or two different prices: anything tells the first, and half of all rows the second."""
    return len(np.unique(prices)) <= FEW_PRICES


def write_leak_notes(workspace: Workspace, leaks: Sequence[Leak]) -> None:
    """Stores the notes on leaks in the workspace, for reports and summaries."""
    write_json(workspace.path(FILE), [leak.note for leak in leaks])


def read_leak_notes(workspace: Workspace) -> tuple[str, ...]:
    """Stored notes on leaks in the workspace's catalog; empty where none were looked for."""
    path = workspace.path(FILE)
    return tuple(read_json(path)) if path.exists() else ()


def _ids(train: Catalog, logs: Floats, groups: Ints) -> Leak | None:
    runs = [re.findall(r"\d+", identifier) for identifier in train.ids]
    for place in range(max(map(len, runs))):
        there = np.array([len(run) > place for run in runs])
        share = variance_explained_by_digits(
            [run[place] for run in runs if len(run) > place], logs[there], groups[there]
        )
        if share >= MIN_ORDER_SHARE:
            what = "the numbers in the ids" if place == 0 else f"the number at place {place + 1} of the ids"
            return Leak(
                LeakKind.IDS,
                f"{what} tell {share:.0%} of the variance of the log prices",
                "ids are no features here, but see that members made outside have not used them",
            )
    return None


def _order(logs: Floats, groups: Ints) -> Leak | None:
    bins = np.arange(len(logs)) * _BINS // len(logs)
    share = _explained(np.eye(_BINS)[bins], logs, groups)
    if share < MIN_ORDER_SHARE:
        return None
    return Leak(
        LeakKind.ORDER,
        f"the place of a row in the training file tells {share:.0%} of the variance of the log prices",
        "the order is no feature here, but see that members made outside have not used it",
    )


def _one_sided(words: Vocabulary, train: int, test: int) -> Leak | None:
    """The word, or shape of words, whose shares of training and test rows differ most."""
    found = []
    for what, names, shares in words.shares(train, test):
        apart = shares[:, 0] - shares[:, 1]
        worst = int(np.abs(apart).argmax())
        found.append((abs(float(apart[worst])), what, names[worst], shares[worst]))
    difference, what, name, (inside, outside) = max(found, key=lambda each: each[0])
    if difference < ONE_SIDED:
        return None
    return Leak(
        LeakKind.ONE_SIDED,
        f"{what} {name!r}: in {inside:.0%} of the training rows and {outside:.0%} of the test rows",
        "the files were made in different ways, so that no out-of-fold score can be trusted: take it out of both, or make "
        "the test texts as the training texts",
    )


def _numbers(train: Catalog, logs: Floats, groups: Ints) -> Leak | None:
    """The number behind a word that tells the price best."""
    sample = np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.intp)
    behind: dict[str, dict[int, str]] = defaultdict(dict)
    for row in sample.tolist():
        for word, number in _NUMBERS.findall(train.texts[row].casefold()):
            behind[word].setdefault(row, number)
    best, found = 0.0, None
    for word, numbers in behind.items():
        if len(numbers) >= max(MIN_LEAK_ROWS, COMMON * len(sample)):
            share = variance_explained_by_digits(list(numbers.values()), logs[list(numbers)], groups[list(numbers)])
            if share > best:
                best, found = share, (word, len(numbers) / len(sample))
    if found is None or best < MIN_NUMBER_SHARE:
        return None
    return Leak(
        LeakKind.NUMBER,
        f"the number behind the word {found[0]!r} (in {found[1]:.0%} of the training rows) tells {best:.0%} of "
        "the variance of the log prices",
        "take it out of the texts unless every product to be priced will have it before its price is known",
    )


def _codes(words: Vocabulary, logs: Floats, folds: Folds, train: int, test: int) -> Leak | None:
    """Shapes of words that a few rows share whenever they cost the same, and that tie folds together but not the test file.

    Codes that look like other words of the texts, letters alone, are not told apart from them.
    """
    inside = words.rows < train
    word, row = words.words[inside], words.rows[inside]
    order = np.lexsort((logs[row], word))
    word, row = word[order], row[order]
    starts = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
    ends = np.append(starts[1:], len(word)) - 1
    price, group = logs[row], folds.groups[row]
    several = np.minimum.reduceat(group, starts) != np.maximum.reduceat(group, starts)
    rare = several & (ends - starts + 1 <= CODE_ROWS)
    same = price[ends] - price[starts] < SAME_PRICE
    shape = words.shape_of[word[starts]]
    number = len(words.shapes)
    count, agreeing = (np.bincount(shape[each], minlength=number) for each in (rare, rare & same))
    telling = (count >= _CODES) & (agreeing >= MIN_CODE_SHARE * count)
    if not telling.any():
        return None
    code = np.zeros(len(words.names), dtype=bool)
    code[word[starts][rare & telling[shape]]] = True
    tied = _tied(words, code, folds, train)
    tests = words.rows[~inside & code[words.words]]
    shares = tied, len(np.unique(tests)) / test
    if shares[0] < shares[1] + TIED:
        return None
    worst = int(np.where(telling, count, 0).argmax())
    example = words.names[int(np.flatnonzero(code & (words.shape_of == worst))[0])]
    return Leak(
        LeakKind.CODE,
        f"rows that share a word such as {example!r} cost the same, and {shares[0]:.0%} of the training rows share one with "
        f"another fold, {shares[1]:.0%} of the test rows with the training rows",
        "out-of-fold scores will be too good: take such codes out of the texts",
    )


def _tied(words: Vocabulary, code: NDArray[np.bool_], folds: Folds, train: int) -> float:
    """Share of the training rows that have one of these words together with a row of another fold."""
    chosen = (words.rows < train) & code[words.words]
    word, row = words.words[chosen], words.rows[chosen]
    fold = folds.assignment[row]
    lowest, highest = np.full(len(code), folds.k), np.full(len(code), -1)
    np.minimum.at(lowest, word, fold)
    np.maximum.at(highest, word, fold)
    return len(np.unique(row[(lowest != highest)[word]])) / train


def variance_explained_by_digits(numbers: Sequence[str], logs: Floats, groups: Ints) -> float:
    """Share of the variance of log prices (n,) that numbers explain for other products' (groups (n,)); 0 for few rows.

    A number tells by its size, its rank, its length and each of its first and last digits, added up.
    """
    if len(numbers) < MIN_LEAK_ROWS:
        return 0.0
    values = np.array([min(float(number.replace(",", ".")), 1e12) for number in numbers])
    digits = [re.sub(r"\D", "", number) for number in numbers]
    sizes = np.log(values + 0.01)
    ranks = np.searchsorted(np.sort(values), values) / len(values)
    smooth = np.column_stack([sizes, sizes**2, ranks, ranks**2])
    columns = [
        (smooth - smooth.mean(axis=0)) / np.maximum(smooth.std(axis=0), 1e-9),
        np.eye(_BINS)[[min(len(each), _BINS - 1) for each in digits]],
    ]
    for place in range(_DIGITS):
        columns += [
            np.eye(11)[[int(each[place]) if len(each) > place else 10 for each in text]]
            for text in (digits, [each[::-1] for each in digits])
        ]
    return _explained(np.column_stack(columns), logs, groups)


def _explained(columns: Floats, logs: Floats, groups: Ints) -> float:
    """Share of the variance of `logs` (n,) that a linear fit on one half of the products explains in the other, both ways."""
    products = np.unique(groups, return_inverse=True)[1]
    half = np.random.default_rng(0).permutation(int(products.max()) + 1)[products] % 2
    error = 0.0
    for each in (0, 1):
        learn, held_out = half != each, half == each
        centre, middle = logs[learn].mean(), columns[learn].mean(axis=0)
        known = columns[learn] - middle
        weights = np.linalg.solve(known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ (logs[learn] - centre))
        error += float(np.square(logs[held_out] - centre - (columns[held_out] - middle) @ weights).sum())
    return max(0.0, 1.0 - error / max(float(np.square(logs - logs.mean()).sum()), 1e-12))
