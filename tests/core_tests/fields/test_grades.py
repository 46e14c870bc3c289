"""Grade words: what names say of quality and whom a product is for."""

from __future__ import annotations

import pytest

from core.fields import read_fields
from core.fields.grades import GRADES, read_grades


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Organic green tea, gluten-free", {"is_organic", "is_free_of"}),
        ("Lagavulin single malt, cask strength", {"is_single", "is_strong", "is_aged"}),
        ("Riserva Chianti", {"is_aged"}),
        ("Solid wood dining table", {"is_noble"}),
        ("Phone, refurbished", {"is_used"}),
        ("18k gold ring", {"is_precious"}),
        ("Women's leather boots", {"is_noble", "for_women"}),
        ("Herren Jacke, limitiert", {"for_men", "is_rare"}),
        ("Bio Dinkel, sans gluten", {"is_organic", "is_free_of"}),
        ("Golden premiums", set()),
        ("", set()),
    ],
)
def test_words(name: str, fields: set[str]) -> None:
    found = read_grades(name.lower())
    assert tuple(found) == GRADES
    assert {field for field, value in found.items() if value} == fields
    assert set(found.values()) <= {0.0, 1.0}


def test_the_kind_counts_and_the_description_does_not() -> None:
    row = read_fields(
        [
            "Item Name: Port Askaig 19\nBullet Point 1: Single Malt Scotch\nProduct Description: notes of leather and gold"
        ]
    ).iloc[0]
    assert (row["is_single"], row["is_noble"], row["is_precious"]) == (1.0, 0.0, 0.0)


def test_a_phrase_does_not_span_name_and_kind() -> None:
    row = read_fields(["Item Name: Every single\nBullet Point 1: Malt vinegar"]).iloc[0]
    assert row["is_single"] == 0.0
