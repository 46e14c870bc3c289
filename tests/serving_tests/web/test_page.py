"""The page in a real browser: a price, what drove it, a dropped image, a refused key, nothing on the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.middleware.key_store import add_key
from tests.browser import launched, needs_chromium, opened
from tests.serving_tests.conftest import png, reads_images
from tests.serving_tests.test_api import FREE, post, running

pytestmark = needs_chromium

TEXT = "Item Name: ACME Jam, 9 oz (Pack of 6)\nValue: 54.0\nUnit: Ounce"
LONGEST = 2_000
"""Characters of a text, fewer than the page's own form takes."""
BROKEN_WORDS = """() => [...document.querySelectorAll("#figures td:first-child")].filter((cell) => {
  const range = document.createRange();
  let end = 0;
  return cell.textContent.split(" ").some((word) => {
    range.setStart(cell.firstChild, end && end + 1);
    end = (end && end + 1) + word.length;
    range.setEnd(cell.firstChild, end);
    return range.getClientRects().length > 1;
  });
}).map((cell) => cell.textContent)"""
"""Cells of the first column in which a word stands on two lines."""
HOSTILE = "Item Name: <script>window.hit = 1</script><img src=x onerror='window.hit = 1'> jam\nUnit: Ounce"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def address(_exported: Any) -> Iterator[str]:
    with running(_exported.folder, "--workers", "1", "--limit", f"text_chars={LONGEST}", *FREE) as (_, found):
        yield found


@pytest.fixture(params=[1440, 390])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opened(browser, address, request.param, allowed=("blob:",), refused=(422,)) as page:
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


def choose(page: Any, data: bytes) -> None:
    page.set_input_files("#picture", [{"name": "red.png", "mimeType": "image/png", "buffer": data}])


def test_an_image_is_shown_and_marked_unused_where_no_member_reads_it(page: Any) -> None:
    choose(page, png())
    page.wait_for_selector("#preview", state="visible")
    price(page, TEXT)
    assert "picture not used by this bundle" in page.inner_text("#facts")


def test_an_image_that_a_member_reads_is_marked_used(browser: Any, exported: Path) -> None:
    reads_images(exported)
    with running(exported, "--workers", "1") as (_, address), opened(browser, address, allowed=("blob:",)) as page:
        choose(page, png())
        price(page, TEXT)
        assert "with its picture" in page.inner_text("#facts")


def test_a_file_that_is_no_image_is_named_and_not_drawn(page: Any) -> None:
    choose(page, b"no picture")
    page.wait_for_selector("text=red.png: this browser cannot show it")
    assert not page.is_visible("#preview")
    price(page, TEXT)
    assert page.inner_text("#note").startswith("Priced without its picture: ")
    page.click("#clear")
    assert page.inner_text("#drop-text").startswith("Drop a picture here")
    choose(page, png())
    page.wait_for_selector("#preview", state="visible")


def test_an_empty_text_has_a_note(page: Any) -> None:
    page.fill("#text", " ")
    page.click("#send")
    page.wait_for_selector("text=the text is empty")
    page.wait_for_selector("text=The models read no fields in the text.")


def test_no_old_price_stands_beside_an_error(page: Any) -> None:
    price(page, TEXT)
    page.fill("#text", "x" * (LONGEST + 1))
    page.click("#send")
    page.wait_for_selector("#error", state="visible")
    assert not page.is_visible("#result")
    price(page, TEXT)
    assert page.is_visible("#result") and not page.is_visible("#error")


def test_a_price_stands_where_only_its_explanation_failed(page: Any) -> None:
    refusal = {"title": "Unprocessable Content", "status": 422, "request_id": "1"}
    page.route("**/explain", lambda route: route.fulfill(status=422, json=refusal))
    page.fill("#text", TEXT)
    page.click("#send")
    page.wait_for_selector("#error", state="visible")
    assert page.is_visible("#price")


def test_links_that_would_carry_no_key_are_not_offered(browser: Any, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = add_key(path, "shop")
    with (
        running(exported, "--workers", "1", "--keys", str(path)) as (_, address),
        opened(browser, address, refused=(401,)) as page,
    ):
        page.wait_for_selector("#key", state="visible")
        assert not page.is_visible("#documents")
        assert page.is_visible("text=take the key in a header")
        page.fill("#key", key)
        price(page, TEXT)
        assert not page.is_visible("#error")


def test_hostile_texts_are_shown_as_text(page: Any) -> None:
    price(page, HOSTILE)
    assert "<script>" in page.inner_text("#pieces")
    assert page.evaluate("window.hit") is None


def test_drift_has_a_page(page: Any, address: str) -> None:
    page.goto(f"{address}/drift")
    page.wait_for_selector("#bundle:has-text('rows')")


@pytest.fixture
def drifting(address: str) -> str:
    """The address of the page, which has figures to show."""
    rows = [{"catalog_content": f"Item Name: nut {number}"} for number in range(100)]
    assert post(f"{address}/predict/batch", {"rows": rows})["priced"] == 100
    return f"{address}/drift"


@pytest.mark.parametrize("width", [1440, 390, 320])
def test_figures_of_drift_fit_without_breaking_words(browser: Any, drifting: str, width: int) -> None:
    with opened(browser, drifting, width, allowed=(drifting.removesuffix("drift"),)) as page:
        page.wait_for_selector("#figures td >> nth=0")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(BROKEN_WORDS) == []


def test_figures_of_drift_that_could_not_be_renewed_are_marked_old(browser: Any, drifting: str) -> None:
    with opened(browser, drifting, allowed=(drifting.removesuffix("drift"),), refused=(503,)) as page:
        page.wait_for_selector("#figures td >> nth=0")
        page.route("**/drift.json", lambda route: route.fulfill(status=503))
        page.dispatch_event("#key", "change")
        page.wait_for_selector("text=These figures are old")
