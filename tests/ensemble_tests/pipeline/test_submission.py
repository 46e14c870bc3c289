from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.pipeline.submission import verify_submission, write_submission
from tests.errors import refused

IDS = np.array(["007", "b,c", 'quo"te', "d"], dtype=object)
PRICES = np.array([1.0, 0.1 + 0.2, 1e-5, 12345678.901])


def test_ids_stay_strings_in_order_and_prices_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "submission.csv"
    write_submission(path, IDS, PRICES)
    back = pd.read_csv(path, dtype={"sample_id": str}, float_precision="round_trip")
    assert list(back.columns) == ["sample_id", "price"]
    assert back["sample_id"].tolist() == IDS.tolist()
    assert np.array_equal(back["price"], PRICES)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), min_size=1, unique=True))
def test_any_printable_id_survives(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "submission.csv"
    write_submission(path, np.array(ids, dtype=object), np.ones(len(ids)))
    verify_submission(path, np.array(ids, dtype=object))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_a_bad_price_leaves_the_last_good_one(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, IDS, PRICES)
    good = path.read_bytes()
    with refused("submission-bad-price"):
        write_submission(path, IDS, np.array([1.0, 2.0, bad, 4.0]))
    assert path.read_bytes() == good
    assert [each.name for each in tmp_path.iterdir()] == ["submission.csv"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "submission-bad-header"),
        ("id,price\n1,2\n2,3\n", "submission-bad-header"),
        ("sample_id,price\n1,2\n", "submission-row-count"),
        ("sample_id,price\n1,2\n2,3\n3,4\n", "submission-row-count"),
        ("sample_id,price\n2,3\n1,2\n", "submission-bad-row"),
        ("sample_id,price\n1,2\n1,3\n", "submission-bad-row"),
        ("sample_id,price\n1,2\n2,nan\n", "submission-bad-price"),
        ("sample_id,price\n1,2\n2,cheap\n", "submission-bad-price"),
        ("sample_id,price\n1,2\n2,3,4\n", "submission-bad-row"),
    ],
)
def test_verifier_names_what_is_wrong(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(text)
    with refused(code):
        verify_submission(path, np.array(["1", "2"], dtype=object))
