from __future__ import annotations

from pathlib import Path

import pytest

from core.data.catalog_config import TableConfig
from core.data.column_mapping import NATIVE, FieldColumn, FieldKind
from core.data.column_selection import UnmappedColumns, propose, select_fields
from core.data.reading import check_training_columns, read_catalogs
from core.data.table_reader import read_table
from tests.errors import refused
from tests.shop_table import COLUMNS, shop_rows, write_shop


def test_a_shops_columns_are_proposed_in_one_line(tmp_path: Path) -> None:
    train, _ = write_shop(tmp_path)
    with pytest.raises(UnmappedColumns) as caught:
        check_training_columns(train, TableConfig())
    assert caught.value.code == "catalog-columns-unmapped"
    assert caught.value.line == f"--columns {COLUMNS}"


def test_without_an_id_the_proposal_says_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    rows = shop_rows(60).drop(columns=["sku", "photo", "description"])
    rows.rename(columns={"title": "What is sold", "final_price": "Preis"}).drop(columns="retail_price").to_csv(
        path, index=False
    )
    proposal = propose(read_table(path, ()))
    assert (proposal.id, proposal.text, proposal.image, proposal.price) == ("#", ("What is sold",), None, "Preis")


def test_a_table_without_anything_like_a_price_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    shop_rows(30)[["sku", "title"]].to_csv(path, index=False)
    with refused("catalog-columns-unknown"):
        propose(read_table(path, ()))


def test_unknown_columns_are_refused_with_the_nearest(tmp_path: Path) -> None:
    train, test = write_shop(tmp_path)
    with refused("csv-missing-column") as caught:
        read_catalogs(train, test, None, table=TableConfig(columns=COLUMNS.replace("title", "titel")))
    assert "did you mean 'title'" in caught.value.what
    with refused("ignored-column-unknown") as caught:
        read_catalogs(train, test, None, table=TableConfig(columns=COLUMNS, ignore="colour"))
    assert caught.value.hint


def test_columns_that_say_nothing_are_left_out_and_named(tmp_path: Path) -> None:
    frames = []
    for seed, name in ((0, "train.csv"), (1, "test.csv")):
        rows = shop_rows(40, seed).rename(
            columns={"sku": "sample_id", "title": "catalog_content", "final_price": "price"}
        )
        rows["barcode"] = [f"X-{seed}-{row}" for row in range(40)]
        rows["blank"] = ""
        rows["area"] = [f"{row * 1.37:.2f}" for row in range(40)]
        rows.to_csv(tmp_path / name, index=False)
        frames.append(read_table(tmp_path / name, ()))
    columns, notes = select_fields(*frames, NATIVE, ["tags"])
    left = " ".join(notes)
    for reason in (
        "ids: photo, barcode",
        "empty: blank",
        "constant: currency",
        "row numbers: Unnamed: 0",
        "ignored: tags",
    ):
        assert reason in left
    assert "area" in [each.name for each in columns.fields]


def test_kinds_that_the_user_names(tmp_path: Path) -> None:
    files = write_shop(tmp_path)

    def read(kinds: str, ignore: str | None = None) -> dict[str, FieldColumn]:
        config = TableConfig(columns=COLUMNS, kinds=kinds, ignore=ignore)
        return {each.name: each for each in read_catalogs(*files, None, table=config).columns.fields}

    fields = read("weight_g=category, Unnamed: 0=number,brand=text")
    assert fields["weight_g"].kind is FieldKind.CATEGORY and fields["weight_g"].asked
    assert fields["Unnamed: 0"].kind is FieldKind.NUMBER  # left out unless it is asked for
    assert not fields["tags"].asked
    for kinds, code, words in (
        ("weight_g=categry", "column-kind-unknown", "did you mean 'category'"),
        ("weight_g", "column-kind-unknown", "number"),
        ("weigth_g=number", "kind-column-unknown", "did you mean 'weight_g'"),
        ("title=text", "kind-column-unknown", "--columns"),
        ("weight_g=number,weight_g=list", "column-kind-twice", "weight_g"),
    ):
        with refused(code) as caught:
            read(kinds)
        assert words in str(caught.value)
    with refused("kind-column-unknown"):
        read("tags=list", ignore="tags")
