from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.catalog import Catalog
from core.data.catalog_config import TableConfig
from core.data.column_mapping import FieldColumn, FieldKind, TableColumns, columns_from
from core.data.folds import make_folds
from core.data.reading import read_catalogs
from core.fields.column_kinds import describe_columns, kind_of, notes_on_asked_kinds
from core.fields.learnt_fields import learn_fields_of
from core.fields.reader import labelled_of
from core.quality.column_leaks import find_column_leaks
from core.quality.leaks import LeakKind
from tests.errors import refused
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
    (leak,) = find_column_leaks(read.train, list(fields.values()), make_folds(read.train, read.test)[0])
    assert leak.kind is LeakKind.COLUMN
    assert "'retail_price'" in leak.sentence
    assert "--ignore retail_price" in leak.hint


def test_a_name_with_a_number_in_it_is_a_text() -> None:
    assert kind_of([f"Passat {place % 7}.0 TDI model {place}" for place in range(60)]) is FieldKind.TEXT
    assert kind_of([f"€ {place}.50" for place in range(60)]) is FieldKind.NUMBER


def test_kinds_that_the_user_names_are_learnt_so(tmp_path: Path) -> None:
    kinds = "weight_g=category,brand=text,category=list,tags=category,released=date,retail_price=number"
    read = read_catalogs(*write_shop(tmp_path, 300), None, table=TableConfig(columns=COLUMNS, kinds=kinds))
    fields = describe_columns(read.train, read.columns.fields)
    columns = TableColumns(read.columns.mapping, fields)
    assert columns_from(columns.record()) == columns
    assert {each.name: each.kind for each in fields}["weight_g"] is FieldKind.CATEGORY
    assert notes_on_asked_kinds(read.train, fields) == []
    learnt = {each.label: each for each in learn_fields_of(labelled_of(read.train), columns.asked_kinds).columns}
    assert (learnt["weight_g"].numbers, learnt["weight_g"].levels) == ((), 1)
    assert (learnt["category"].listed, learnt["category"].levels) == (True, 0)
    assert (learnt["tags"].listed, learnt["tags"].levels) == (False, 1)
    assert learnt["released"].numbers == ("date",) and learnt["retail_price"].numbers == ("#1",)
    assert "brand" not in learnt
    assert replace(read.train, kinds=columns.asked_kinds).take(np.arange(5)).kinds == columns.asked_kinds


def test_values_that_a_named_kind_cannot_read_are_counted_and_shown(tmp_path: Path) -> None:
    values = ["12", "13.5", "about ten", "n.a.", "15", "16", "a dozen", "17", "18", "some"] * 6
    asked = FieldColumn("size", "size", FieldKind.NUMBER, asked=True)
    catalog = catalog_of([f"thing\nsize: {value}" for value in values])
    (field,) = describe_columns(catalog, [asked])
    (note,) = notes_on_asked_kinds(catalog, [field])
    assert note == "column 'size': 24 of 60 values cannot be read as number: 'about ten', 'n.a.', 'a dozen'"
    for kind in (FieldKind.DATE, FieldKind.YES_NO):
        with refused("column-kind-unreadable") as caught:
            describe_columns(catalog, [replace(asked, kind=kind)])
        assert "of 60 values cannot be read" in caught.value.what


def catalog_of(texts: list[str]) -> Catalog:
    empty = np.array([""] * len(texts), dtype=object)
    ids = np.array([str(row) for row in range(len(texts))], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), empty, np.ones(len(texts)))
