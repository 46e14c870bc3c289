from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.catalog_config import TableConfig
from core.data.column_mapping import FieldKind
from core.data.reading import read_catalogs
from core.fields.column_kinds import column_numbers, describe_columns, kind_of
from core.quality.leaks import LeakKind, find_column_leaks
from tests.shop_table import COLUMNS, write_shop


def test_kinds_missing_shares_and_leaks_of_a_shop(tmp_path: Path) -> None:
    read = read_catalogs(*write_shop(tmp_path, 300), None, table=TableConfig(columns=COLUMNS))
    fields = {each.name: each for each in describe_columns(read.train, read.columns.fields)}
    assert {name: each.kind for name, each in fields.items()} == {
        "brand": FieldKind.CATEGORY,
        "category": FieldKind.CATEGORY,
        "weight_g": FieldKind.NUMBER,
        "in_stock": FieldKind.YES_NO,
        "released": FieldKind.DATE,
        "tags": FieldKind.LIST,
        "retail_price": FieldKind.NUMBER,
    }
    assert 0.1 < fields["weight_g"].missing < 0.13
    assert fields["brand"].example
    assert np.isnan(column_numbers(read.train, fields["weight_g"])[0])
    (leak,) = find_column_leaks(read.train, list(fields.values()))
    assert leak.kind is LeakKind.COLUMN
    assert "'retail_price'" in leak.sentence
    assert "--ignore retail_price" in leak.hint


def test_a_name_with_a_number_in_it_is_a_text() -> None:
    assert kind_of([f"Passat {place % 7}.0 TDI model {place}" for place in range(60)]) is FieldKind.TEXT
    assert kind_of([f"€ {place}.50" for place in range(60)]) is FieldKind.NUMBER
