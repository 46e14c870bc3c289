"""Sections of the report: the registry, and a section that is added by one line."""

from __future__ import annotations

import json

import pytest

from core.store.workspace import Workspace
from reports.build import build_report
from reports.page import page
from reports.page.sections import OVERVIEW, SECTIONS, Section


def test_anchors_and_templates_fit() -> None:
    sections = (OVERVIEW, *SECTIONS)
    assert len({each.anchor for each in sections}) == len(sections)
    assert all(f'<section id="{each.anchor}">' in each.template for each in sections)


def test_a_section_is_one_object_in_the_registry(toy_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    template = '<section id="sizes">{{ sizes }} rows</section>'
    added = Section("sizes", "Sizes", template, lambda inputs, _: {"sizes": len(inputs.report.train)})
    monkeypatch.setattr(page, "SECTIONS", (*SECTIONS, added))
    html = build_report(toy_workspace).read_text(encoding="utf-8")
    assert '<li><a href="#sizes">Sizes</a></li>' in html and '<section id="sizes">120 rows</section>' in html
    assert json.loads(toy_workspace.path("report.json").read_text())["sizes"] == 120
