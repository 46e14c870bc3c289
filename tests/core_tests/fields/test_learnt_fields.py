"""Learnt fields: which labels become numbers, categories, paths and lists, and that a record reads the same rows alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.fields.learnt_fields import NO_FIELDS, LearntColumn, learn_fields_of, learnt_from


def rows(count: int = 60) -> list[dict[str, str]]:
    """Houses: sizes with a unit, a date, a category, a path, a list, a name, a constant and a rare label."""
    rng = np.random.default_rng(0)
    return [
        {
            "area": f"{rng.integers(40, 400)} m2",
            "built": f"{rng.integers(1, 13)}/{rng.integers(1950, 2020)}",
            "state": str(rng.choice(["new", "good", "poor"])),
            "place": str(rng.choice(["North / Old Town / Port", "South / Hills / Top", "North / New Town / Park"])),
            "extras": ", ".join(rng.choice(["garage", "pool", "garden", "roof"], 2, replace=False)),
            "owner": f"family {place} of {rng.integers(10**6)}",
            "country": "here",
            **({"secret": "yes"} if place < 3 else {}),
        }
        for place in range(count)
    ]


def columns() -> dict[str, LearntColumn]:
    return {column.label: column for column in learn_fields_of(rows()).columns}


def test_columns_follow_frequency_and_content() -> None:
    found = columns()
    assert found["area"].numbers == ("m2",) and not found["area"].levels
    assert found["built"].numbers == ("date",)
    assert found["state"].levels == 1 and not found["state"].numbers
    assert found["place"].levels == 3
    assert found["extras"].listed
    assert {"country", "secret"}.isdisjoint(found)  # a constant, and a label of three rows


def test_values_of_rows() -> None:
    learnt = learn_fields_of(rows())
    read = learnt.read([{"area": "1.5 m2", "place": "North / Old Town", "extras": "pool, Roof"}, {}])
    numbers = dict(zip(learnt.number_names, read.numbers.T, strict=True))
    assert numbers["area: m2"][0] == 1.5 and np.isnan(numbers["area: m2"][1])
    assert numbers["extras: items"][0] == 2
    assert read.categories["place: level 1"].tolist() == ["north", ""]
    assert read.categories["place: level 3"].tolist() == ["north / old town", ""]
    assert read.lists["extras"].tolist() == [("pool", "roof"), ()]
    assert "extras=pool" in read.tokens()[0] and read.tokens()[1] == []


def test_a_record_reads_alike() -> None:
    learnt = learn_fields_of(rows())
    again = learnt_from(json.loads(json.dumps(learnt.record())))
    assert again == learnt
    assert np.array_equal(again.read(rows()).numbers, learnt.read(rows()).numbers, equal_nan=True)


def test_rows_are_taken_from_every_part() -> None:
    read = learn_fields_of(rows()).read(rows())
    mask = np.arange(60) % 2 == 0
    taken = read.take(mask)
    assert len(taken.numbers) == 30
    assert taken.lists["extras"].tolist() == read.lists["extras"][mask].tolist()


@pytest.mark.parametrize("count", [0, 1, 14])
def test_too_few_rows_have_no_fields(count: int) -> None:
    assert learn_fields_of(rows(count)) == NO_FIELDS


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text(min_size=1, max_size=20)), min_size=20, max_size=40))
def test_any_values_are_learnt_and_read(found: list[dict[str, str]]) -> None:
    learnt = learn_fields_of(found)
    read = learnt.read(found)
    assert read.numbers.shape == (len(found), len(learnt.number_names))
    assert not np.isinf(read.numbers).any()
    assert len(read.tokens()) == len(found)
