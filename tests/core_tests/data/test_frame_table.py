"""Frames of any library become the strings that files of the same values give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.data.frame_table import frame_table
from tests.errors import refused

MIXED = pd.DataFrame(
    {
        "whole": [1.0, 2.0, None],
        "count": pd.array([1, None, 3], dtype="Int64"),
        "mixed": ["x", None, 3],
        "kind": pd.Categorical(["u", "v", "u"]),
        "day": pd.to_datetime(["2020-01-01", None, "2021-05-06"]),
        7: [True, False, None],
        "tags": [["a"], [], None],
    }
)


def test_every_kind_of_cell_reads_as_in_a_file() -> None:
    assert frame_table(MIXED).columns == {
        "whole": ["1", "2", ""],
        "count": ["1", "", "3"],
        "mixed": ["x", "", "3"],
        "kind": ["u", "v", "u"],
        "day": ["2020-01-01", "", "2021-05-06"],
        "7": ["true", "false", ""],
        "tags": ['["a"]', "[]", ""],
    }


def test_arrow_tables_and_arrays_are_taken() -> None:
    assert frame_table(pa.table({"a": [1, None], "b": ["x", "y"]})).columns == {"a": ["1", ""], "b": ["x", "y"]}
    assert frame_table(np.array([[1, 2.5], [3, np.nan]])).columns == {"x0": ["1", "3"], "x1": ["2.5", ""]}
    assert frame_table([["mug", 2], ["cup", 3]]).columns == {"x0": ["mug", "cup"], "x1": ["2", "3"]}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("text", "frame-unknown-kind"),
        ({"a": [1]}, "frame-unknown-kind"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "frame-doubled-column"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "frame-doubled-text"),
        (np.zeros(3), "frame-not-two-dimensional"),
        (pd.DataFrame(), "frame-empty"),
        (pd.DataFrame({"a": []}), "frame-empty"),
    ],
)
def test_what_is_no_table_is_refused(rows: Any, code: str) -> None:
    with refused(code):
        frame_table(rows)
