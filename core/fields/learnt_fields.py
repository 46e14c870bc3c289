"""Fields of any name: labelled lines of a text (`Baujahr: 2004`), and the number, category and list columns learnt from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Floats
from core.data.catalog import Strings
from core.data.column_mapping import FieldKind
from core.fields.units import DATE, amounts_in, date_in, thousands_mark, year_in

LABELLED = "labelled_fields"
"""Setting of architectures that read such fields."""
MOST_SCALED = 64
"""Number fields that linear models, Gaussian processes and networks read, the most frequent: each costs a length scale."""
Labelled = Mapping[str, str]
"""One row: label -> value."""

_RARE, _FEWEST_ROWS = 0.005, 15
"""Share and number of the training rows in which a label must stand."""
_MOST_COLUMNS, _MOST_KEYS = 150, 6
_COMMON = 0.3
"""Share of a column's values that must be dates, paths or lists for it to be read as such."""
_ALMOST_ALL = 0.95
_RARE_UNIT = 0.1
"""Share of a column's numbers behind which a word must stand to count as their unit."""
_REPEATED = 0.3
"""Share of a category's values that must stand in several rows: others are names, of which prices say nothing."""
_CATEGORY_WORDS, _ITEM_WORDS, _LEVELS = 10, 5, 3
_PATH = re.compile(r" (?:/|>|>>|›|») ")
_ITEMS = re.compile(r" *[,|] *(?!\d)")


@dataclass(frozen=True)
class LearntColumn:
    """One label's reading.

    numbers: keys of `amounts_in`, or `date`. levels: 0 for no category, 1 for a plain one, more for a path `a / b / c`.
    listed: whether it is also read as a list of items. thousands: the mark that groups thousands in it.
    """

    label: str
    thousands: str
    numbers: tuple[str, ...]
    levels: int
    listed: bool

    @property
    def number_names(self) -> list[str]:
        counted = ("items",) if self.listed else ()
        return [f"{self.label}: {key}" for key in (*self.numbers, *counted)]

    @property
    def category_names(self) -> list[str]:
        return [f"{self.label}: level {level}" for level in range(1, self.levels + 1)]

    def read_numbers(self, value: str) -> list[float]:
        """The numbers of one value in the order of `number_names`, NaN where it has none."""
        found = _numbers(value, self.thousands, dated=DATE in self.numbers)
        items = [float(len(self.items(value)))] if self.listed else []
        return [found.get(key, np.nan) for key in self.numbers] + items

    def read_levels(self, value: str) -> list[str]:
        """The category by level, each with the levels above it; a path that ends early repeats its last level."""
        parts = _PATH.split(value.lower(), self.levels - 1) if self.levels > 1 else [value.lower()]
        return [" / ".join(parts[:level]) for level in range(1, self.levels + 1)]

    def items(self, value: str) -> tuple[str, ...]:
        return list_items(value)


def list_items(value: str) -> tuple[str, ...]:
    """The items of a list, each once, in lower case."""
    return tuple(dict.fromkeys(item for item in _ITEMS.split(value.lower()) if item))


@dataclass(frozen=True)
class FieldValues:
    """Learnt fields of n rows: numbers (n, f), NaN where unknown; categories, name -> n values; lists, label -> n item tuples."""

    numbers: Floats
    categories: dict[str, Strings]
    lists: dict[str, Strings]

    def take(self, rows: NDArray[np.bool_]) -> FieldValues:
        """The rows where the mask (n,) is true."""
        categories, lists = (
            {name: values[rows] for name, values in part.items()} for part in (self.categories, self.lists)
        )
        return FieldValues(self.numbers[rows], categories, lists)

    def tokens(self) -> list[list[str]]:
        """The categories and list items of each row as words `label=value`, for TF-IDF."""
        rows = [[] for _ in range(len(self.numbers))]  # type: list[list[str]]
        for name, values in self.categories.items():
            for row, value in zip(rows, values, strict=True):
                row += [f"{name}={value}"] if value else []
        for label, lists in self.lists.items():
            for row, items in zip(rows, lists, strict=True):
                row += [f"{label}={item}" for item in items]
        return rows


@dataclass(frozen=True)
class LearntFields:
    """The columns learnt from training rows, most frequent first; reads any row."""

    columns: tuple[LearntColumn, ...]

    @property
    def number_names(self) -> list[str]:
        return [name for column in self.columns for name in column.number_names]

    def read(self, rows: Sequence[Labelled]) -> FieldValues:
        """The fields of n rows."""
        numbers = np.full((len(rows), len(self.number_names)), np.nan)
        categories, lists = {}, {}
        start = 0
        for column in self.columns:
            values = [row.get(column.label, "") for row in rows]
            end = start + len(column.number_names)
            for place, value in enumerate(values if end > start else ()):
                if value:
                    numbers[place, start:end] = column.read_numbers(value)
            start = end
            levels = [column.read_levels(value) if value else [""] * column.levels for value in values]
            for place, name in enumerate(column.category_names):
                categories[name] = np.fromiter((row[place] for row in levels), dtype=object)
            if column.listed:
                lists[column.label] = np.fromiter(map(column.items, values), dtype=object)
        return FieldValues(numbers, categories, lists)

    def beside(self, fields: pd.DataFrame, values: FieldValues) -> pd.DataFrame:
        """A table of n rows with the learnt numbers as further columns."""
        if not self.columns:
            return fields
        numbers = pd.DataFrame(values.numbers, columns=self.number_names, index=fields.index)
        return pd.concat([fields, numbers], axis=1)

    def record(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [asdict(column) for column in self.columns]


NO_FIELDS = LearntFields(())


def learnt_from(record: Iterable[Mapping[str, Any]]) -> LearntFields:
    """Reads back what `LearntFields.record` gave."""
    return LearntFields(tuple(LearntColumn(**{**column, "numbers": tuple(column["numbers"])}) for column in record))


def learn_fields_of(rows: Sequence[Labelled], kinds: Mapping[str, str] | None = None) -> LearntFields:
    """The columns of these training rows; prices are not looked at.

    kinds: label -> kind, where it is not to be found by content.
    """
    kinds = kinds or {}
    values: dict[str, list[str]] = {}
    for row in rows:
        for label, value in row.items():
            values.setdefault(label, []).append(value)
    needed = max(_FEWEST_ROWS, _RARE * len(rows))
    frequent = sorted(((label, found) for label, found in values.items() if len(found) >= needed), key=_by_rows)
    columns = (
        _column_of_kind(label, found, needed, FieldKind(kinds[label]))
        if label in kinds
        else _learn_column(label, found, needed)
        for label, found in frequent[:_MOST_COLUMNS]
    )
    return LearntFields(tuple(column for column in columns if column.numbers or column.levels or column.listed))


def _by_rows(entry: tuple[str, list[str]]) -> tuple[int, str]:
    return -len(entry[1]), entry[0]


def _learn_column(label: str, values: list[str], needed: float) -> LearntColumn:
    thousands = thousands_mark(values)
    dated = _share(values, lambda value: date_in(value) is not None) >= _COMMON
    numbers = _number_keys(values, thousands, needed, dated=dated)
    levels = _LEVELS if _is_path(values) else int(_is_category(values, numbers))
    return LearntColumn(label, thousands, numbers, levels, _is_list(values))


def _column_of_kind(label: str, values: list[str], needed: float, kind: FieldKind) -> LearntColumn:
    """The column read as this kind alone, whatever its values look like; a text has no fields."""
    thousands, numbers, levels = thousands_mark(values), tuple[str, ...](), 0
    if kind in (FieldKind.NUMBER, FieldKind.DATE):
        numbers = _number_keys(values, thousands, needed, dated=kind is FieldKind.DATE)
    elif kind in (FieldKind.CATEGORY, FieldKind.YES_NO):
        levels = _LEVELS if _is_path(values) else 1
    return LearntColumn(label, thousands, numbers, levels, kind is FieldKind.LIST)


def _is_path(values: list[str]) -> bool:
    return _share(values, lambda value: _PATH.search(value) is not None) >= _COMMON


def _number_keys(values: list[str], thousands: str, needed: float, *, dated: bool) -> tuple[str, ...]:
    """The keys that stand in enough rows, vary, and are not another key's numbers once more (`120 m2` is #1 and m2)."""
    rows = [_numbers(value, thousands, dated=dated) for value in values]
    counts = Counter(key for row in rows for key in row)
    units = max(needed, _RARE_UNIT * counts["#1"])
    keys = [key for key, count in counts.most_common() if count >= (needed if _placed(key) else units)]
    frame = pd.DataFrame([[row.get(key, np.nan) for key in keys] for row in rows], columns=keys, dtype=np.float64)
    kept: list[str] = []
    for key in sorted(keys, key=lambda key: (_placed(key), keys.index(key))):
        if frame[key].nunique() > 1 and not any(same_numbers(frame[key], frame[other]) for other in kept):
            kept.append(key)
    return tuple(sorted(kept, key=keys.index)[:_MOST_KEYS])


def _placed(key: str) -> bool:
    return key.startswith("#")


def same_numbers(one: pd.Series, other: pd.Series) -> bool:
    """Answers whether one column is the other times a constant, in almost all rows where either is known."""
    either = one.notna() | other.notna()
    ratio = (one / other.where(other != 0)).round(6)
    return bool((ratio == ratio.median()).sum() >= _ALMOST_ALL * either.sum())


def _numbers(value: str, thousands: str, *, dated: bool) -> dict[str, float]:
    """In a column of dates a date, or a year, is one number; elsewhere each number counts."""
    if dated:
        date = date_in(value)
        year = year_in(value) if date is None else date
        return {} if year is None else {DATE: year}
    return amounts_in(value, thousands)


def _is_category(values: list[str], numbers: tuple[str, ...]) -> bool:
    """Values that mostly hold numbers, or differ in numbers alone, are none: the numbers say it all."""
    counts = Counter(map(str.lower, values))
    repeated = sum(count for count in counts.values() if count > 1) / len(values)
    words = sum(len(value.split()) for value in values) / len(values)
    if numbers and len(counts) > _MANY_NUMBERS and _share(values, _has_number) >= _MOSTLY:
        return False
    if len({_NUMBER.sub("#", value) for value in counts}) == 1:
        return False
    return repeated >= _REPEATED and words <= _CATEGORY_WORDS and len(counts) > 1


_MANY_NUMBERS, _MOSTLY = 30, 0.5
"""Different values of a column, and the share with a number in it, above which it is no category."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def _is_list(values: list[str]) -> bool:
    lists = [_ITEMS.split(value.lower()) for value in values]
    several = [items for items in lists if len(items) > 1]
    if len(several) < _COMMON * len(values):
        return False
    items = [item for row in several for item in row]
    words = sum(len(item.split()) for item in items) / len(items)
    telling = 1 - _share(items, _has_number)  # `width 80 cm, height 105 cm` are numbers, with words as their names
    return words <= _ITEM_WORDS and len(set(items)) < 0.5 * len(items) and telling >= _COMMON


def _has_number(value: str) -> bool:
    return _NUMBER.search(value) is not None


def _share(values: list[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, values)) / len(values)


_READ_CHARS = 20_000
_MOST_LINES = 400
_LABEL_CHARS, _LABEL_WORDS = 40, 5
_VALUE_CHARS = 300
"""Bounds of what is read: every row must cost little, and a longer label is a sentence with a colon in it."""

_BULLET = re.compile(r"\s*(?:bullet ?points?|features?|highlights?) *(\d{1,3})? *: *", re.IGNORECASE)
_PROSE = re.compile(r"\s*(?:item name|product description|description|value|unit) *:", re.IGNORECASE)
"""Lines of the native format that other parts read: name, description, `Value:` and `Unit:`."""
_LABELLED = re.compile(rf"\s*([^\W\d_][^:;\n]{{0,{_LABEL_CHARS - 1}}}?) *[:=] *(?!//)(\S.*)", re.DOTALL)


def labelled_values(text: str) -> dict[str, str]:
    """Label (lower case) -> value of one catalog text, the first value of each label.

    `Label: value` is read on a line, in a bullet (`Bullet Point 1: Author: Jane`) and within a list (`Ratio: 16:9; Color: red`).
    A numbered bullet without a label is called by its number, `bullet 2`.
    """
    found: dict[str, str] = {}
    for label, value in _values(text[:_READ_CHARS]):
        found.setdefault(" ".join(label.lower().split()), " ".join(value[:_VALUE_CHARS].split()))
    return found


def _values(text: str) -> Iterator[tuple[str, str]]:
    bullets = 0
    for line in text.split("\n", _MOST_LINES)[:_MOST_LINES]:
        bullet = _BULLET.match(line)
        if bullet is None and _PROSE.match(line):
            continue
        rest = line[bullet.end() :].strip() if bullet else line.strip()
        bullets += bullet is not None
        listed = [pair for part in rest.split(";") if (pair := _labelled(part))] if ";" in rest else []
        if len(listed) > 1:
            yield from listed
        elif pair := _labelled(rest):
            yield pair
        elif bullet and rest:
            yield f"bullet {bullet[1] or bullets}", rest


def _labelled(part: str) -> tuple[str, str] | None:
    match = _LABELLED.fullmatch(part)
    return (match[1], match[2]) if match and len(match[1].split()) <= _LABEL_WORDS else None
