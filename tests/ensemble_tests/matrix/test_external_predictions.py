from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.data.catalog_config import FileFormatConfig, PriceFormat
from core.errors import UserError
from ensemble.matrix.external_predictions import FoldSplit, from_files, group_folds
from ensemble.matrix.screening import ScreeningConfig
from tests.core_tests.data.xlsx import write_xlsx
from tests.ensemble_tests.toys import Frames, frames, save
from tests.errors import refused


def test_csv_and_parquet_give_the_same_matrix(tmp_path: Path) -> None:
    left, right = frames()
    csv = from_files(*save(tmp_path, left, right))
    left.to_parquet(tmp_path / "oof.parquet")
    right[["b", "sample_id", "a"]].to_parquet(tmp_path / "test.parquet")
    parquet = from_files(tmp_path / "oof.parquet", tmp_path / "test.parquet")
    assert csv.names == parquet.names == ("a", "b")
    assert csv.ids[0] == "0000"
    assert np.array_equal(csv.oof, parquet.oof)
    assert np.array_equal(csv.test, parquet.test)
    assert csv.fingerprints == parquet.fingerprints
    assert (csv.catalog, csv.folds_hash) == (parquet.catalog, parquet.folds_hash)


def test_integer_ids_of_parquet_are_the_strings_of_csv(tmp_path: Path) -> None:
    left, right = frames()
    left["sample_id"], right["sample_id"] = range(40), range(100, 110)
    left.to_parquet(tmp_path / "oof.parquet")
    _, test = save(tmp_path, left, right)
    assert from_files(tmp_path / "oof.parquet", test).ids[7] == "7"


def test_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    left, right = frames()
    oof, test = save(tmp_path, left, right)
    left.to_csv(oof, index=False, encoding="utf-8-sig")
    assert len(from_files(oof, test).ids) == 40


def test_rows_without_a_group_are_products_of_their_own(tmp_path: Path) -> None:
    left, right = frames(40, 10)
    left["brand"] = ["a", "", "a", ""] * 10
    csv = from_files(*save(tmp_path, left, right), groups="brand").groups
    left["brand"] = left["brand"].replace("", None)
    left.to_parquet(tmp_path / "oof.parquet")
    parquet = from_files(tmp_path / "oof.parquet", tmp_path / "test.csv", groups="brand").groups
    for groups in (csv, parquet):
        assert len(set(groups[::2])) == 1 and len(set(groups)) == 21


def test_groups_stay_in_one_fold_and_are_no_member(tmp_path: Path) -> None:
    left, right = frames()
    left["brand"] = [f"brand {row % 9}" for row in range(40)]
    found = from_files(*save(tmp_path, left, right), groups="brand", split=FoldSplit(3))
    assert found.names == ("a", "b")
    assert all(len(set(found.folds[found.groups == group])) == 1 for group in range(9))


def test_member_with_too_many_holes_is_left_out_and_named(tmp_path: Path) -> None:
    left, right = frames()
    left.loc[[3, 9, 11], "a"] = np.nan
    found = from_files(*save(tmp_path, left, right))
    assert found.names == ("b",)
    assert "member a is left out: 3 of 40 training rows" in found.notes[0]
    assert "row 4, sample_id 0003" in found.notes[0]
    for rules in (ScreeningConfig(max_missing=0.1), ScreeningConfig(keep=("a",))):
        completed = from_files(*save(tmp_path, left, right), rules=rules)
        assert completed.names == ("a", "b")
        assert np.isfinite(completed.oof).all()


def test_features_are_numbers_as_they_are_and_words_by_frequency(tmp_path: Path) -> None:
    left, right = frames()
    left["weight"], right["weight"] = np.arange(40.0), np.arange(10.0)
    left.loc[3, "weight"] = np.nan
    left["brand"] = ["Corvus"] * 20 + ["Acme"] * 17 + ["once"] * 3
    right["brand"] = ["Acme", "Corvus", "new", ""] + ["Acme"] * 6
    left["same"], right["same"] = 1, 2
    for kind in ("csv", "parquet"):
        oof, test = save(tmp_path, left, right)
        if kind == "parquet":
            oof, test = oof.with_suffix(".parquet"), test.with_suffix(".parquet")
            left.to_parquet(oof), right.to_parquet(test)
        found = from_files(oof, test, features=["weight", "brand", "same"])
        assert found.names == ("a", "b")
        assert found.feature_names == ("weight", "brand")
        assert found.features[[2, 3, 20, 39]].tolist() == pytest.approx(
            np.array([[2, 0], [np.nan, 0], [20, 1], [39, np.nan]]), nan_ok=True
        )
        assert found.test_features[:4, 1] == pytest.approx([1, 0, np.nan, np.nan], nan_ok=True)
        assert "the feature 'same' is not used: it separates no training rows" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "code"), [("brnd", "predictions-feature-missing"), ("price", "predictions-no-feature")]
)
def test_bad_features_are_named_with_a_hint(tmp_path: Path, name: str, code: str) -> None:
    left, right = frames()
    with refused(code) as caught:
        from_files(*save(tmp_path, left, right), features=[name])
    assert caught.value.hint


def test_price_of_the_test_table_is_noted_as_unused(tmp_path: Path) -> None:
    left, right = frames()
    right["price"] = 1.0
    found = from_files(*save(tmp_path, left, right))
    assert found.names == ("a", "b")
    assert "is not used" in found.notes[0]


def edited(part: int, row: int, column: object, value: object) -> Callable[[Frames], Frames]:
    """The tables with another value in a cell of one of them."""

    def apply(tables: Frames) -> Frames:
        tables[part].loc[row, column] = value
        return tables

    return apply


CASES: dict[str, tuple[Callable[[Frames], Frames], str]] = {
    "no id column": (lambda t: (t[0].rename(columns={"sample_id": "sampleid"}), t[1]), "no column 'sample_id'"),
    "no price": (
        lambda t: (t[0].rename(columns={"price": "Price"}), t[1]),
        "no column 'price' with the true prices",
    ),
    "no members": (lambda t: (t[0][["sample_id", "price"]], t[1]), "no column with predictions"),
    "member not in test": (lambda t: (t[0], t[1].drop(columns="b")), "test.csv has no column 'b'"),
    "member not in oof": (lambda t: (t[0].drop(columns="a"), t[1]), "oof.csv has no column 'a'"),
    "doubled id": (edited(0, 5, "sample_id", "0004"), "more than one row: 0004"),
    "doubled test id": (edited(1, 5, "sample_id", "0044"), "more than one row: 0044"),
    "empty id": (edited(0, 5, "sample_id", ""), "row 6 has no sample_id"),
    "shared rows": (lambda t: (t[0], t[0].drop(columns="price")), "40 rows have the same sample_id and predictions"),
    "infinite": (edited(0, 2, "a", np.inf), r"member a .*row 3 \(sample_id 0002\): inf"),
    "zero": (edited(1, 2, "b", 0.0), r"member b has test .*row 3 \(sample_id 0042\): 0"),
    "negative": (edited(0, 2, "a", -2.0), r"row 3 .*: -2"),
    "word": (
        lambda t: (t[0].astype({"a": object}).replace({"a": {t[0]["a"][1]: "dear"}}), t[1]),
        "row 2: 'dear'",
    ),
    "bad price": (edited(0, 2, "price", -1.0), r"column 'price': row 3"),
    "missing price": (edited(0, 2, "price", np.nan), r"column 'price': row 3"),
    "no rows": (lambda t: (t[0], t[1][:0]), "no rows"),
    "all holes": (
        edited(0, 2, ["a", "b"], np.nan),
        "no member is left to stack",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_tables_are_named_with_a_hint(tmp_path: Path, case: str) -> None:
    change, code = CASES[case]
    with pytest.raises(UserError, match=code) as caught:
        from_files(*save(tmp_path, *change(frames())))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "csv-empty"),
        (b"sample_id;price;a\n1;2;3;\n", "csv-ragged-rows"),
        (b"sample_id,price,a,a\n1,2,3,4\n", "predictions-doubled-column"),
        (b"sample_id,price,caf\xc3\xa9,\xc3\xa9\n1,2,caf\xe9\n", "csv-not-utf8"),
        (b"sample_id,price,a\n1,2,3,4,5,6\n1,2\n1,2,3,4,5,6,7\n", "csv-ragged-rows"),
        (b"%PDF-1.7", "table-other-format"),
    ],
)
def test_bad_files_are_named_with_a_hint(tmp_path: Path, content: bytes, code: str) -> None:
    oof, test = save(tmp_path, *frames())
    oof.write_bytes(content)
    with refused(code) as caught:
        from_files(oof, test)
    assert str(oof) in caught.value.what


def test_tables_in_other_forms(tmp_path: Path) -> None:
    left, right = frames()
    plain = from_files(*save(tmp_path, left, right))
    left.round(2).to_csv(tmp_path / "oof.csv", sep=";", decimal=",", index=False, encoding="utf-16")
    right.to_csv(tmp_path / "test.csv.gz", sep="\t", index=False)
    found = from_files(tmp_path / "oof.csv", tmp_path / "test.csv.gz")
    assert found.oof == pytest.approx(plain.oof.round(2), abs=0.006)
    assert np.array_equal(found.test, plain.test)
    assert found.ids.tolist() == plain.ids.tolist()
    notes = "\n".join(found.notes)
    assert all(words in notes for words in ("UTF-16", "semicolons", "tabs", "column 'a': decimal comma"))


def test_a_named_sheet_and_price_format(tmp_path: Path) -> None:
    left, right = frames()
    for name, frame in (("oof", left), ("test", right)):
        cells = [
            list(frame),
            *([f"{each:.3f}" if isinstance(each, float) else each for each in row] for row in frame.to_numpy()),
        ]
        (tmp_path / name).write_bytes(write_xlsx([["old"], ["1"]], cells))
    paths = tmp_path / "oof", tmp_path / "test"
    named = from_files(*paths, table=FileFormatConfig(sheet="Sheet2"))
    assert named.oof * named.scale == pytest.approx(left[["a", "b"]].to_numpy(), abs=0.001)
    dotted = from_files(*paths, table=FileFormatConfig(sheet="Sheet2", price_format=PriceFormat.POINT_COMMA))
    assert dotted.oof * dotted.scale == pytest.approx(1000 * left[["a", "b"]].to_numpy(), abs=1)
    with refused("predictions-no-id-column"):
        from_files(*paths)
    with refused("excel-no-such-sheet"):
        from_files(*paths, table=FileFormatConfig(sheet="Sheet3"))
    left.to_parquet(tmp_path / "oof.parquet")
    with refused("sheet-without-excel"):
        from_files(tmp_path / "oof.parquet", paths[1], table=FileFormatConfig(sheet="Sheet2"))


@pytest.mark.parametrize("start", [0, 1])
def test_a_column_of_row_numbers_is_no_member(tmp_path: Path, start: int) -> None:
    left, right = frames()
    plain = from_files(*save(tmp_path, left, right))
    left.index, right.index = left.index + start, right.index + start
    left.to_csv(tmp_path / "oof.csv"), right.to_csv(tmp_path / "test.csv")
    for rules in (None, ScreeningConfig(drop=("Unnamed: 0",))):
        found = from_files(tmp_path / "oof.csv", tmp_path / "test.csv", rules=rules)
        assert found.names == ("a", "b") and np.array_equal(found.oof, plain.oof)
        assert "'Unnamed: 0'" in found.notes[0]


def test_a_separator_at_each_lines_end_is_no_member(tmp_path: Path) -> None:
    paths = save(tmp_path, *frames())
    plain = from_files(*paths)
    for path in paths:
        path.write_text(path.read_text().replace("\n", ",\n"))
    found = from_files(*paths)
    assert found.names == ("a", "b") and np.array_equal(found.oof, plain.oof)


def test_both_files_may_count_their_rows_from_zero(tmp_path: Path) -> None:
    left, right = frames()
    plain = from_files(*save(tmp_path, left, right))
    right["sample_id"] = left["sample_id"][: len(right)]
    found = from_files(*save(tmp_path, left, right))
    assert np.array_equal(found.test, plain.test) and found.test_ids[0] == found.ids[0]


def test_ids_that_became_floats(tmp_path: Path) -> None:
    left, right = frames()
    left["sample_id"], right["sample_id"] = np.arange(40.0), range(100, 110)
    left.to_parquet(tmp_path / "oof.parquet"), right.to_parquet(tmp_path / "test.parquet")
    assert from_files(tmp_path / "oof.parquet", tmp_path / "test.parquet").ids[7] == "7"
    left.to_csv(tmp_path / "oof.csv", index=False)
    found = from_files(tmp_path / "oof.csv", tmp_path / "test.parquet")
    assert found.ids[7] == "7" and "read as 0" in " ".join(found.notes)


def test_missing_file_and_broken_parquet(tmp_path: Path) -> None:
    oof, test = save(tmp_path, *frames())
    with refused("predictions-missing-file"):
        from_files(tmp_path / "nowhere.csv", test)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with refused("predictions-unreadable"):
        from_files(oof, tmp_path / "x.parquet")


def test_unknown_group_column_is_answered_with_the_nearest(tmp_path: Path) -> None:
    left, right = frames()
    left["brand"] = "x"
    with refused("predictions-no-group-column"):
        from_files(*save(tmp_path, left, right), groups="brnd")


def test_too_few_rows(tmp_path: Path) -> None:
    with refused("stack-too-few-rows"):
        from_files(*save(tmp_path, *frames(rows=9)))


def test_group_folds_are_balanced_seeded_and_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 50, 400)
    folds = group_folds(labels, 5, seed=1)
    assert np.array_equal(folds, group_folds(labels, 5, seed=1))
    assert not np.array_equal(folds, group_folds(labels, 5, seed=2))
    assert np.ptp(np.bincount(folds)) <= 20
    assert all(len(set(folds[labels == label])) == 1 for label in set(labels))


@pytest.mark.parametrize("k", [0, 1, 6])
def test_impossible_numbers_of_folds(k: int) -> None:
    with refused("predictions-too-few-groups"):
        group_folds(np.arange(5), k, seed=0)
