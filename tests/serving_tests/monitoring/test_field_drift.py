from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.catalog import Catalog
from core.data.catalog_config import TableConfig
from core.data.column_mapping import FieldColumn, FieldKind
from core.data.reading import read_catalogs
from core.fields.column_kinds import describe_columns
from core.fields.learnt_fields import labelled_values
from serving.bundle.reference_stats import describe, script
from serving.monitoring.drift import FEWEST, STEP, Drift, Row
from tests.shop_table import COLUMNS, write_shop


def test_fields_that_change_are_named(tmp_path: Path) -> None:
    read = read_catalogs(*write_shop(tmp_path, 600, 200), None, table=TableConfig(columns=COLUMNS))
    fields = describe_columns(read.train, read.columns.fields)
    known = describe((read.train,), np.full(200, 20.0), fields)
    assert set(known["fields"]) == {"brand", "category", "weight_g", "in_stock", "retail_price", "released", "tags"}

    def drifted(change: str, to: str) -> set[str]:
        drift = Drift(known)
        assert drift.reads_fields
        for place in range(FEWEST + 2 * STEP):
            text = read.test.texts[place].replace(change, to)
            row = Row(len(text), "", "", script(text), False, 20.0 + place % 3, labelled_values(text))
            drift.add(row)
        return {each.what for each in drift.figures if each.drifted and each.what.startswith("field")}

    assert drifted("nothing", "else") == set()
    assert drifted("brand: ", "brand: new ") == {"field brand"}
    assert drifted("weight_g: ", "weight_g: 99") == {"field weight_g"}
    assert drifted("weight_g: ", "heavy: ") == {"field weight_g, missing"}
    assert drifted("released: 202", "released: 199") == {"field released"}
    assert drifted("tags: ", "tags: new, ") == {"field tags"}


def test_the_length_of_texts_is_watched() -> None:
    draw = np.random.default_rng(0)

    def catalog(words: int) -> Catalog:
        names = [" ".join(str(each) for each in draw.integers(0, 9_999, draw.integers(1, words))) for _ in range(400)]
        texts = np.array([f"thing\nabout: a{name}" for name in names], dtype=object)
        empty = np.array([""] * len(texts), dtype=object)
        return Catalog(np.arange(len(texts)).astype(str).astype(object), texts, empty)

    known = describe([catalog(9)], np.full(9, 20.0), [FieldColumn("about", "about", FieldKind.TEXT)])
    assert known["fields"]["about"]["measure"] == "length"

    def drifted(words: int) -> set[str]:
        drift = Drift(known)
        for text in catalog(words).texts[: FEWEST + STEP]:
            drift.add(Row(len(text), "", "", script(text), False, 20.0, labelled_values(text)))
        return {each.what for each in drift.figures if each.drifted and each.what.startswith("field")}

    assert drifted(9) == set()
    assert drifted(40) == {"field about"}


def test_a_native_catalog_has_no_figures_of_fields(tmp_path: Path) -> None:
    read = read_catalogs(*write_shop(tmp_path, 60), None, table=TableConfig(columns=COLUMNS))
    known = describe((read.train,), np.full(9, 20.0))
    assert "fields" not in known
    assert not Drift(known).reads_fields
