"""Texts that models are shown, and those they are not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.common.limits import Limits, check_text

LIMITS = Limits(text_chars=40)


@given(st.text(max_size=40))
def test_texts_pass_as_they_are(text: str) -> None:
    assert check_text(text, LIMITS) == text


def test_long_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="41 characters, more than the limit of 40"):
        check_text("\N{HOT BEVERAGE}" * 41, LIMITS)


def test_halves_of_surrogate_pairs_are_refused() -> None:
    assert check_text(json.loads('"\\ud83d\\ude00"'), LIMITS) == "\N{GRINNING FACE}"
    with pytest.raises(ValueError, match="character 3 of the text is half a surrogate pair"):
        check_text(json.loads('"ab\\ud83d"'), LIMITS)
