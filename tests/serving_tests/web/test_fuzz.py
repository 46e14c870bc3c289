"""Fuzzing of requests: an answer or a refusal, and never a fault."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from serving.common.limits import Limits
from serving.engine.process_worker import BatchComputer
from tests.serving_tests.conftest import client_of
from tests.serving_tests.engines import Script

CALM = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
FREE = Limits(requests_per_second=1e9, burst=10**9, picture_pixels=1_000_000)


@pytest.fixture
def client(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The real models, in threads instead of processes."""
    Script(monkeypatch).reply = BatchComputer(exported).compute
    with client_of(exported, limits=FREE) as found:
        yield found


texts = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(categories=["Lo", "Mn", "So", "Cf", "Zs", "Nd"]), max_size=100),
    st.from_regex(r"(Item Name: [^\n]{0,40}\n)?(Value: -?[0-9.e+]{0,12}\n)?(Unit: \w{0,10})?", fullmatch=True),
    st.sampled_from(["\x00", "1e999 oz", "Pack of 0", "0 x 0 ml"]),
    st.sampled_from(["9" * 5_000, "½" * 200, "\u202e" * 50, "a\n" * 5_000, "x " * 40_000]),
)


@given(text=texts)
@settings(max_examples=150, **CALM)
def test_any_text_has_a_price(client: TestClient, text: str) -> None:
    body = json.dumps({"catalog_content": text}).encode("utf-8", "surrogatepass")
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        found = answer.json()
        assert 0 < found["interval"]["low"] <= found["predicted_price"] <= found["interval"]["high"]
        assert found["level"] == "stack"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(path=st.sampled_from(["/predict", "/predict/batch", "/explain", "/outcomes", "/admin/reload"]), body=json_values)
@settings(max_examples=150, **CALM)
def test_any_json_is_answered_or_refused(client: TestClient, path: str, body: Any) -> None:
    sent = json.dumps(body).encode("utf-8", "surrogatepass")
    answer = client.post(path, content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 409, 422)


def image_bytes(kind: str, side: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(stream, kind)
    return stream.getvalue()


WHOLE = [image_bytes(kind, side) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP") for side in (1, 40)]


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Whole ones, cut ones, ones with changed bytes, and no images at all."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    kind = draw(st.sampled_from(["whole", "cut", "changed", "other"]))
    if kind == "cut":
        return bytes(data[: draw(st.integers(0, len(data)))])
    if kind == "changed":
        for _ in range(draw(st.integers(1, 20))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return draw(st.binary(max_size=200)) if kind == "other" else bytes(data)


def priced_with(client: TestClient, data: bytes) -> str:
    """Status of the image of a row that has a price."""
    fields, files = {"catalog_content": "Item Name: nut"}, {"image": ("a", data, "image/png")}
    answer = client.post("/predict", data=fields, files=files)
    assert answer.status_code == 200
    return str(answer.json()["picture"])


@given(data=images())
@settings(max_examples=150, **CALM)
def test_any_image_leaves_a_price(client: TestClient, data: bytes) -> None:
    assert priced_with(client, data) in ("not used", "not had", "none")


def test_a_bomb_is_no_image(client: TestClient) -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    assert priced_with(client, stream.getvalue()) == "not had"
