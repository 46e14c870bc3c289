"""A real browser for tests of pages, skipped where there is none. Pages leave nothing on the console and ask nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@contextmanager
def launched() -> Iterator[Any]:
    with sync_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any,
    url: str,
    width: int = 1440,
    allowed: tuple[str, ...] = (),
    refused: tuple[int, ...] = (),
    **more: Any,
) -> Iterator[Any]:
    """The page at `url`. Fails if it says anything, or asks for another address than those that start with `allowed`.

    refused: statuses of answers that are part of the test; the browser itself says those on the console.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, **more)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    expected = tuple(f"Failed to load resource: the server responded with a status of {status}" for status in refused)
    page.on("console", lambda message: message.text.startswith(expected) or said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(url)
    yield page
    context.close()
    assert said == []
    assert {each for each in asked if not each.startswith((url, *allowed))} == set()
