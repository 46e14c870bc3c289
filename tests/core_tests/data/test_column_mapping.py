from __future__ import annotations

from pathlib import Path

import pytest

from core.data.catalog import ID, LINK, PRICE, TEXT
from core.data.catalog_config import TableConfig
from core.data.column_mapping import (
    CELL_CHARS,
    NATIVE,
    ColumnMapping,
    FieldColumn,
    FieldKind,
    TableColumns,
    columns_from,
    labels_of,
    native_table,
    parse_columns,
)
from core.data.reading import read_catalogs, read_in_parts
from core.data.table_reader import Table
from core.fields.learnt_fields import labelled_values
from core.fields.rules import split_parts
from tests.errors import refused
from tests.shop_table import COLUMNS, write_shop

SHOP = ColumnMapping("sku", ("title", "description"), "photo", "final_price")


def test_the_flag_is_read_and_written_alike() -> None:
    assert parse_columns(COLUMNS) == SHOP
    assert SHOP.flag == COLUMNS
    assert parse_columns("id=#, text=name").price == PRICE


@pytest.mark.parametrize(
    ("flag", "code"),
    [
        ("id=sku,txt=title", "columns-unreadable"),
        ("id=sku,text=", "columns-unreadable"),
        ("id=sku,id=ean,text=title", "columns-key-twice"),
        ("text=title", "columns-incomplete"),
        ("id=sku,text=title+sku", "columns-used-twice"),
    ],
)
def test_flags_that_map_nothing_are_refused(flag: str, code: str) -> None:
    with refused(code) as caught:
        parse_columns(flag)
    assert caught.value.hint


def test_columns_survive_json() -> None:
    columns = TableColumns(SHOP, (FieldColumn("brand", "brand", FieldKind.CATEGORY, 0.25, "acme"),))
    assert columns_from(columns.record()) == columns
    assert TableColumns().record() is None
    assert columns_from(None).mapping == NATIVE


def test_labels_are_read_as_labels_and_each_stands_once() -> None:
    names = ["brand", "Brand", "unit", "2nd colour: main", "weight_g", "a b c d e f g", "###", "x" * 90]
    labels = labels_of(names)
    assert len({label.lower() for label in labels.values()}) == len(names)
    read = labelled_values("\n".join(f"{label}: v{place}" for place, label in enumerate(labels.values())))
    assert list(read.values()) == [f"v{place}" for place in range(len(names))]


def table(**columns: list[str]) -> Table:
    return Table(Path("shop.csv"), columns, list(range(2, 2 + len(next(iter(columns.values()))))))


def test_other_columns_become_lines_below_the_name() -> None:
    columns = TableColumns(
        ColumnMapping("sku", ("title", "description"), None, "cost"), (FieldColumn("brand", "brand"),)
    )
    given = table(sku=["a", "b"], title=["Lamp", "Chair"], description=["of\nsteel", ""], cost=["1", "2"])
    given.columns["brand"] = ["ac\nme " + "x" * 400, "n/a"]
    made, notes = native_table(given, columns)
    first, second = made.columns[TEXT]
    name, brand, *rest = first.split("\n")
    assert (name, rest) == ("Lamp", ["description: of", "steel"])
    brand = brand.removeprefix("brand: ")
    assert brand.startswith("ac me xxx")
    assert len(brand) == CELL_CHARS
    assert second == "Chair"
    assert list(made.columns) == [TEXT, ID, PRICE]
    assert notes == []


def test_a_native_text_keeps_its_parts_beside_lines() -> None:
    columns = TableColumns(NATIVE, (FieldColumn("brand", "brand"), FieldColumn("size", "size")))
    text = "Item Name: Jam\nValue: 9\nUnit: Ounce"
    made, _ = native_table(
        table(sample_id=["1"], catalog_content=[text], price=["1"], brand=["acme"], size=["9"]), columns
    )
    parts = split_parts(made.columns[TEXT][0])
    assert (parts.name, parts.value, parts.unit) == ("Jam", "9", "Ounce")
    assert labelled_values(made.columns[TEXT][0]) == {"brand": "acme", "size": "9"}


def test_a_long_text_is_cut_so_that_lines_are_read() -> None:
    columns = TableColumns(NATIVE, (FieldColumn("brand", "brand"),))
    made, (note,) = native_table(
        table(
            sample_id=["1", "2", "3"],
            catalog_content=["x " * 20_000, "Item Name: a\n" + "a\n" * 999, "name\n" + "line\n" * 999],
            price=["1", "2", "3"],
            brand=["acme", "b", "c"],
        ),
        columns,
    )
    assert [labelled_values(text)["brand"] for text in made.columns[TEXT]] == ["acme", "b", "c"]
    assert "2 texts cut" in note


def test_row_numbers_in_place_of_ids_count_on_over_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("title,brand\nA,x\nB,y\nC,z\n")
    columns = TableColumns(ColumnMapping("#", ("title",), None, "cost"), (FieldColumn("brand", "brand"),))
    parts = [catalog for catalog, _ in read_in_parts(path, 2, columns=columns)]
    assert [name for part in parts for name in part.ids] == ["1", "2", "3"]
    assert parts[1].texts.tolist() == ["C\nbrand: z"]


def test_a_native_table_of_four_columns_stays_as_it_is() -> None:
    given = table(sample_id=["1"], catalog_content=["x"], image_link=[""], price=["1"])
    made, notes = native_table(given, TableColumns())
    assert made is given
    assert notes == []


def test_a_shop_is_read_with_test_prices_apart(tmp_path: Path) -> None:
    train, test = write_shop(tmp_path)
    read = read_catalogs(train, test, None, table=TableConfig(columns=COLUMNS, ignore="retail_price"))
    fields = [each.name for each in read.columns.fields]
    assert fields == ["brand", "category", "weight_g", "in_stock", "released", "tags"]
    assert read.test.prices is None
    assert read.test_prices is not None
    assert len(read.test_prices) == len(read.test)
    assert "retail" not in read.train.texts[0]
    again = read_catalogs(train, test, None, columns=read.columns)
    assert again.train.fingerprint == read.train.fingerprint
    assert LINK not in read.train.texts[0]


def test_faults_are_named_by_the_shops_columns(tmp_path: Path) -> None:
    train, test = write_shop(tmp_path)
    lines = train.read_text().replace(",S000003,", ",S000002,", 1)
    train.write_text(lines)
    with refused("catalog-bad-rows") as caught:
        read_catalogs(train, test, None, table=TableConfig(columns=COLUMNS))
    assert "column sku: id used before: 'S000002'" in caught.value.what
