"""Limits: defaults, changes, and texts that they let through."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.data.reading import MAX_TEXT
from serving.common.limits import Limits, check_text, read_limits
from tests.errors import refused


def test_defaults_fetch_nothing_and_fit_together() -> None:
    limits = Limits()
    assert limits.image_hosts == ()
    assert limits.text_chars == MAX_TEXT and limits.batch_rows == 1024
    assert limits.form_bytes > limits.picture_bytes + limits.text_chars * 4
    assert limits.json_bytes > limits.text_chars * 4


def test_limits_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Limits().json_depth = 3  # type: ignore[misc]


def test_limits_are_read_from_assignments() -> None:
    limits = read_limits(
        ["json_depth=3", "image_hosts=[cdn.example.com, '*.Shop.example']", "refused_networks=[1.2.0.0/16]"]
    )
    assert limits.json_depth == 3
    assert limits.image_hosts == ("cdn.example.com", "*.shop.example")
    assert limits.refused_networks == (ip_network("1.2.0.0/16"),)
    assert limits == Limits(json_depth=3, image_hosts=limits.image_hosts, refused_networks=limits.refused_networks)
    assert read_limits([]) == Limits()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("json_dept=3", "config-unknown-setting"),
        ("json_depth=0", "config-bad-value"),
        ("json_depth=deep", "config-bad-value"),
        ("json_depth", "limit-unknown"),
        ("image_hosts=cdn.example.com", "config-bad-value"),
        ("image_hosts=[localhost]", "config-bad-value"),
        ("refused_networks=[x]", "config-bad-value"),
        ("json_depth=[", "limit-unreadable"),
    ],
)
def test_mistakes_are_named(line: str, code: str) -> None:
    with refused(code) as caught:
        read_limits([line])
    assert ("json_depth" if line.startswith("json") else line.partition("=")[0]) in str(caught.value)


SHORT = Limits(text_chars=40)


@given(st.text(max_size=40))
def test_texts_pass_as_they_are(text: str) -> None:
    assert check_text(text, SHORT) == text


def test_long_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="41 characters, more than the limit of 40"):
        check_text("\N{HOT BEVERAGE}" * 41, SHORT)


def test_halves_of_surrogate_pairs_are_refused() -> None:
    assert check_text(json.loads('"\\ud83d\\ude00"'), SHORT) == "\N{GRINNING FACE}"
    with pytest.raises(ValueError, match="character 3 of the text is half a surrogate pair"):
        check_text(json.loads('"ab\\ud83d"'), SHORT)
