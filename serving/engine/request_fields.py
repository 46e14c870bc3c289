"""Fields of a request: cells of a shop's columns by name, checked and appended to the text as training appended them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.data.column_mapping import FieldColumn, FieldKind, TableColumns, is_blank_cell
from core.data.row_source import cell_text
from core.errors import some, suggestion
from serving.common.limits import Limits

_NUMBERS = frozenset({FieldKind.NUMBER, FieldKind.DATE})
_DIGIT = re.compile(r"\d")
_NAME_CHARS = 60


class FieldError(ValueError):
    """Reason why a request's fields are refused, fit for an answer."""


@dataclass(frozen=True)
class TextWithFields:
    """The text that models read. note: which fields count as unknown, and why; "" where there are none."""

    text: str
    note: str = ""


def check_fields(fields: Mapping[str, Any], columns: TableColumns, limits: Limits) -> None:
    """Raises FieldError for too many or too long fields, and for an unknown one, with the nearest name."""
    if len(fields) > limits.fields:
        raise FieldError(f"{len(fields):,} fields, more than the limit of {limits.fields:,}")
    known = {each.name.lower(): each for each in columns.fields}
    for name, value in fields.items():
        shown = name[:_NAME_CHARS]
        if name.lower() not in known:
            hint = suggestion(shown, (each.name for each in columns.fields)) if known else "this bundle has no fields"
            raise FieldError(f"unknown field {shown!r}; {hint}")
        length = sum(map(_length, value)) if isinstance(value, list) else _length(value)
        if length > limits.field_chars:
            raise FieldError(
                f"field {shown!r} has {length:,} characters, more than the limit of {limits.field_chars:,}"
            )


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 1


def append_fields(text: str, fields: Mapping[str, Any], columns: TableColumns) -> TextWithFields:
    """The text with a labelled line of each field. What is missing or cannot be read counts as unknown, with a note."""
    if not columns.fields:
        return TextWithFields(text)
    given = {name.lower(): value for name, value in fields.items()}
    cells: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for column in columns.fields:
        cell, reason = _cell(column, given.get(column.name.lower()))
        if reason:
            unknown.setdefault(reason, []).append(column.name)
        else:
            cells[column.name] = cell
    notes = [f"{some(names, 10)} ({reason})" for reason, names in unknown.items()]
    return TextWithFields(columns.text_with(text, cells), f"fields unknown: {', '.join(notes)}" if notes else "")


def _cell(column: FieldColumn, value: Any) -> tuple[str, str]:
    """(cell, why it counts as unknown), one of them empty."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    if isinstance(value, list | dict):
        return "", "not one value"
    cell = cell_text(value)
    if is_blank_cell(cell):
        return "", "missing"
    if column.kind in _NUMBERS and _DIGIT.search(cell) is None:
        return "", f"no {column.kind}"
    return cell, ""


def field_schema(columns: TableColumns) -> dict[str, Any]:
    """JSON schema of a request's fields, with the types and examples of the bundle's catalog."""
    properties = {
        each.name: {
            "type": ["number", "string", "null"]
            if each.kind is FieldKind.NUMBER
            else ["string", "boolean", "array", "null"],
            "description": f"{each.kind}, unknown in {each.missing:.0%} of the catalog's rows",
            "examples": [each.example],
        }
        for each in columns.fields
    }
    return {
        "type": ["object", "null"],
        "description": "the shop's columns beside the text; what is missing counts as unknown",
        "properties": properties,
        "additionalProperties": False,
        "examples": [{each.name: each.example for each in columns.fields}],
    }
