"""Labelled lines: lines, bullets and lists of `Label: value`; what is prose or too long is not read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fields.learnt_fields import labelled_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("Baujahr: 2004\nLuas  Tanah : 120 m2", {"baujahr": "2004", "luas tanah": "120 m2"}, id="lines"),
        pytest.param("Bullet Point 1: Author: Jane Doe", {"author": "Jane Doe"}, id="labelled-bullet"),
        pytest.param("Bullet Point 2: Paperback, 6 Jul 2014", {"bullet 2": "Paperback, 6 Jul 2014"}, id="plain-bullet"),
        pytest.param(
            "Feature: solid oak\nFeature: oiled", {"bullet 1": "solid oak", "bullet 2": "oiled"}, id="counted"
        ),
        pytest.param("Bullet Point 3: Ratio: 16:9; Color: red", {"ratio": "16:9", "color": "red"}, id="list"),
        pytest.param("Size: 3; 4", {"size": "3; 4"}, id="one-label-is-no-list"),
        pytest.param("Genre: Crime\nGenre: Drama", {"genre": "Crime"}, id="first-counts"),
        pytest.param("Item Name: Lamp: tall\nDescription: Note: old\nValue: 3\nUnit: oz", {}, id="native-lines"),
        pytest.param("see http://example.com: good", {}, id="address"),
        pytest.param("we say to everybody who asks us: hello", {}, id="sentence"),
        pytest.param("", {}, id="empty"),
    ],
)
def test_values_of_a_text(text: str, values: dict[str, str]) -> None:
    assert labelled_values(text) == values


@given(st.text(max_size=400))
def test_any_text_is_read(text: str) -> None:
    for label, value in labelled_values(text).items():
        assert label == " ".join(label.lower().split())
        assert value and len(value) <= 300


def test_a_text_of_colons_costs_little_and_gives_bounded_values() -> None:
    found = labelled_values("a: " * 10_000 + "\n" + "\n".join(f"label {place}: {place}" for place in range(10_000)))
    assert len(found) <= 400
