"""Kinds of a shop's columns by content (number, date, category, list, ...), as the learnt fields read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.data.catalog import Catalog
from core.data.column_mapping import FieldColumn, FieldKind
from core.errors import UserError
from core.fields.learnt_fields import learn_fields_of
from core.fields.reader import labelled_of
from core.fields.units import DATE, amounts_in, date_in, thousands_mark, year_in

_YES_NO = frozenset(
    {
        *("yes", "no", "y", "n", "true", "false", "t", "f", "0", "1", "ja", "nein", "oui", "non", "si", "sí", "sì"),
        *("sim", "não", "ya", "tidak"),
    }
)
_AMOUNT = re.compile(r"\W{0,3}[^\W\d]{0,3}\W{0,2}\d")
"""Beginning of a number, with a sign or a currency before it; a name with a number in it is a text."""
_SAMPLE, _MOST, _MOST_UNREADABLE = 5_000, 0.9, 0.5
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
        kind = _checked_kind(field, values) if field.asked else kind_of(values[:_SAMPLE])
        described.append(replace(field, kind=kind, missing=missing, example=example))
    return tuple(described)


def _checked_kind(field: FieldColumn, values: Sequence[str]) -> FieldKind:
    """The kind that the user named. Raises UserError where most values cannot be read so."""
    bad = unreadable(field, values)
    if values and len(bad) > _MOST_UNREADABLE * len(values):
        raise UserError(
            unreadable_note(field, bad, len(values)),
            code="column-kind-unreadable",
            hint=f"leave --as {field.name}=... out: by its content the column is {kind_of(values[:_SAMPLE])}",
        )
    return field.kind


def notes_on_asked_kinds(train: Catalog, fields: Sequence[FieldColumn]) -> list[str]:
    """Notes on values that cannot be read as the kind that the user named."""
    asked = [field for field in fields if field.asked]
    rows = labelled_of(train) if asked else []
    columns = ((field, [value for row in rows if (value := row.get(field.label.lower()))]) for field in asked)
    return [unreadable_note(field, bad, len(values)) for field, values in columns if (bad := unreadable(field, values))]


def unreadable(field: FieldColumn, values: Sequence[str]) -> list[str]:
    """The values that cannot be read as the field's kind; those of categories, lists and texts all can."""
    if field.kind is FieldKind.NUMBER:
        thousands = thousands_mark(values)
        return [value for value in values if np.isnan(first_number(value, thousands))]
    if field.kind is FieldKind.DATE:
        return [value for value in values if date_in(value) is None and year_in(value) is None]
    return [value for value in values if value.lower() not in _YES_NO] if field.kind is FieldKind.YES_NO else []


def unreadable_note(field: FieldColumn, bad: Sequence[str], count: int) -> str:
    """How many values cannot be read as the field's kind, and three of them."""
    shown = ", ".join([repr(value[:_EXAMPLE_CHARS]) for value in list(dict.fromkeys(bad))[:3]])
    return f"column {field.name!r}: {len(bad):,} of {count:,} values cannot be read as {field.kind}: {shown}"


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


def first_number(value: str, thousands: str) -> float:
    """First number of a value, NaN where there is none. thousands: the mark that groups thousands in the column."""
    return amounts_in(value, thousands).get("#1", np.nan) if value else np.nan
