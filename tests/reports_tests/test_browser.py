"""The page in a real browser, opened from disk: every figure drawn, filters, hostile texts, accessibility, print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from core.data.catalog import PRICE
from ensemble.stack import stack_workspace
from reports.build import build_report
from tests.browser import launched, needs_chromium, opened
from tests.conftest import made_workspace, toy_frame
from tests.reports_tests.toys import add_plausible_members, study, trial, with_texts, write_history

pytestmark = [needs_chromium, pytest.mark.e2e]

HOSTILE = [
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1"> </script><script>window.hit = 1</script>',
    "y" * 50_000,
    "\u0645\u0631\u062d\u0628\u0627 \u202e reversed 🍵",
]
BRAND = "<script>window.hit=1</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def searched() -> list[dict[str, Any]]:
    """A study with everything that the page has a figure for."""
    points = [
        trial(number, 40.0 + number % 7, rate=[1e-5, 2e-5, 5e-5][number % 3], depth=number % 2 + 1)
        for number in range(12)
    ]
    others = [
        trial(12, 60.0, end=12, state="pruned", rate=1e-5, depth=1),
        trial(13, None, end=13, state="failed", error="MemoryError: <b>9 GiB</b>", rate=5e-5, depth=2),
    ]
    return [
        study("text", *points, *others, importances={"rate": 0.7, "depth": 0.3}, documented={"rate": 2e-5, "depth": 1}),
        study("boosted", *(trial(number, 35.0 + number, leaves=2**number) for number in range(5))),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    train, test = folder / "train.csv", folder / "test.csv"
    toy_frame(120, 0).to_csv(train, index=False)
    toy_frame(60, 1, first=100_000).drop(columns=PRICE).to_csv(test, index=False)
    texts = [f"Item Name: {BRAND} {text}\nUnit: {BRAND}" for text in HOSTILE * 3]
    workspace = with_texts(made_workspace(folder, (train, test)), texts)
    write_history(workspace, *searched())
    members = add_plausible_members(workspace, 4)
    stack_workspace(workspace)
    assert len(members) == 4
    return build_report(workspace).resolve().as_uri()


def drawn(page: Any) -> list[str]:
    """Names of the charts in sight, once all of them are drawn."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.wait_for_selector("[data-chart]:not([data-state=drawn])", state="detached")
    found: list[str] = page.eval_on_selector_all("[data-chart]", "all => all.map((each) => each.dataset.chart)")
    return found


@pytest.mark.parametrize("width", [1440, 390])
def test_every_figure_is_drawn_and_nothing_leaves_its_place(browser: Any, report: str, width: int) -> None:
    with opened(browser, report, width) as page:
        names = drawn(page)
        sweep = {"best_by_minutes", "learning_curves", "parallel_text", "slices_text", "importances", "time"}
        rows = {"absences", "candidates", "density", "calibration", "by_unit", "by_brand", "drift", "strengths"}
        assert sweep | rows <= set(names)
        marks = page.eval_on_selector_all(
            "[data-chart]", "all => all.map((each) => each.querySelectorAll('svg path, svg text').length)"
        )
        assert min(marks) > 3
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_texts_are_shown_and_never_run(browser: Any, report: str) -> None:
    with opened(browser, report) as page:
        drawn(page)
        page.fill("[data-filters=rows] input", "window.hit")
        assert page.evaluate("window.hit") is None
        assert page.locator("#rows li:visible").count() > 0
        assert page.locator("#rows li:visible bdi").filter(has_text="<script>window.hit = 1</script>").count() > 0
        assert page.locator("[data-chart=by_brand] svg").text_content().count("script") > 0


def test_filters_show_the_rows_that_fit_and_say_how_many(browser: Any, report: str) -> None:
    with opened(browser, report) as page:
        page.select_option("[data-filters=trials] select[name=state]", "failed")
        assert page.locator("#trials tr:visible").count() == 1
        assert page.text_content("[data-filters=trials] output") == "1 of 19"
        page.select_option("[data-filters=trials] select[name=state]", "")
        page.select_option("[data-filters=trials] select[name=architecture]", "boosted")
        page.fill("[data-filters=trials] input", "leaves 16")
        assert page.locator("#trials tr:visible").count() == 1
        page.select_option("[data-filters=rows] select", index=1)
        shown, whole = page.text_content("[data-filters=rows] output").split(" of ")
        assert 0 < int(shown) <= int(whole)


def test_a_click_in_a_legend_leaves_one_architecture(browser: Any, report: str) -> None:
    with opened(browser, report) as page:
        drawn(page)
        faded = "[data-chart=best_by_minutes] svg path[opacity='0.12']"
        assert page.locator(faded).count() == 0
        page.locator("[data-chart=best_by_minutes] svg .role-legend-symbol path").first.click()
        page.wait_for_selector(faded)


@pytest.mark.parametrize(("name", "opacity"), [("learning_curves", "0.05"), ("parallel_text", "0.05")])
def test_a_click_in_a_legend_fades_lines(browser: Any, report: str, name: str, opacity: str) -> None:
    with opened(browser, report) as page:
        drawn(page)
        faded = f"[data-chart={name}] svg path[opacity='{opacity}']"
        assert page.locator(faded).count() == 0
        page.locator(f"[data-chart={name}] svg .role-legend-label text").last.click()
        page.wait_for_selector(faded, state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, report: str, scheme: str) -> None:
    with opened(browser, report, color_scheme=scheme) as page:
        drawn(page)
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert serious == [], [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious]


def test_the_keyboard_reaches_the_contents_and_every_filter(browser: Any, report: str) -> None:
    with opened(browser, report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the overview"
        reached = set()
        for _ in range(200):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.name"))
        assert {"#verdict", "#sweep", "#worst", "#doubts", "architecture", "state", "cause", "text"} <= reached


def test_it_prints_with_its_figures(browser: Any, report: str, tmp_path: Path) -> None:
    with opened(browser, report) as page:
        drawn(page)
        printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
        assert printed.startswith(b"%PDF") and len(printed) > 50_000
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden() and page.locator("[data-filters=rows]").is_hidden()


def test_without_scripts_the_numbers_are_there(browser: Any, report: str) -> None:
    with opened(browser, report, java_script_enabled=False) as page:
        assert "drawn by a script" in page.text_content("noscript")
        assert page.locator("#trials tr").count() == 19
