from __future__ import annotations

import pytest

from core.data.column_mapping import ColumnMapping, FieldColumn, FieldKind, TableColumns
from serving.common.limits import Limits
from serving.engine.request_fields import FieldError, append_fields, check_fields, field_schema

COLUMNS = TableColumns(
    ColumnMapping("sku", ("title",), None, "final_price"),
    (
        FieldColumn("Brand", "Brand", FieldKind.CATEGORY, 0.1, "acme"),
        FieldColumn("weight_g", "weight_g", FieldKind.NUMBER, 0.0, "120"),
        FieldColumn("tags", "tags", FieldKind.LIST, 0.0, "a, b"),
    ),
)


def test_fields_become_the_lines_of_training() -> None:
    made = append_fields("Lamp", {"brand": "acme", "weight_g": 120.0, "tags": ["red", "oak"]}, COLUMNS)
    assert made.text == COLUMNS.text_with("Lamp", {"Brand": "acme", "weight_g": "120", "tags": "red, oak"})
    assert made.text == "Lamp\nBrand: acme\nweight_g: 120\ntags: red, oak"
    assert made.note == ""


def test_what_is_missing_or_unreadable_is_unknown_with_a_note() -> None:
    made = append_fields("Lamp", {"Brand": None, "weight_g": "heavy", "tags": {"a": 1}}, COLUMNS)
    assert made.text == "Lamp"
    assert made.note == "fields unknown: Brand (missing), weight_g (no number), tags (not one value)"


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(FieldError, match="unknown field 'brnd'; did you mean 'Brand'"):
        check_fields({"brnd": "x"}, COLUMNS, Limits())
    with pytest.raises(FieldError, match="no fields"):
        check_fields({"Brand": "x"}, TableColumns(), Limits())


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({"Brand": "x", "tags": "y"}, Limits(fields=1)),
        ({"Brand": "x" * 11}, Limits(field_chars=10)),
        ({"tags": ["x" * 6, "y" * 6]}, Limits(field_chars=10)),
    ],
)
def test_number_and_length_are_bounded(fields: dict[str, object], limits: Limits) -> None:
    with pytest.raises(FieldError, match="more than the limit"):
        check_fields(fields, COLUMNS, limits)


def test_a_bundle_without_fields_leaves_texts_alone() -> None:
    assert append_fields("Item Name: Jam\n", {}, TableColumns()).text == "Item Name: Jam\n"


def test_the_schema_has_the_catalogs_types_and_examples() -> None:
    schema = field_schema(COLUMNS)
    assert schema["properties"]["weight_g"]["type"] == ["number", "string", "null"]
    assert schema["examples"] == [{"Brand": "acme", "weight_g": "120", "tags": "a, b"}]
    assert schema["additionalProperties"] is False
