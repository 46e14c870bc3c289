"""The page as a whole: every state of a workspace, hostile texts, no network, the same bytes, the command."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from core.quality.label_noise import SuspectLabel, read_findings, write_findings
from core.store.workspace import Workspace
from ensemble.stack import stack_workspace
from reports.build import build_report
from tests.commands import run_module
from tests.conftest import made_workspace, write_toys
from tests.errors import refused
from tests.reports_tests.toys import (
    add_member,
    add_plausible_members,
    add_trials,
    study,
    trial,
    with_texts,
    write_history,
)

HOSTILE = [
    "<script>alert('owned')</script>",
    '"><img src=x onerror=alert(1)>',
    "🍵" * 25_000,
    "\u0645\u0631\u062d\u0628\u0627 \u202e reversed",
    "{{ 7 * 7 }} {% raw %} $x^2$ &amp; </p></details></main>",
    "nul \x00 escape \x1b",
    "",
    "see http://example.com/x.js",
]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page, and whether every tag that opens is closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], f"tags left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    @property
    def plots(self) -> set[str]:
        """Names of the charts that the page draws."""
        return {value for _, name, value in self.attributes if name == "data-chart"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def _full(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("full")
    workspace = made_workspace(folder, write_toys(folder))
    add_trials(workspace, [("boosted", 40.0), ("lexical", 35.0), ("boosted", 30.0), ("text", 150.0)])
    add_plausible_members(workspace, 3)
    stack_workspace(workspace)
    return workspace


@pytest.fixture
def full(_full: Workspace, tmp_path: Path) -> Workspace:
    """Trials, members and a real stack of them: a copy to do with as one likes."""
    shutil.copytree(_full.folder, tmp_path / "runs")
    return Workspace(tmp_path / "runs")


def figures(workspace: Workspace) -> dict:
    return json.loads(workspace.path("report.json").read_text(encoding="utf-8"))


def test_a_stack_is_reported_with_its_nested_figure(full: Workspace) -> None:
    page = Page(build_report(full))
    record, found = json.loads(full.path("stack.json").read_text()), figures(full)
    assert found["honest"]["kind"] == "stack"
    assert found["honest"]["smape"] == record["nested"]["smape"]
    assert f"SMAPE {record['nested']['smape']:.2f} ± {record['nested']['standard_error']:.2f}" in page.text
    assert {member["id"]: member["weight"] for member in found["members"]} == {
        member["name"]: member["weight"] for member in record["members"]
    }
    assert page.plots >= {
        "best_by_minutes",
        "time",
        "members",
        "correlation",
        "weights",
        "absences",
        "density",
        "drift",
    }
    assert "the stack, nested" in page.text and "boosted-0001" in page.text


def test_before_the_stack_the_next_step_is_the_stack(toy_workspace: Workspace) -> None:
    [member] = add_plausible_members(toy_workspace, 1)
    page = Page(build_report(toy_workspace))
    found = figures(toy_workspace)
    assert found["honest"]["kind"] == "member" and found["stack"] is None and found["sweep"] is None
    assert found["errors"]["judged"].startswith("the best member, lexical-")
    assert f"python -m ensemble.stack --workspace {toy_workspace.folder}" in page.text
    assert "No trial has finished" in page.text and member.id in page.text
    assert "text encoder tiny: no network" in page.text


def test_an_empty_workspace_has_a_page_too(toy_workspace: Workspace) -> None:
    page = Page(build_report(toy_workspace))
    assert "No figure yet" in page.text
    assert figures(toy_workspace)["verdict"]["next"]["command"].startswith("python -m experiments.sweep --workspace")
    assert page.plots == {"prices", "lengths", "strengths"}


def test_members_that_came_later_ask_for_another_stack(full: Workspace) -> None:
    add_member(full, "late-1", full.train.known_prices * 1.1)
    build_report(full)
    found = figures(full)
    assert found["stack"]["missing"] == ["late-1"]
    assert found["verdict"]["next"]["command"].startswith("python -m ensemble.stack")


def test_a_stack_of_another_version_is_not_shown_and_noted(full: Workspace) -> None:
    record = json.loads(full.path("stack.json").read_text())
    full.path("stack.json").write_text(json.dumps({**record, "format": record["format"] - 1}))
    page = Page(build_report(full))
    assert figures(full)["stack"] is None
    assert "stack.json is not shown: another version wrote it" in page.text


def test_members_of_another_catalog_are_named_and_not_shown(toy_workspace: Workspace) -> None:
    add_member(toy_workspace, "strange-1", np.ones(120), catalog="another")
    add_member(toy_workspace, "empty-1", np.full(120, np.nan))
    page = Page(build_report(toy_workspace))
    assert figures(toy_workspace)["members"] == []
    assert "strange-1 is not shown: it was made for another catalog" in page.text
    assert "empty-1 is not shown: it has no out-of-fold price" in page.text


def test_a_stack_without_rows_falls_back_to_the_best_member_with_a_note(full: Workspace) -> None:
    full.path("stack_oof.parquet").unlink()
    page = Page(build_report(full))
    assert "stack_oof.parquet is missing" in page.text
    assert figures(full)["errors"]["judged"].startswith("the best member")


def test_hostile_texts_are_text(toy_workspace: Workspace) -> None:
    workspace = with_texts(toy_workspace, HOSTILE)
    prices = workspace.train.known_prices.copy()
    prices[: len(HOSTILE)] *= 100
    hostile = {"<b>key": "</dd><script>", "rate": "$\\frac{1}{2}$"}
    for name in ("<script>x-1", "$m$-2"):
        record = {"architecture": "<i>a", "settings": hostile, "notes": ["<script>note</script>"]}
        add_member(workspace, name, prices, **record)
    path = build_report(workspace)
    page, html = Page(path), path.read_text(encoding="utf-8")
    assert page.tags.count("script") == 3 and "img" not in page.tags and "i" not in page.tags
    assert all(not name.startswith("on") for _, name, _ in page.attributes)
    for text in HOSTILE[:2] + HOSTILE[3:5]:
        assert text in page.text
    assert "nul ␀ escape ␛" in page.text and "\x00" not in html
    assert "The first 5,000 of 25,000 characters" in page.text
    assert path.stat().st_size < 3_000_000


def test_nothing_is_loaded_from_anywhere(full: Workspace) -> None:
    path = build_report(full)
    page = Page(path)
    assert {"link", "iframe", "object", "embed", "base"} & set(page.tags) == set()
    targets = [value for _, name, value in page.attributes if name.endswith("href") or name in ("src", "srcset")]
    assert targets and all(value.startswith("#") for value in targets)
    [policy] = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none'; ") and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]


def test_the_page_is_accessible_in_its_outline(full: Workspace) -> None:
    page = Page(build_report(full))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"}
    assert links <= set(ids) and {"verdict", "sweep", "members", "stack", "errors", "worst", "data", "doubts"} <= links
    labels = [
        value for tag, name, value in page.attributes if tag == "div" and name == "aria-label" and len(value) > 20
    ]
    assert len(labels) >= len(page.plots) > 10
    assert page.tags.count("h1") == 1 and ("html", "lang", "en") in page.attributes


def test_the_same_workspace_gives_the_same_bytes(full: Workspace) -> None:
    page, record = build_report(full), full.path("report.json")
    before = page.read_bytes(), record.read_bytes()
    build_report(Workspace(full.folder))
    assert (page.read_bytes(), record.read_bytes()) == before


def test_a_damaged_trial_is_named(toy_workspace: Workspace) -> None:
    add_trials(toy_workspace, [("text", 40.0)])
    [path] = toy_workspace.path("trials").glob("*/trial.json")
    path.write_text('{"architecture": ', encoding="utf-8")
    with refused("record-damaged"):
        build_report(toy_workspace)


@pytest.mark.parametrize("state", ["failed", "pruned", "interrupted"])
def test_an_architecture_without_a_result_has_its_line(toy_workspace: Workspace, state: str) -> None:
    smape = 60.0 if state == "pruned" else None
    write_history(
        toy_workspace, study("boosted", trial(0, smape, state=state, error="cannot read \udcff.jpg", end=None))
    )
    page = Page(build_report(toy_workspace))
    assert "1 trial: 0 finished" in page.text
    assert figures(toy_workspace)["verdict"]["next"]["command"].startswith("python -m reports.diagnose")


def test_values_that_are_spelt_in_two_ways_are_one(toy_workspace: Workspace) -> None:
    write_history(toy_workspace, study("boosted", *(trial(n, 40.0 + n, l2=[1, 1.0, 2][n % 3]) for n in range(6))))
    assert "parallel_boosted" in Page(build_report(toy_workspace)).plots


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("stack_oof.parquet", b"junk", "stack_oof.parquet cannot be read"),
        ("submission.csv", b"", "submission.csv cannot be read"),
        ("submission.csv", b"a,b\n1,2\n", "submission.csv cannot be read"),
        ("submission.csv", b"sample_id,price\n1,2\n", "submission.csv has other rows"),
    ],
)
def test_unreadable_files_are_noted_and_left_out(full: Workspace, name: str, content: bytes, words: str) -> None:
    full.path(name).write_bytes(content)
    assert words in Page(build_report(full)).text


@pytest.mark.parametrize("name", ["members/boosted-000100000000/member.json", "history.json", "stack.json"])
def test_damaged_records_are_named_with_what_to_do(full: Workspace, name: str) -> None:
    full.path(name).write_text("{", encoding="utf-8")
    with refused("history-damaged" if name == "history.json" else "record-damaged"):
        build_report(full)


def test_records_without_what_is_needed_are_named(full: Workspace) -> None:
    full.path("members/boosted-000100000000/member.json").write_text("{}", encoding="utf-8")
    with refused("record-damaged"):
        build_report(full)


def test_a_missing_images_folder_is_noted(full: Workspace) -> None:
    facts = json.loads(full.path("workspace.json").read_text())
    full.path("workspace.json").write_text(json.dumps({**facts, "images": "/nowhere/at/all"}))
    assert "images are not shown: /nowhere/at/all is not there" in Page(build_report(Workspace(full.folder))).text


def test_members_of_other_folds_are_not_shown_and_dropped_ones_not_asked_for(full: Workspace) -> None:
    add_member(full, "elsewhere-1", full.train.known_prices, folds="others")
    page = Page(build_report(full))
    assert "elsewhere-1 is not shown: it was made on other folds" in page.text
    record = json.loads(full.path("stack.json").read_text())
    add_member(full, "dropped-1", full.train.known_prices * 2)
    full.path("stack.json").write_text(json.dumps({**record, "left_out": ["dropped-1"]}))
    build_report(full)
    assert figures(full)["stack"]["missing"] == [] and figures(full)["stack"]["left_out"] == ["dropped-1"]


def test_labels_of_any_kind_and_however_low_a_price(full: Workspace) -> None:
    found = [SuspectLabel("0", "new kind", 1e-6, 2e-5, 3e-5, "=HYPERLINK(1)", ("a b", "c"))]
    write_findings(full.path("labels.csv"), found)
    assert read_findings(full.path("labels.csv")) == found
    assert "new kind" in Page(build_report(full)).text
    assert "'=HYPERLINK(1)" in full.path("doubtful_rows.csv").read_text()


@pytest.mark.e2e
def test_the_command_writes_the_page_and_prints_its_path(toy_workspace: Workspace) -> None:
    add_plausible_members(toy_workspace, 2)
    ran = run_module("reports.build", "--workspace", toy_workspace.folder)
    assert (ran.returncode, ran.stdout) == (0, f"report: {toy_workspace.path('report.html')}\n")
    assert toy_workspace.path("report.html").exists()


@pytest.mark.e2e
def test_the_command_refuses_other_folders_and_shows_examples(tmp_path: Path) -> None:
    ran = run_module("reports.build", "--workspace", tmp_path)
    assert ran.returncode == 2 and "is not a workspace" in ran.stderr and "Traceback" not in ran.stderr
    assert "python -m reports.build --workspace runs/demo" in run_module("reports.build", "--help").stdout


@pytest.mark.e2e
def test_another_process_gives_the_same_bytes(full: Workspace) -> None:
    pages = set()
    for seed in ("1", "2"):
        assert run_module("reports.build", "--workspace", full.folder, PYTHONHASHSEED=seed).returncode == 0
        pages.add((full.path("report.html").read_bytes(), full.path("report.json").read_bytes()))
    assert len(pages) == 1
