"""Registry of the report's sections: anchor, title, figures, charts and template of each, in the order of the page.

A section is a file with a `Section` in it and a line in SECTIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.quality.label_noise import SuspectLabel
from reports.charts.catalog_charts import data_charts
from reports.charts.chart_base import Chart
from reports.charts.error_charts import error_charts
from reports.charts.member_charts import member_charts
from reports.charts.sweep_charts import sweep_charts
from reports.figures.catalog_figures import data_figures
from reports.figures.data_quality import label_figures, too_good
from reports.figures.error_figures import error_figures
from reports.figures.member_figures import error_correlation, member_figures, stack_figures
from reports.figures.overview import overview_figures
from reports.figures.report_inputs import FieldTables, ReportInputs
from reports.figures.sweep_figures import sweep_figures

Figures = Mapping[str, Any]
TEMPLATES = Path(__file__).parent / "template"


@dataclass(frozen=True)
class SectionInputs:
    """Inputs of a section's figures. findings: suspect prices, the worst first; fields: structured fields of the texts."""

    report: ReportInputs
    findings: Sequence[SuspectLabel]
    fields: FieldTables


@dataclass(frozen=True)
class Section:
    """Section of the page. anchor: id of its element, which `template` (Jinja) writes. figures: keys and plain values it adds to
    report.json, from the inputs and the figures of the sections before it. charts: drawn from report.json. needs: key of
    report.json without whose value the section is left out.
    """

    anchor: str
    title: str
    template: str
    figures: Callable[[SectionInputs, Figures], Figures] = lambda inputs, figures: {}
    charts: Callable[[Mapping[str, Any]], Iterable[Chart]] = lambda content: ()
    needs: str | None = None


def _sweep(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    return {"sweep": sweep_figures(report.studies, report.members, report.timings)}


def _members(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    members = member_figures(report.members, report.train, report.folds, report.stack)
    order = [member["id"] for member in members]
    correlation = error_correlation(report.members, order, report.train.known_prices) if order else []
    return {"members": members, "correlation": correlation}


def _errors(inputs: SectionInputs, figures: Figures) -> Figures:
    """Of the stack's nested prices, else of the best member's."""
    report, ordered = inputs.report, figures["members"]
    by_id = {member.id: member for member in report.members}
    members = [by_id[member["id"]] for member in ordered]
    if report.stack_oof is not None:
        name, prices = "the stack, nested", report.stack_oof
    elif members:
        name, prices = f"the best member, {ordered[0]['label']}", members[0].oof
    else:
        return {"errors": None}
    errors = error_figures(report.train, report.folds, prices, members, inputs.findings, inputs.fields)
    return {"errors": {"judged": name, **errors}}


def _data(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    return {
        "data": data_figures(report.train, report.test, report.folds, report.facts, report.submitted, inputs.fields)
    }


def _data_quality(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    notes = None if report.leaks is None else list(report.leaks)
    return {
        "labels": label_figures(inputs.findings, report.train, report.labels is not None),
        "leaks": {"notes": notes, "too_good": too_good(figures["members"])},
    }


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.html").read_text(encoding="utf-8")


SECTIONS: tuple[Section, ...] = (
    Section("sweep", "Sweep", _template("sweep"), _sweep, sweep_charts),
    Section("members", "Members", _template("members"), _members, member_charts),
    Section(
        "stack",
        "Stack",
        _template("stack"),
        lambda inputs, figures: {"stack": stack_figures(inputs.report.stack, figures["members"])},
        needs="stack",
    ),
    Section("errors", "Errors", _template("errors"), _errors, error_charts, needs="errors"),
    Section("worst", "Top residuals", _template("top_residuals"), needs="errors"),
    Section("data", "Data", _template("data"), _data, data_charts),
    Section("doubts", "Data quality", _template("data_quality"), _data_quality),
)
"""Sections below the overview. A new one is a file and a line here."""

OVERVIEW = Section(
    "verdict", "Overview", _template("overview"), lambda inputs, figures: overview_figures(inputs.report, figures)
)
"""First on the page, computed last: it summarises the other sections."""
