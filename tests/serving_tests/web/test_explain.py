"""A text is taken apart into pieces that together are the text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.web.requests import MOST_PIECES, text_pieces, without

TEXTS = st.text(st.sampled_from("ab,.;\n !é"), max_size=400)


@given(TEXTS)
def test_pieces_are_in_order_and_hold_everything_but_space(text: str) -> None:
    pieces = text_pieces(text)
    assert len(pieces) <= MOST_PIECES
    assert all(start < end for start, end in pieces)
    assert all(one[1] <= other[0] for one, other in pairwise(pieces))
    inside = "".join(text[start:end] for start, end in pieces)
    assert "".join(inside.split()) == "".join(text.split())


def test_lines_are_pieces_and_long_ones_are_taken_apart() -> None:
    text = "Item Name: Jam\n\nBullet Point 1: It is made of berries, sugar and water. Nothing else is in it.\n"
    assert [text[start:end].strip() for start, end in text_pieces(text)] == [
        "Item Name: Jam",
        "Bullet Point 1: It is made of berries,",
        "sugar and water.",
        "Nothing else is in it.",
    ]


def test_a_text_without_a_piece() -> None:
    assert without("one two", (0, 4)) == "two"
