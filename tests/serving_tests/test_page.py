"""The page in a real browser: a price, what drove it, a dropped picture, a refused key, nothing on the console."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser import launched, needs_chromium, opened
from tests.serving_tests.test_api import running

pytestmark = needs_chromium

TEXT = "Item Name: ACME Jam, 9 oz (Pack of 6)\nValue: 54.0\nUnit: Ounce"
HOSTILE = "Item Name: <script>window.hit = 1</script><img src=x onerror='window.hit = 1'> jam\nUnit: Ounce"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def address(_exported: Any) -> Iterator[str]:
    with running(_exported.folder, "--workers", "1") as (_, found):
        yield found


@pytest.fixture(params=[1440, 390])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opened(browser, address, request.param, allowed=("blob:",)) as page:
        yield page


def price(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.click("#send")
    page.wait_for_selector("#pieces:not([hidden])")


def test_a_price_and_what_drove_it(page: Any) -> None:
    price(page, TEXT)
    assert float(page.inner_text("#price").replace(",", "")) > 0
    assert "80% interval" in page.inner_text("#level-note")
    assert "acme" in page.inner_text("#fields")
    assert page.locator("#pieces tbody tr").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    price(page, TEXT)
    page.wait_for_selector("text=from memory")


def test_a_picture_is_shown_and_sent(page: Any, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "PNG")
    page.set_input_files("#picture", [{"name": "red.png", "mimeType": "image/png", "buffer": stream.getvalue()}])
    assert page.is_visible("#preview")
    price(page, TEXT)
    page.wait_for_selector("text=with its picture")


def test_hostile_texts_are_shown_as_text(page: Any) -> None:
    price(page, HOSTILE)
    assert "<script>" in page.inner_text("#pieces")
    assert page.evaluate("window.hit") is None


def test_drift_has_a_page(page: Any, address: str) -> None:
    page.goto(f"{address}/drift")
    page.wait_for_selector("text=rows so far")
