"""Bodies bounded before anything parses them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.common.limits import Limits
from serving.middleware.bodies import BodyLimits, deeper_than
from tests.serving_tests.asgi_toys import converse, echo, scope_of

LIMITS = Limits(form_bytes=100, json_bytes=50, json_depth=3, body_seconds=0.05, linger_seconds=0.05)
APP = BodyLimits(echo, LIMITS)


def ask(parts: Sequence[bytes], *, ends: bool = True, **headers: str) -> tuple[int, bytes]:
    status, _, body = converse(APP, scope_of(**headers), parts, ends=ends)
    return status, body


def test_bodies_within_the_limits_arrive_whole() -> None:
    assert ask([b""]) == (200, b"0")
    assert ask([b'{"a":', b"[1, 2]", b"}"]) == (200, b"12")
    assert ask([b"[" + b"1" * 48 + b"]"], content_length="50") == (200, b"50")
    assert ask([b"[" * 100], content_type="multipart/form-data; boundary=x") == (200, b"100")


@pytest.mark.parametrize("kind", ["application/json", "", "image/png"])
def test_large_bodies_are_answered_413_announced_or_not(kind: str) -> None:
    assert ask([b" " * 51], content_type=kind)[0] == 413
    assert ask([b" " * 20] * 3, content_type=kind)[0] == 413
    assert ask([b""], content_type=kind, content_length="51")[0] == 413
    assert ask([b" " * 60], content_type=kind, content_length="10")[0] == 413
    assert ask([b" " * 60], content_type=kind, content_length="-10")[0] == 413


def test_forms_have_a_limit_of_their_own() -> None:
    assert ask([b"x" * 101], content_type="Multipart/Form-Data; boundary=x")[0] == 413
    assert ask([b"x" * 51, b"x" * 51], content_type="application/x-www-form-urlencoded")[0] == 413


def test_a_chunked_body_is_read_no_further_than_to_its_limit() -> None:
    """The client goes on for ever, and is answered after the third part."""
    assert ask([b" " * 20] * 3, ends=False)[0] == 413


def test_a_body_that_never_ends_is_answered_408() -> None:
    assert ask([b"[", b""], ends=False)[0] == 408


def test_a_client_that_leaves_is_not_answered() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def app(scope: object, _: object, send: object) -> None:
        await APP(scope, receive, send)  # type: ignore[arg-type]

    assert converse(app, scope_of())[0] == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"[[[[1]]]]", b'{"a":{"b":[{}]}}', b"[" * 50, b"]" * 10, b"[", b'"\\"[[[["[[[['])
def test_deep_bodies_are_answered_400_as_problems(body: bytes) -> None:
    status, headers, answer = converse(APP, scope_of(), [body])
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(answer)["detail"] == "the body's brackets are nested deeper than 3, or do not match"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_brackets_do_not_hide_in_other_encodings(encoding: str) -> None:
    assert json.loads("[[[[]]]]".encode(encoding)) == [[[[]]]]
    status, _, answer = converse(APP, scope_of(), ["[[[[]]]]".encode(encoding)])
    assert (status, json.loads(answer)["detail"]) == (400, "the body is not JSON in UTF-8")


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(st.sampled_from('[]{}"\\a\n\u2200')), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.sampled_from('[{"\\')), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_depth_is_what_the_parsed_value_has(value: object, ascii_only: bool, indent: int | None) -> None:
    body, depth = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), depth_of(value)
    assert not deeper_than(depth, body)
    assert depth == 0 or deeper_than(depth - 1, body)


@given(st.binary(max_size=60))
def test_no_json_is_deeper_than_what_is_let_through(body: bytes) -> None:
    if not deeper_than(2, body) and b"\0" not in body:
        try:
            value = json.loads(body)
        except ValueError:
            return
        assert depth_of(value) <= 2
