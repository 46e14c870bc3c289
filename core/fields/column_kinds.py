"""Kinds of a shop's columns by content (number, date, category, list, ...), as the learnt fields read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.column_mapping import FieldColumn, FieldKind
from core.fields.learnt_fields import learn_fields_of
from core.fields.reader import labelled_of
from core.fields.units import DATE, amounts_in, thousands_mark

_YES_NO = frozenset(
    {
        *("yes", "no", "y", "n", "true", "false", "t", "f", "0", "1", "ja", "nein", "oui", "non", "si", "sí", "sì"),
        *("sim", "não", "ya", "tidak"),
    }
)
_AMOUNT = re.compile(r"\W{0,3}[^\W\d]{0,3}\W{0,2}\d")
"""Beginning of a number, with a sign or a currency before it; a name with a number in it is a text."""
_SAMPLE, _MOST = 5_000, 0.9
_EXAMPLE_CHARS = 40


def describe_columns(train: Catalog, fields: Sequence[FieldColumn]) -> tuple[FieldColumn, ...]:
    """The fields with kind, missing share and an example, by the training rows."""
    if not fields:
        return ()
    rows = labelled_of(train)
    described = []
    for field in fields:
        values = [value for row in rows if (value := row.get(field.label.lower()))]
        example = values[0][:_EXAMPLE_CHARS] if values else ""
        missing = 1 - len(values) / len(rows)
        described.append(replace(field, kind=kind_of(values[:_SAMPLE]), missing=missing, example=example))
    return tuple(described)


def kind_of(values: Sequence[str]) -> FieldKind:
    """Kind of a column with these values, none of them empty."""
    if values and {value.lower() for value in values} <= _YES_NO:
        return FieldKind.YES_NO
    (column,) = learn_fields_of([{"": value} for value in values]).columns or (None,)
    if column is None:
        return FieldKind.TEXT
    if DATE in column.numbers:
        return FieldKind.DATE
    if column.listed:
        return FieldKind.LIST
    if column.numbers and sum(map(bool, map(_AMOUNT.match, values))) >= _MOST * len(values):
        return FieldKind.NUMBER
    return FieldKind.CATEGORY if column.levels else FieldKind.TEXT


def column_numbers(train: Catalog, field: FieldColumn) -> Floats:
    """(n,) first number of each row's value in the column, NaN where it has none."""
    values = [row.get(field.label.lower(), "") for row in labelled_of(train)]
    thousands = thousands_mark(value for value in values if value)
    return np.array([first_number(value, thousands) for value in values])


def first_number(value: str, thousands: str) -> float:
    """First number of a value, NaN where there is none. thousands: the mark that groups thousands in the column."""
    return amounts_in(value, thousands).get("#1", np.nan) if value else np.nan
